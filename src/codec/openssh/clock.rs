//! Completes the time of a line: the year and the zone if the line has neither.
//!
//! In the hour that occurs twice when clocks go back, the order of the lines tells which one is meant: the earlier one
//! until the clock of the partition has gone back. Everything here depends on the partition's lines and on the epoch at
//! which the first of them was read, so a replay agrees.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::stamp::{self, Stamp};
use super::year::YearTracker;
use crate::time::EventTime;

/// A line this much behind the one before it is a late line of the first pass through an hour, in seconds, even if the
/// clock has gone back already.
const STRAGGLER_MAX_S: i64 = 60;

/// The farthest that an offset of [`Zone`] may be from UTC, in seconds: 14 hours, as Kiribati's.
const OFFSET_MAX_S: i32 = 14 * 3600;

/// The zone of clocks whose time is written without one: an IANA name, or an offset from UTC.
///
/// The rules of zones come with the program, whatever the machine has.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Universal time.
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// The zone that `text` names: `Europe/Berlin`, `UTC`, `+02:00`, `-0330`.
    ///
    /// # Errors
    /// In words for the person who wrote it.
    pub fn parse(text: &str) -> Result<Zone, String> {
        let expected = "expected an IANA name such as \"Europe/Berlin\", or an offset such as \"+02:00\"";
        if text.starts_with(['+', '-']) {
            let offset = stamp::parse_offset(text).filter(|offset| offset.seconds().abs() <= OFFSET_MAX_S);
            return offset.map(|offset| Zone(TimeZone::fixed(offset))).ok_or_else(|| {
                format!("{expected}; an offset has hours and perhaps minutes, and is at most 14 hours")
            });
        }
        TimeZoneDatabase::bundled().get(text).map(Zone).map_err(|_| expected.to_owned())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.iana_name();
        f.debug_tuple("Zone").field(&name.map_or_else(|| format!("{:?}", self.0), str::to_owned)).finish()
    }
}

/// Determines the time of the lines of one partition, in order.
#[derive(Clone, Debug)]
pub(super) struct LineClock {
    /// `None`: universal time, which needs no rules.
    zone: Option<Zone>,
    heard: LineClockState,
}

/// The state after the lines so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LineClockState {
    years: YearTracker,
    /// The time of the line before, in seconds since the Unix epoch. Only kept with a zone.
    before_s: Option<i64>,
    /// When the clocks went back, in seconds since the Unix epoch, if lines of the second pass were seen.
    gone_back_s: Option<i64>,
}

impl LineClock {
    pub(super) fn new(year: Option<i32>, zone: Option<Zone>) -> Self {
        let zone = zone.filter(|zone| *zone != Zone::UTC);
        LineClock { zone, heard: LineClockState { years: YearTracker::new(year), before_s: None, gone_back_s: None } }
    }

    /// The state, for a checkpoint.
    pub(super) fn heard(&self) -> &LineClockState {
        &self.heard
    }

    /// Resumes from the state of another clock.
    pub(super) fn resume(&mut self, heard: LineClockState) {
        self.heard = heard;
    }

    /// The time that `stamp` means. Refused lines do not change the state.
    pub(super) fn resolve(&mut self, stamp: Stamp, epoch_ms: u64) -> Result<EventTime, String> {
        let civil = match stamp {
            Stamp::Instant(instant) => {
                if self.zone.is_some() {
                    self.heard.before_s = Some(instant.as_second());
                }
                return Ok(EventTime::from_millis(instant.as_millisecond()));
            }
            Stamp::Local(civil) => civil,
            Stamp::Yearless(stamp) => self.heard.years.resolve(stamp, || shown(self.zone.as_ref(), epoch_ms))?,
        };
        let instant = match &self.zone {
            None => Offset::UTC.to_timestamp(civil),
            Some(zone) => self.heard.in_zone(&zone.0, civil),
        };
        instant
            .map(|instant| EventTime::from_millis(instant.as_millisecond()))
            .map_err(|_| format!("{civil} is not a time that can be represented"))
    }
}

/// What the clocks of a zone show at an epoch.
fn shown(zone: Option<&Zone>, epoch_ms: u64) -> Option<DateTime> {
    let now = Timestamp::from_millisecond(i64::try_from(epoch_ms).ok()?).ok()?;
    Some(match zone {
        None => Offset::UTC.to_datetime(now),
        Some(zone) => zone.0.to_datetime(now),
    })
}

impl LineClockState {
    fn in_zone(&mut self, zone: &TimeZone, civil: DateTime) -> Result<Timestamp, jiff::Error> {
        let ambiguous = zone.to_ambiguous_timestamp(civil);
        let instant = match ambiguous.offset() {
            AmbiguousOffset::Fold { before, after } => {
                self.in_fold(zone, before.to_timestamp(civil)?, after.to_timestamp(civil)?)
            }
            // A time that clocks skipped is shifted by as much as they skipped.
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => ambiguous.compatible()?,
        };
        self.before_s = Some(instant.as_second());
        Ok(instant)
    }

    /// Chooses between the two times of a line that is written in an hour that occurs twice.
    fn in_fold(&mut self, zone: &TimeZone, earlier: Timestamp, later: Timestamp) -> Timestamp {
        let size_s = later.as_second() - earlier.as_second();
        let next = later.checked_add(SignedDuration::from_secs(1)).unwrap_or(later);
        let gone_back_s = zone.preceding(next).next().map(|transition| transition.timestamp().as_second());
        let back_s = self.before_s.map_or(0, |before| before - earlier.as_second());
        let is_straggler = (0..=STRAGGLER_MAX_S).contains(&back_s);
        if self.gone_back_s == gone_back_s && gone_back_s.is_some() {
            return if is_straggler { earlier } else { later };
        }
        // A step back of this size is the clock's, and not disorder.
        if (size_s / 2..=2 * size_s).contains(&back_s) {
            self.gone_back_s = gone_back_s;
            return later;
        }
        earlier
    }
}
