//! The header of a syslog line: `TIME HOST PROGRAM[PID]: MESSAGE`, with the variations of different daemons.
//!
//! The common form of RFC 3164 is read in one pass. Other lines take a slower path, on which a priority (`<38>`) may
//! precede the time, and RFC 5424 is understood.

use super::stamp::{self, Stamp};
use super::tag::{self, TagContent};

/// A line, split into its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyslogHeader<'a> {
    pub stamp: Stamp,
    /// Empty if the line has none.
    pub host: &'a str,
    pub said: TagContent<'a>,
}

/// The largest priority: facility 23, level 7.
const PRIORITY_MAX: u32 = 191;

const NO_TIME: &str = "no time at the start: expected such as \"Mar 27 13:06:56\" or RFC 3339";
const NO_TIME_5424: &str = "no time: expected RFC 3339 after the version";

/// Splits `line`, or returns what is missing.
#[inline]
pub(super) fn parse(line: &str) -> Result<SyslogHeader<'_>, &'static str> {
    let common = || {
        let (stamp, rest) = stamp::common(line)?;
        let (host, said) = tag::common(rest)?;
        Some(SyslogHeader { stamp, host, said })
    };
    common().map_or_else(|| uncommon(line), Ok)
}

#[inline(never)]
fn uncommon(line: &str) -> Result<SyslogHeader<'_>, &'static str> {
    let line = without_priority(line.trim_start_matches([' ', '\t']));
    // Version 1 is the only one.
    if let Some(rest) = line.strip_prefix("1 ")
        && !rest.starts_with(|first: char| first == ' ' || first.is_alphabetic())
    {
        return rfc5424(rest);
    }
    if line.starts_with("-- ") {
        return Err("a marker of journalctl, and no line of a log");
    }
    let (stamp, rest) = stamp::read(line).ok_or(NO_TIME)?;
    let (host, said) = tag::read(rest)?;
    Ok(SyslogHeader { stamp, host, said })
}

/// Strips `<N>`.
fn without_priority(line: &str) -> &str {
    let number = || {
        let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
        let is_priority = number.len() <= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|number: &u32| is_priority && *number <= PRIORITY_MAX).map(|_| rest)
    };
    number().unwrap_or(line).trim_start_matches(' ')
}

/// `TIME HOST PROGRAM PID ID DATA[ MESSAGE]`, of which each can be `-`.
fn rfc5424(rest: &str) -> Result<SyslogHeader<'_>, &'static str> {
    let (stamp, rest) = stamp::read(rest).ok_or(NO_TIME_5424)?;
    let mut words = rest.splitn(4, ' ');
    let mut next = || words.next().filter(|word| !word.is_empty());
    let (Some(host), Some(program), Some(process), Some(rest)) = (next(), next(), next(), next()) else {
        return Err("no host, program, process and message ID after the time");
    };
    let (_, rest) = rest.split_once(' ').ok_or("no structured data after the message ID")?;
    let text = without_data(rest).ok_or("structured data without an end")?;
    let said = TagContent::Message {
        program: tag::without_folder(program),
        pid: process.parse().ok(),
        text: text.trim_start_matches('\u{feff}'),
    };
    Ok(SyslogHeader { stamp, host: if host == "-" { "" } else { host }, said })
}

/// What follows structured data: `-`, or elements in brackets whose values are quoted.
fn without_data(rest: &str) -> Option<&str> {
    let mut rest = match rest.strip_prefix('-') {
        Some(rest) => rest,
        None if rest.starts_with('[') => rest,
        None => return None,
    };
    while let Some(element) = rest.strip_prefix('[') {
        let (mut quoted, mut escaped, mut end) = (false, false, None);
        for (at, byte) in element.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b']' if !quoted => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        rest = &element[end? + 1..];
    }
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host, program, process and text.
    fn parsed(line: &str) -> (&str, &str, Option<u32>, &str) {
        match parse(line).unwrap_or_else(|why| panic!("{line}: {why}")) {
            SyslogHeader { host, said: TagContent::Message { program, pid, text }, .. } => (host, program, pid, text),
            header => panic!("{header:?}"),
        }
    }

    #[test]
    fn heads_of_many_kinds() {
        let plain = ("h", "sshd", Some(1), "x y");
        for line in [
            "Mar  7 13:06:56 h sshd[1]: x y",
            "<38>Mar  7 13:06:56 h sshd[1]: x y",
            "<0> Mar  7 13:06:56 h sshd[1]: x y",
            " Mar  7 13:06:56  h  sshd[1]: x y",
            "<38>1 2026-05-01T12:00:00.003Z h sshd 1 - - x y",
            "<191>1 2026-05-01T12:00:00Z h /usr/sbin/sshd 1 ID47 - \u{feff}x y",
            r#"1 2026-05-01T12:00:00+02:00 h sshd 1 - [a@1 b="]\"] c"][d e="[" ] x y"#,
            "2026-05-01 12:00:00 h sshd[1]: x y",
            "Fri May  1 12:00:00 2026 h sshd[1]: x y",
            "1777636800 h sshd[1]: x y",
        ] {
            assert_eq!(parsed(line), plain, "{line}");
        }
        assert_eq!(parsed("May 01 12:00:00 sshd[1]: x y"), ("", "sshd", Some(1), "x y"));
        assert_eq!(parsed("<38>1 2026-05-01T12:00:00Z - sshd - - -"), ("", "sshd", None, ""));
        assert_eq!(parsed("2024-05-01T12:00:00.123456+02:00 h kernel:"), ("h", "kernel", None, ""));
    }

    #[test]
    fn lines_without_a_head_are_refused() {
        for line in [
            "",
            "Mar",
            "Mar 27",
            "Mar 27 13:06:56",
            "Mar 27 13:06:56 h",
            "Mar 27 13:06:56 h sshd[1a]: x",
            "Mar 27 13:06:56 h : x",
            "<192>Mar 27 13:06:56 h sshd: x",
            "<>Mar 27 13:06:56 h sshd: x",
            "<+1>Mar 27 13:06:56 h sshd: x",
            "<38>2 2026-05-01T12:00:00Z h sshd 1 - - x",
            "<38>1 - h sshd 1 - - x",
            "<38>1 2026-05-01T12:00:00Z h sshd 1 -",
            "<38>1 2026-05-01T12:00:00Z h sshd 1 - [x",
            "<38>1 2026-05-01T12:00:00Z h sshd 1 - -x",
            "-- Boot 0123456789abcdef --",
            "2024-05-01T12:00:00Z",
            "[ 8713.402211] h sshd[1]: x",
        ] {
            assert!(parse(line).is_err(), "{line:?}: {:?}", parse(line));
        }
    }
}
