//! The year of lines that do not say it, from the order of the lines before them.
//!
//! State depends on the partition's lines and on the epoch at which the first of them was read, so a replay agrees.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

use super::stamp::Yearless;

/// How far after the epoch of its reading the first line may be, in hours: clocks and zones differ.
const AHEAD_MAX_HOURS: i64 = 24;

/// How many years back a day is looked for: Feb 29 is missing for up to 8 years in a row (1896 to 1904, 2096 to 2104).
const YEARS_BACK_MAX: i16 = 8;

/// A month that goes back by more than this many months is in the next year.
const MONTHS_BACK_MAX: i8 = 6;

/// The year and the month of the line before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct YearTracker {
    year: Option<i16>,
    month: Option<i8>,
    /// Whether the year changed since the first line, so that a late line may belong to the year before.
    turned: bool,
}

impl YearTracker {
    pub(super) fn new(year: Option<i32>) -> Self {
        YearTracker { year: year.and_then(|year| i16::try_from(year).ok()), month: None, turned: false }
    }

    /// What the clock showed, with the year; `now` is what it shows at the epoch of reading. Lines that are refused leave no
    /// trace.
    pub(super) fn resolve(
        &mut self,
        stamp: Yearless,
        now: impl FnOnce() -> Option<DateTime>,
    ) -> Result<DateTime, String> {
        let year = match (self.year, self.month) {
            (None, _) => latest_year(stamp, now()).ok_or_else(|| no_such_day(stamp, None))?,
            (Some(year), Some(before)) if stamp.month < before - MONTHS_BACK_MAX => year + 1,
            (Some(year), Some(1)) if self.turned && stamp.month == 12 => {
                // A late line of the old year: without this it would be a year in the future.
                return at(stamp, year - 1).ok_or_else(|| no_such_day(stamp, Some(year - 1)));
            }
            (Some(year), _) => year,
        };
        let time = at(stamp, year).ok_or_else(|| no_such_day(stamp, Some(year)))?;
        self.turned |= self.year.is_some_and(|before| before != year);
        self.year = Some(year);
        self.month = Some(stamp.month);
        Ok(time)
    }
}

fn at(stamp: Yearless, year: i16) -> Option<DateTime> {
    Some(DateTime::from_parts(Date::new(year, stamp.month, stamp.day).ok()?, stamp.time))
}

/// The latest year in which `stamp` exists and is at most a day after `now`.
fn latest_year(stamp: Yearless, now: Option<DateTime>) -> Option<i16> {
    let limit = now?.checked_add(AHEAD_MAX_HOURS.hours()).ok()?;
    (0..=YEARS_BACK_MAX).map(|back| limit.year() - back).find(|year| at(stamp, *year).is_some_and(|time| time <= limit))
}

