//! What is between the time and the message of a syslog line: host, program and process.
//!
//! Usually `HOST PROGRAM[PID]: MESSAGE`. Some daemons omit the host, write facility and level before the program
//! (`auth.info`, AIX `auth|security:info`, FreeBSD `<auth.info>`), its path, or no colon.

use std::net::Ipv6Addr;

/// The content of a line after its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagContent<'a> {
    /// A message of a program; `text` may be empty, and may begin with blanks.
    Message { program: &'a str, pid: Option<u32>, text: &'a str },
    /// `last message repeated N times`: the host's previous line happened so often again.
    Repeated { times: u32 },
}

/// Why a line has no message.
const NO_TAG: &str = "no \"program:\" or \"program[pid]:\" after the host";
const ODD_TAG: &str = "looks like a line of sshd, but has no \"sshd:\" or \"sshd[pid]:\" after the host";

/// Splits `HOST PROGRAM[PID]: MESSAGE` in exactly this form.
#[inline]
pub(super) fn common(rest: &str) -> Option<(&str, TagContent<'_>)> {
    let bytes = rest.as_bytes();
    let blank = memchr::memchr(b' ', bytes)?;
    // A word that ends like a tag is one, unless it is an address.
    if blank == 0 || matches!(bytes[blank - 1], b':' | b']') {
        return None;
    }
    let (host, rest) = (&rest[..blank], &rest[blank + 1..]);
    let bytes = rest.as_bytes();
    let end = memchr::memchr3(b':', b'[', b' ', bytes)?;
    let program = rest.get(..end).filter(|program| !program.is_empty() && !program.starts_with('/'))?;
    let (pid, text) = match bytes[end] {
        b':' => (None, &rest[end + 1..]),
        b'[' => {
            let rest = &rest[end + 1..];
            let (digits, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
            if digits.is_empty() {
                return None;
            }
            (digits.parse().ok(), after.strip_prefix("]:")?)
        }
        _ => return None,
    };
    let text = text.strip_prefix(' ')?;
    if program.ends_with("syslogd") || text.starts_with("Last message '") {
        return None;
    }
    Some((host, TagContent::Message { program, pid, text }))
}

/// Splits what follows the time, in any form, or returns what is missing; the host is empty if there is none.
pub(super) fn read(rest: &str) -> Result<(&str, TagContent<'_>), &'static str> {
    let rest = without_level(rest.trim_start_matches(' '));
    if let Some(times) = repeated(rest) {
        return Ok(("", TagContent::Repeated { times }));
    }
    let (first, after) = word(rest);
    let after = without_level(after.trim_start_matches(' '));
    let (host, rest) = match first.strip_suffix(':') {
        // A colon behind the host, before sshd's own tag.
        Some(host) if !host.ends_with(']') && !is_of_sshd(host) && is_process_of_sshd(after) => (host, after),
        _ if is_tag(first) => ("", rest),
        _ => (first, after),
    };
    if let Some(times) = repeated(rest) {
        return Ok((host, TagContent::Repeated { times }));
    }
    if first.is_empty() || rest.is_empty() {
        return Err(if is_of_sshd(first) { ODD_TAG } else { "no host after the time" });
    }
    let (program, pid, text) = tag(rest).ok_or(if rest.contains("sshd") { ODD_TAG } else { NO_TAG })?;
    let said = match by_daemon(program, text) {
        Some(times) => TagContent::Repeated { times },
        None => TagContent::Message { program, pid, text },
    };
    Ok((host, said))
}

/// Whether a tag stands at the start of `rest`, perhaps with a level before it.
pub(super) fn begins(rest: &str) -> bool {
    is_tag(word(without_level(rest)).0)
}

/// Whether `program` is sshd under one of its names; PAM once appended its own to it.
#[inline]
pub(super) fn is_of_sshd(program: &str) -> bool {
    program == "sshd" || matches!(program, "sshd-session" | "sshd-auth" | "sshd(pam_unix)")
}

/// Whether the name of a program that is not known to be sshd contains `sshd`.
#[inline]
pub(super) fn is_like_sshd(program: &str) -> bool {
    program.as_bytes().windows(4).any(|part| part.eq_ignore_ascii_case(b"sshd"))
}

/// Whether `sshd[PID]:` stands at the start of `rest`.
fn is_process_of_sshd(rest: &str) -> bool {
    matches!(tag(rest), Some((program, Some(_), _)) if is_of_sshd(program))
}

/// A program's name without the folder that it is in.
pub(super) fn without_folder(program: &str) -> &str {
    match program.strip_prefix('/').and_then(|path| path.rsplit_once('/')) {
        Some((_, name)) if !name.is_empty() => name,
        _ => program.strip_prefix('/').filter(|name| !name.is_empty()).unwrap_or(program),
    }
}

/// `PROGRAM: MESSAGE` or `PROGRAM[PID]: MESSAGE`, and similar forms. An impossible process number is dropped.
fn tag(rest: &str) -> Option<(&str, Option<u32>, &str)> {
    let (first, after) = word(rest);
    let name = &first[..memchr::memchr2(b':', b'[', first.as_bytes()).unwrap_or(first.len())];
    let program = without_folder(name);
    let sshd = is_of_sshd(program);
    if name.len() == first.len() && sshd {
        // No colon behind the name: perhaps a blank before the process.
        let text = after.trim_start_matches(' ');
        let (pid, text) = process(text).unwrap_or((None, text));
        return Some((program, pid, text.strip_prefix(':').unwrap_or(text)));
    }
    if name.len() < first.len() && !program.is_empty() {
        let behind = &rest[name.len()..];
        let (pid, text) = process(behind).unwrap_or((None, behind));
        if let Some(text) = text.strip_prefix(':') {
            return (text.is_empty() || text.starts_with(' ') || sshd).then(|| (program, pid, one_less(text)));
        }
        // Some templates leave out the colon behind the process.
        if text.len() < behind.len() && (text.is_empty() || text.starts_with(' ')) {
            return Some((program, pid, one_less(text)));
        }
        return None;
    }
    // A name with blanks in it, but not one that would swallow sshd's.
    let end = memchr::memchr2(b':', b'[', rest.as_bytes()).filter(|end| *end > 0)?;
    let (program, behind) = rest.split_at(end);
    if program.contains("sshd") {
        return None;
    }
    let (pid, text) = process(behind).unwrap_or((None, behind));
    let text = text.strip_prefix(':')?;
    (text.is_empty() || text.starts_with(' ')).then(|| (program, pid, one_less(text)))
}

/// `[PID]`, and what follows it.
fn process(text: &str) -> Option<(Option<u32>, &str)> {
    let text = text.strip_prefix('[')?;
    let (digits, after) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    (!digits.is_empty()).then_some((digits.parse().ok(), after.strip_prefix(']')?))
}

fn one_less(text: &str) -> &str {
    text.strip_prefix(' ').unwrap_or(text)
}

/// Whether a word is a tag: it ends in a colon or in the number of a process. No host does, but an IPv6 address may.
fn is_tag(word: &str) -> bool {
    let body = word.strip_suffix(':').unwrap_or(word);
    let process = body.strip_suffix(']').and_then(|body| body.rsplit_once('['));
    let has_process = process.is_some_and(|(name, pid)| {
        !name.is_empty() && !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())
    });
    has_process || (body.len() < word.len() && !body.is_empty() && word.parse::<Ipv6Addr>().is_err())
}

/// Strips facility and level, if `rest` begins with them.
fn without_level(rest: &str) -> &str {
    const LEVELS: [&str; 12] =
        ["emerg", "panic", "alert", "crit", "err", "error", "warning", "warn", "notice", "info", "debug", "none"];
    let (first, after) = word(rest);
    let inner = first.strip_prefix('<').and_then(|first| first.strip_suffix('>')).unwrap_or(first);
    let named = || {
        let (facility, level) = inner.rsplit_once(['.', ':'])?;
        let is_facility = !facility.is_empty()
            && facility.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'|');
        Some(is_facility && LEVELS.contains(&level))
    };
    // FreeBSD can write both as numbers.
    let numbered = || {
        let (facility, level) = inner.split_once('.')?;
        let number = |text: &str| text.len() < 3 && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        Some(inner.len() < first.len() && number(facility) && number(level))
    };
    if named() == Some(true) || numbered() == Some(true) { after.trim_start_matches(' ') } else { rest }
}

