//! The head of a syslog line: `TIME HOST PROGRAM[PID]: MESSAGE`.
//!
//! The time is either that of RFC 3164 (`Mar 27 13:06:56`, no year, no zone) or of RFC 3339
//! (`2024-05-01T12:00:00.123456+02:00`), which rsyslog writes by default since Debian 12.

use jiff::Timestamp;

/// A line taken apart; `message` may be empty.
pub(super) struct Header<'a> {
    pub stamp: Stamp,
    pub host: &'a str,
    pub program: &'a str,
    pub pid: Option<u32>,
    pub message: &'a str,
}

/// When the line was written, as far as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// RFC 3339: everything.
    Full(Timestamp),
    /// RFC 3164: everything but the year and the zone.
    Yearless(Yearless),
}

/// The time of RFC 3164. The fields are in range, but whether the month has that day depends on the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Yearless {
    pub month: i8,
    pub day: i8,
    pub hour: i8,
    pub minute: i8,
    pub second: i8,
}

/// Takes `line` apart, or says what is missing.
pub(super) fn parse(line: &str) -> Result<Header<'_>, &'static str> {
    let (stamp, rest) = match line.as_bytes().first() {
        Some(b'0'..=b'9') => full(line),
        _ => yearless(line),
    }
    .ok_or("no syslog time at the start: expected \"Mar 27 13:06:56\" or RFC 3339")?;
    let (host, rest) = rest.split_once(' ').filter(|(host, _)| !host.is_empty()).ok_or("no host after the time")?;
    let (program, pid, message) = tag(rest).ok_or("no \"program:\" or \"program[pid]:\" after the host")?;
    Ok(Header { stamp, host, program, pid, message })
}

fn full(line: &str) -> Option<(Stamp, &str)> {
    let (time, rest) = line.split_once(' ')?;
    Some((Stamp::Full(time.parse().ok()?), rest))
}

fn yearless(line: &str) -> Option<(Stamp, &str)> {
    let bytes = line.as_bytes();
    let month = month(bytes.get(..3)?)?;
    let mut at = 3;
    while bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    let mut day = 0i8;
    let first = at;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        day = day.checked_mul(10)?.checked_add((digit - b'0') as i8)?;
        at += 1;
    }
    if first == 3 || first == at || !(1..=31).contains(&day) {
        return None;
    }
    let clock = bytes.get(at..at + 10)?;
    if [clock[0], clock[3], clock[6], clock[9]] != [b' ', b':', b':', b' '] {
        return None;
    }
    let hour = two_digits(clock[1], clock[2], 23)?;
    let minute = two_digits(clock[4], clock[5], 59)?;
    // A leap second counts as the second before it, which it cannot be told from in milliseconds since 1970.
    let second = two_digits(clock[7], clock[8], 60)?.min(59);
    Some((Stamp::Yearless(Yearless { month, day, hour, minute, second }), line.get(at + 10..)?))
}

fn month(name: &[u8]) -> Option<i8> {
    const NAMES: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    (1..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number)
}

fn two_digits(tens: u8, units: u8, max: i8) -> Option<i8> {
    if !tens.is_ascii_digit() || !units.is_ascii_digit() {
        return None;
    }
    let number = ((tens - b'0') * 10 + (units - b'0')) as i8;
    (number <= max).then_some(number)
}

/// `PROGRAM: MESSAGE` or `PROGRAM[PID]: MESSAGE`. A process number that no machine has is left out.
fn tag(rest: &str) -> Option<(&str, Option<u32>, &str)> {
    let end = memchr::memchr2(b':', b'[', rest.as_bytes())?;
    let program = &rest[..end];
    let (pid, after) = match rest.as_bytes()[end] {
        b':' => (None, &rest[end + 1..]),
        _ => {
            let rest = &rest[end + 1..];
            let (digits, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
            if digits.is_empty() {
                return None;
            }
            (digits.parse().ok(), after.strip_prefix("]:")?)
        }
    };
    let message = if after.is_empty() { after } else { after.strip_prefix(' ')? };
    (!program.is_empty()).then_some((program, pid, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (&str, Option<u32>, &str) {
        let header = parse(line).unwrap();
        assert_eq!(header.host, "h");
        (header.program, header.pid, header.message)
    }

    #[test]
    fn takes_programs_apart() {
        assert_eq!(parsed("Mar  7 13:06:56 h sshd[1291]: a: b"), ("sshd", Some(1291), "a: b"));
        assert_eq!(parsed("Mar 27 13:06:56 h sudo:   ubuntu : x"), ("sudo", None, "  ubuntu : x"));
        assert_eq!(parsed("Mar 27 13:06:56 h gdm-password]: x"), ("gdm-password]", None, "x"));
        assert_eq!(parsed("2024-05-01T12:00:00.123456+02:00 h kernel:"), ("kernel", None, ""));
        assert_eq!(parsed("Mar 27 13:06:56 h a[99999999999]: x"), ("a", None, "x"));
    }

    #[test]
    fn refuses_lines_without_a_head() {
        for line in [
            "",
            "Mar",
            "Mar 27",
            "Mar 27 13:06:56",
            "Mar 27 13:06:56 h",
            "Mar 27 13:06:56 h sshd",
            "Mar 27 13:06:56 h sshd[1]",
            "Mar 27 13:06:56 h sshd[1]:x",
            "Mar 27 13:06:56 h sshd[]: x",
            "Mar 27 13:06:56 h sshd[1a]: x",
            "Mar 27 13:06:56 h : x",
            "Mar 27 13:06:56  sshd: x",
            "Mar27 13:06:56 h sshd: x",
            "Mar  13:06:56 h sshd: x",
            "Mar 0 13:06:56 h sshd: x",
            "Mar 32 13:06:56 h sshd: x",
            "Mar 999999999999 13:06:56 h sshd: x",
            "Mar 27 24:06:56 h sshd: x",
            "Mar 27 13:60:56 h sshd: x",
            "Mar 27 13:06:61 h sshd: x",
            "mar 27 13:06:56 h sshd: x",
            "Mär 27 13:06:56 h sshd: x",
            "2024-05-01T12:00:00 h sshd: x",
            "2024-13-01T12:00:00Z h sshd: x",
            "2024-05-01T12:00:00Z",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