fn no_such_day(stamp: Yearless, year: Option<i16>) -> String {
    let Yearless { month, day, .. } = stamp;
    match year {
        Some(year) => format!("the year {year} has no day {day} of month {month}; is the source's `year` right?"),
        None => format!("no recent year has a day {day} of month {month}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(month: i8, day: i8) -> Yearless {
        Yearless { month, day, time: jiff::civil::time(12, 0, 0, 0) }
    }

    fn read(tracker: &mut YearTracker, month: i8, of_month: i8, now: &str) -> String {
        let now = now.strip_suffix('Z').unwrap().parse::<DateTime>().unwrap();
        tracker.resolve(day(month, of_month), || Some(now)).map_or_else(|why| why, |t| format!("{t}Z"))
    }

    #[test]
    fn counts_years_from_the_configured_one() {
        let mut tracker = YearTracker::new(Some(2017));
        let now = "2024-01-01T00:00:00Z";
        assert_eq!(read(&mut tracker, 11, 30, now), "2017-11-30T12:00:00Z");
        assert_eq!(read(&mut tracker, 12, 31, now), "2017-12-31T12:00:00Z");
        assert_eq!(read(&mut tracker, 1, 1, now), "2018-01-01T12:00:00Z");
        assert_eq!(read(&mut tracker, 12, 31, now), "2017-12-31T12:00:00Z", "a late line of the old year");
        assert_eq!(read(&mut tracker, 1, 2, now), "2018-01-02T12:00:00Z");
        assert_eq!(read(&mut tracker, 8, 1, now), "2018-08-01T12:00:00Z");
        assert_eq!(read(&mut tracker, 2, 1, now), "2018-02-01T12:00:00Z", "six months back are disorder");
        assert_eq!(read(&mut tracker, 9, 1, now), "2018-09-01T12:00:00Z");
        assert_eq!(read(&mut tracker, 2, 1, now), "2019-02-01T12:00:00Z", "seven are the next year");
    }

    #[test]
    fn a_log_may_begin_in_january_and_go_on_in_december() {
        let mut tracker = YearTracker::new(Some(2017));
        assert_eq!(read(&mut tracker, 1, 1, "2024-01-01T00:00:00Z"), "2017-01-01T12:00:00Z");
        assert_eq!(read(&mut tracker, 12, 1, "2024-01-01T00:00:00Z"), "2017-12-01T12:00:00Z");
    }

    #[test]
    fn infers_the_year_of_the_first_line_alone() {
        let mut tracker = YearTracker::new(None);
        assert_eq!(read(&mut tracker, 12, 31, "2024-01-01T00:00:00Z"), "2023-12-31T12:00:00Z");
        assert_eq!(read(&mut tracker, 1, 1, "2030-01-01T00:00:00Z"), "2024-01-01T12:00:00Z");
        for (now, year) in [("2024-06-09T11:59:59Z", 2023), ("2024-06-09T12:00:00Z", 2024)] {
            let expected = format!("{year}-06-10T12:00:00Z");
            assert_eq!(read(&mut YearTracker::new(None), 6, 10, now), expected, "a day ahead at most");
        }
        assert_eq!(read(&mut YearTracker::new(None), 1, 1, "2023-12-31T20:00:00Z"), "2024-01-01T12:00:00Z");
    }

    #[test]
    fn leap_days_find_a_leap_year_or_are_refused() {
        assert_eq!(read(&mut YearTracker::new(None), 2, 29, "2027-05-01T00:00:00Z"), "2024-02-29T12:00:00Z");
        assert_eq!(read(&mut YearTracker::new(None), 2, 29, "2103-05-01T00:00:00Z"), "2096-02-29T12:00:00Z");
        assert_eq!(read(&mut YearTracker::new(Some(2024)), 2, 29, "2027-05-01T00:00:00Z"), "2024-02-29T12:00:00Z");
        let mut tracker = YearTracker::new(Some(2023));
        assert!(read(&mut tracker, 2, 29, "2027-05-01T00:00:00Z").contains("2023 has no day 29 of month 2"));
        assert!(read(&mut tracker, 2, 30, "2027-05-01T00:00:00Z").contains("no day 30"));
        assert!(read(&mut YearTracker::new(None), 2, 30, "2027-05-01T00:00:00Z").contains("no recent year"));
        let mut tracker = YearTracker::new(Some(2023));
        assert_eq!(read(&mut tracker, 12, 31, "2027-05-01T00:00:00Z"), "2023-12-31T12:00:00Z");
        assert_eq!(read(&mut tracker, 2, 29, "2027-05-01T00:00:00Z"), "2024-02-29T12:00:00Z");
    }

    #[test]
    fn extremes_are_refused_without_a_panic() {
        let mut tracker = YearTracker::new(Some(9999));
        tracker.resolve(day(12, 1), || None).unwrap();
        assert!(tracker.resolve(day(1, 1), || None).is_err());
        assert!(YearTracker::new(None).resolve(day(1, 1), || None).is_err());
        assert!(YearTracker::new(None).resolve(day(1, 1), || Some(DateTime::MAX)).is_err());
        assert!(YearTracker::new(None).resolve(day(12, 31), || Some(DateTime::MIN)).is_err());
    }
}
