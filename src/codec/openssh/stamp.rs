//! The time at the start of a syslog line, in the forms that daemons and their templates write.
//!
//! | form | written by |
//! | --- | --- |
//! | `Mar 27 13:06:56`, also with fractions of a second, the year after the day or after the time, a day of the week before it | RFC 3164 and its relatives |
//! | `2024-05-01T12:00:00.123456+02:00`, also with a blank for the `T`, a decimal comma, `+0200`, or no zone | RFC 3339, ISO 8601 |
//! | `1714557600.123456` | seconds since the Unix epoch |
//!
//! What a line does not say (the year, the zone) is left open here.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::{month, tag};

/// When the line was written, as far as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// Everything is said.
    Instant(Timestamp),
    /// Everything but the zone.
    Local(DateTime),
    /// Everything but the year and the zone.
    Yearless(Yearless),
}

/// A time without its year. Whether the month has that day depends on the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Yearless {
    pub month: i8,
    pub day: i8,
    pub time: Time,
}

/// Years that a stamp may name.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=9999;

/// `Mar 27 13:06:56 REST` or RFC 3339, as nearly all lines begin.
#[inline]
pub(super) fn common(line: &str) -> Option<(Stamp, &str)> {
    if line.as_bytes().first()?.is_ascii_digit() {
        return iso(line);
    }
    let month = month::english(line.as_bytes().get(..3)?)?;
    let (day, at) = day(line, 3)?;
    let bytes = line.as_bytes();
    if bytes.get(at) != Some(&b' ') || bytes.get(at + 9) != Some(&b' ') {
        return None;
    }
    let (hour, minute, second) = clock(bytes.get(at + 1..at + 9)?)?;
    let time = Time::new(hour, minute, second, 0).ok()?;
    Some((Stamp::Yearless(Yearless { month, day, time }), line.get(at + 10..)?))
}

/// A stamp in any form, and what follows it and a blank.
pub(super) fn read(line: &str) -> Option<(Stamp, &str)> {
    if line.starts_with(|first: char| first.is_ascii_digit()) {
        return iso(line).or_else(|| unix(line)).or_else(|| by_month(line, false));
    }
    by_month(line, false).or_else(|| {
        // What stands before the date is the day of the week, which the date implies.
        let (week_day, rest) = line.split_once(' ')?;
        let is_word = week_day.trim_end_matches([',', '.']).chars().all(char::is_alphabetic);
        let rest = rest.trim_start_matches(' ');
        if is_word { by_month(rest, true).or_else(|| iso(rest)) } else { None }
    })
}

/// `MONTH DAY[ YEAR] TIME[ YEAR] REST`; behind a day of the week the year is last.
fn by_month(line: &str, behind_week_day: bool) -> Option<(Stamp, &str)> {
    let (name, _) = line.split_once(' ')?;
    let month = month::of(name)?;
    let (day, at) = day(line, name.len())?;
    let rest = line.get(at..)?.strip_prefix(' ')?.trim_start_matches(' ');
    let (year, rest) = match year(rest) {
        Some((year, rest)) => (Some(year), rest),
        None => (None, rest),
    };
    let (time, rest) = time(rest)?;
    let rest = behind(rest)?;
    let (year, rest) = match year {
        // Four digits can also be the name of a host, if a tag follows.
        None => match self::year(rest).filter(|(_, after)| behind_week_day || !tag::begins(after)) {
            Some((year, after)) => (Some(year), after),
            None => (None, rest),
        },
        Some(year) => (Some(year), rest),
    };
    let stamp = match year {
        Some(year) => Stamp::Local(DateTime::from_parts(Date::new(year, month, day).ok()?, time)),
        None => Stamp::Yearless(Yearless { month, day, time }),
    };
    Some((stamp, rest))
}