/// `last message repeated N times`, also between dashes.
fn repeated(rest: &str) -> Option<u32> {
    let rest = rest.trim_start_matches("--- ").strip_prefix("last message repeated ")?;
    times(rest).filter(|(_, rest)| matches!(rest.trim(), "" | "---")).map(|(times, _)| times)
}

/// The same, written by the daemon under its own name, or in the words of syslog-ng.
fn by_daemon(program: &str, text: &str) -> Option<u32> {
    let text = text.trim_start_matches(' ');
    if program.ends_with("syslogd") {
        return repeated(text);
    }
    // It quotes the beginning of the message, which can contain what an attacker typed.
    let quoted = text.strip_prefix("Last message '")?;
    let behind = &quoted[quoted.rfind("' repeated ")? + "' repeated ".len()..];
    times(behind).filter(|(_, rest)| rest.starts_with(", suppressed by syslog-ng")).map(|(times, _)| times)
}

/// `N times` or `1 time`; and what follows.
fn times(rest: &str) -> Option<(u32, &str)> {
    let (digits, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
    let rest = rest.strip_prefix(" times").or_else(|| rest.strip_prefix(" time"))?;
    digits.parse().ok().filter(|times| *times > 0).map(|times| (times, rest))
}

/// The text up to the first blank, and what follows the blank.
fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(program: &'a str, pid: Option<u32>, text: &'a str) -> TagContent<'a> {
        TagContent::Message { program, pid, text }
    }

    #[test]
    fn common_lines_are_read_alike_by_both() {
        for (rest, expected) in [
            ("h sshd[1291]: a: b", ("h", message("sshd", Some(1291), "a: b"))),
            ("h sudo:   ubuntu : x", ("h", message("sudo", None, "  ubuntu : x"))),
            ("h gdm-password]: x", ("h", message("gdm-password]", None, "x"))),
            ("h a[99999999999]: x", ("h", message("a", None, "x"))),
            ("2001:db8::99 sshd[1]: x", ("2001:db8::99", message("sshd", Some(1), "x"))),
        ] {
            assert_eq!(common(rest), Some(expected), "{rest}");
            assert_eq!(read(rest), Ok(expected), "{rest}");
        }
    }

    #[test]
    fn tags_are_read_as_they_are_written() {
        for (rest, expected) in [
            ("h kernel:", ("h", message("kernel", None, ""))),
            ("h auth.info sshd[1]: x", ("h", message("sshd", Some(1), "x"))),
            ("auth.info h sshd[1]: x", ("h", message("sshd", Some(1), "x"))),
            ("authpriv.warn sshd[1]: x", ("", message("sshd", Some(1), "x"))),
            ("<auth.info> h sshd[1]: x", ("h", message("sshd", Some(1), "x"))),
            ("<4.6> h sshd[1]: x", ("h", message("sshd", Some(1), "x"))),
            ("h auth|security:info sshd[1]: x", ("h", message("sshd", Some(1), "x"))),
            ("sshd[1]: x", ("", message("sshd", Some(1), "x"))),
            ("sshd[1] x", ("", message("sshd", Some(1), "x"))),
            ("h sshd[1] x", ("h", message("sshd", Some(1), "x"))),
            ("h sshd x", ("h", message("sshd", None, "x"))),
            ("h sshd [1]: x", ("h", message("sshd", Some(1), " x"))),
            ("h sshd[1]:x", ("h", message("sshd", Some(1), "x"))),
            ("h: sshd[1]: x", ("h", message("sshd", Some(1), "x"))),
            ("cron: sshd: x", ("", message("cron", None, "sshd: x"))),
            ("h  sshd:  x", ("h", message("sshd", None, " x"))),
            ("h /usr/sbin/sshd[1]: x", ("h", message("sshd", Some(1), "x"))),
            ("h sshd(pam_unix)[1]: x", ("h", message("sshd(pam_unix)", Some(1), "x"))),
            ("fe80:: sshd: x", ("fe80::", message("sshd", None, "x"))),
            ("h com.example.launchd[1] (a[2]): x", ("h", message("com.example.launchd", Some(1), "(a[2]): x"))),
            ("h Web Content[12]: x", ("h", message("Web Content", Some(12), "x"))),
            ("h last message repeated 4 times", ("h", TagContent::Repeated { times: 4 })),
            ("last message repeated 1 time", ("", TagContent::Repeated { times: 1 })),
            ("--- last message repeated 2 times ---", ("", TagContent::Repeated { times: 2 })),
            ("h syslogd: last message repeated 3 times", ("h", TagContent::Repeated { times: 3 })),
            (
                "h sshd[1]: Last message 'Failed password for ' repeated 9 times, ' repeated 2 times, suppressed by syslog-ng on h",
                ("h", TagContent::Repeated { times: 2 }),
            ),
            ("h cron: last message repeated 3 times", ("h", message("cron", None, "last message repeated 3 times"))),
        ] {
            assert_eq!(read(rest), Ok(expected), "{rest}");
        }
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for rest in
            ["", " ", "h", "h ", "h x", "h : x", "h x[]: y", "h x[1a]: y", "h x:y", "h last message repeated 0 times"]
        {
            assert!(read(rest).is_err(), "{rest:?}: {:?}", read(rest));
        }
        for rest in ["h sshd[]: x", "h sshd[1a]: x", "h a sshd[1]: x", "h a.b sshd: x", "sshd"] {
            assert_eq!(read(rest), Err(ODD_TAG), "{rest}");
        }
    }

    #[test]
    fn folders_are_taken_off() {
        for (path, name) in [
            ("/usr/sbin/sshd", "sshd"),
            ("/sshd", "sshd"),
            ("postfix/smtpd", "postfix/smtpd"),
            ("/", "/"),
            ("/a/", "a/"),
        ] {
            assert_eq!(without_folder(path), name);
        }
    }
}