/// Blanks and a day of the month, from `at` on; and where it ends.
#[inline]
fn day(line: &str, at: usize) -> Option<(i8, usize)> {
    let bytes = line.as_bytes();
    let blanks = bytes.get(at..)?.iter().take_while(|byte| **byte == b' ').count();
    let digits = bytes.get(at + blanks..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = at + blanks + digits;
    let day = match bytes.get(at + blanks..end)? {
        [units] => units - b'0',
        [tens, units] => (tens - b'0') * 10 + (units - b'0'),
        _ => return None,
    };
    (blanks > 0 && (1..=31).contains(&day)).then_some((day as i8, end))
}

/// Four digits, and what follows them and a blank.
fn year(rest: &str) -> Option<(i16, &str)> {
    let (digits, rest) = rest.split_at_checked(4)?;
    let year = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    YEARS.contains(&year).then_some((year, behind(rest)?))
}

/// `HH:MM:SS`, perhaps with fractions behind a dot or a comma; and what follows.
fn time(rest: &str) -> Option<(Time, &str)> {
    let (clock, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = self::clock(clock.as_bytes())?;
    let (nanosecond, rest) = fraction(rest)?;
    Some((Time::new(hour, minute, second, nanosecond).ok()?, rest))
}

/// The numbers of `HH:MM:SS`.
#[inline]
fn clock(text: &[u8]) -> Option<(i8, i8, i8)> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *text else { return None };
    // A leap second counts as the second before it, which it cannot be told from in milliseconds since 1970.
    Some((two_digits(h1, h2, 23)?, two_digits(m1, m2, 59)?, two_digits(s1, s2, 60)?.min(59)))
}

fn two_digits(tens: u8, units: u8, max: i8) -> Option<i8> {
    if !tens.is_ascii_digit() || !units.is_ascii_digit() {
        return None;
    }
    let number = ((tens - b'0') * 10 + (units - b'0')) as i8;
    (number <= max).then_some(number)
}

/// Digits behind a dot or a comma as nanoseconds, 0 if there is neither; digits beyond the ninth are cut off.
fn fraction(rest: &str) -> Option<(i32, &str)> {
    let Some(digits) = rest.strip_prefix(['.', ',']) else { return Some((0, rest)) };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(count);
    let nanoseconds = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some((nanoseconds.fold(0, |number, digit| number * 10 + i32::from(digit - b'0')), rest))
}

/// `DATE TIME` or `DATETTIME`, perhaps with an offset.
fn iso(line: &str) -> Option<(Stamp, &str)> {
    let (date, rest) = line.split_at_checked(10)?;
    let [y1, y2, y3, y4, dash @ (b'-' | b'/'), m1, m2, other, d1, d2] = *date.as_bytes() else { return None };
    if other != dash {
        return None;
    }
    let year = i16::from(two_digits(y1, y2, 99)?) * 100 + i16::from(two_digits(y3, y4, 99)?);
    let date = Date::new(year, two_digits(m1, m2, 12)?, two_digits(d1, d2, 31)?).ok()?;
    let (time, rest) = time(rest.strip_prefix(['T', 't', ' '])?)?;
    let civil = DateTime::from_parts(date, time);
    let (offset, rest) = match offset(rest) {
        Some((offset, rest)) => (Some(offset), rest),
        // `2024-05-01 12:00:00 +0200`
        None => rest.strip_prefix(' ').and_then(offset).map_or((None, rest), |(offset, rest)| (Some(offset), rest)),
    };
    let stamp = match offset {
        Some(offset) => Stamp::Instant(offset.to_timestamp(civil).ok()?),
        None => Stamp::Local(civil),
    };
    Some((stamp, behind(rest)?))
}

/// `Z`, `UTC`, `+02:00`, `+0200` or `+02`, and what follows; a blank or the end must.
fn offset(rest: &str) -> Option<(Offset, &str)> {
    let (word, _) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((parse_offset(word)?, &rest[word.len()..]))
}

/// The offset that `text` spells: `Z`, `UTC`, `GMT`, or a sign with hours and perhaps minutes.
pub(super) fn parse_offset(text: &str) -> Option<Offset> {
    if let "Z" | "z" | "UTC" | "GMT" = text {
        return Some(Offset::UTC);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match text.as_bytes()[1..] {
        [h1, h2] => (two_digits(h1, h2, 23)?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two_digits(h1, h2, 23)?, two_digits(m1, m2, 59)?),
        _ => return None,
    };
    Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok()
}

/// Seconds, milliseconds or microseconds since the Unix epoch, told apart by the number of their digits.
fn unix(line: &str) -> Option<(Stamp, &str)> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = line.split_at(digits);
    let stamp = match digits {
        9..=11 => {
            let (nanosecond, rest) = fraction(rest)?;
            (Timestamp::new(number.parse().ok()?, nanosecond).ok()?, rest)
        }
        13 => (Timestamp::from_millisecond(number.parse().ok()?).ok()?, rest),
        16 => (Timestamp::from_microsecond(number.parse().ok()?).ok()?, rest),
        _ => return None,
    };
    Some((Stamp::Instant(stamp.0), behind(stamp.1)?))
}

/// What follows a blank.
fn behind(rest: &str) -> Option<&str> {
    rest.strip_prefix(' ').map(|rest| rest.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        match read(line) {
            Some((Stamp::Instant(instant), "h x:")) => format!("{instant}"),
            Some((Stamp::Local(civil), "h x:")) => format!("{civil}"),
            Some((Stamp::Yearless(Yearless { month, day, time }), "h x:")) => format!("{month:02}-{day:02}T{time}"),
            Some((_, rest)) => format!("rest {rest:?}"),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn stamps_by_month() {
        for (stamp, expected) in [
            ("Mar  7 13:06:56", "03-07T13:06:56"),
            ("Mar 7 13:06:56", "03-07T13:06:56"),
            ("Mar 07 13:06:56.5", "03-07T13:06:56.5"),
            ("Mar 27 13:06:56,123456", "03-27T13:06:56.123456"),
            ("Mar 27 13:06:60", "03-27T13:06:59"),
            ("сен 01 12:00:00", "09-01T12:00:00"),
            ("févr.  9 12:00:00", "02-09T12:00:00"),
            ("Mar 27 2026 13:06:56", "2026-03-27T13:06:56"),
            ("Mar 27 13:06:56 2026", "2026-03-27T13:06:56"),
            ("Fri Mar 27 13:06:56 2026", "2026-03-27T13:06:56"),
            ("Fri, Mar 27 13:06:56", "03-27T13:06:56"),
            ("Vie  Mar 27 13:06:56", "03-27T13:06:56"),
        ] {
            assert_eq!(said(&format!("{stamp} h x:")), expected, "{stamp}");
        }
        assert_eq!(read("Mar 27 13:06:56 2026 sshd[1]: x").unwrap().1, "2026 sshd[1]: x", "a host of that name");
        assert_eq!(read("Fri Mar 27 13:06:56 2026 auth.info sshd[1]: x").unwrap().1, "auth.info sshd[1]: x");
    }

    #[test]
    fn stamps_with_a_year() {
        for (stamp, expected) in [
            ("2024-05-01T12:00:00.123456+02:00", "2024-05-01T10:00:00.123456Z"),
            ("2024-05-01t12:00:00z", "2024-05-01T12:00:00Z"),
            ("2024-05-01T12:00:00+0200", "2024-05-01T10:00:00Z"),
            ("2024-05-01T12:00:00-02", "2024-05-01T14:00:00Z"),
            ("2024-05-01 12:00:00 +0530", "2024-05-01T06:30:00Z"),
            ("Wed 2024-05-01 12:00:00 UTC", "2024-05-01T12:00:00Z"),
            ("2024-05-01T12:00:00,123Z", "2024-05-01T12:00:00.123Z"),
            ("2024-05-01T12:00:00.1234567891Z", "2024-05-01T12:00:00.123456789Z"),
            ("2024-05-01T12:00:00", "2024-05-01T12:00:00"),
            ("2024/05/01 12:00:00", "2024-05-01T12:00:00"),
            ("1714557600", "2024-05-01T10:00:00Z"),
            ("1714557600.25", "2024-05-01T10:00:00.25Z"),
            ("1714557600250", "2024-05-01T10:00:00.25Z"),
            ("1714557600250000", "2024-05-01T10:00:00.25Z"),
            ("5月 01 12:00:00", "05-01T12:00:00"),
        ] {
            assert_eq!(said(&format!("{stamp} h x:")), expected, "{stamp}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            " ",
            "Mar",
            "Mar 27",
            "Mar 27 13:06:56",
            "Mar27 13:06:56 h",
            "Mar  13:06:56 h",
            "Mar 0 13:06:56 h",
            "Mar 32 13:06:56 h",
            "Mar 999999999999 13:06:56 h",
            "Mar 27 24:06:56 h",
            "Mar 27 13:60:56 h",
            "Mar 27 13:06:61 h",
            "Mar 27 13:06 h",
            "Mar 27 13:06:56. h",
            "Mär",
            "Foo Bar 27 13:06:56 h",
            "2024-13-01T12:00:00Z h",
            "2024-05-32T12:00:00Z h",
            "2024-05/01T12:00:00Z h",
            "2024-05-01T12:00Z h",
            "2024-05-01T12:00:00+2 h",
            "2024-05-01T12:00:00Z",
            "2024-05-01x12:00:00Z h",
            "12345678 h",
            "123456789012 h",
            "99999999999999999999 h",
            "Mar 27 1969 13:06:56 h",
            "é",
            "éééééééééé",
            "2024-05-0é",
            "Mar 27 13:06:5é",
        ] {
            assert!(read(line).is_none(), "{line:?}");
        }
        assert_eq!(common("Mar 27 13:06:56 h").unwrap().1, "h");
        for line in ["Mar 27 13:06:56.1 h", "mar 27 13:06:56 h", "Mar 27 13:06:56", "Mar 27  13:06:56 h", "é"] {
            assert!(common(line).is_none(), "{line}");
        }
    }
}
