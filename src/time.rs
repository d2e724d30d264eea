//! Event time, epochs and the clock that epochs are derived from.
//!
//! The timely timestamp of every dataflow is an [`Epoch`]; event time is data. Only [`Clock`] reads the wall clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A unit of ingestion and of commit: milliseconds since the Unix epoch, rounded up to the tick.
pub type Epoch = u64;

/// When something happened: milliseconds since the Unix epoch, UTC.
///
/// Serialises as that number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(i64);

impl EventTime {
    /// Before every event.
    pub const MIN: EventTime = EventTime(i64::MIN);
    /// After every event.
    pub const MAX: EventTime = EventTime(i64::MAX);

    /// The event time `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        EventTime(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The start of the interval of `size_ms` milliseconds, aligned to the Unix epoch, that holds this time.
    pub const fn align_down(self, size_ms: i64) -> Self {
        EventTime(self.0.saturating_sub(self.0.rem_euclid(size_ms)))
    }
}

impl Add<Duration> for EventTime {
    type Output = EventTime;
    fn add(self, d: Duration) -> EventTime {
        EventTime(self.0.saturating_add(millis(d)))
    }
}

impl Sub<Duration> for EventTime {
    type Output = EventTime;
    fn sub(self, d: Duration) -> EventTime {
        EventTime(self.0.saturating_sub(millis(d)))
    }
}

impl fmt::Display for EventTime {
    /// RFC 3339 in UTC where the year allows it, else the number of milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => t.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}

/// Whole milliseconds of `d`, saturating at `i64::MAX`.
pub fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// Where the engine reads the time of day. On the data path only the sources read it, to choose an epoch.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock and the tick that epochs are rounded up to.
#[derive(Clone)]
pub struct Ticker {
    clock: Arc<dyn Clock>,
    tick_ms: u64,
}

impl Ticker {
    /// Epochs of `tick` (at least 1 ms) on `clock`.
    pub fn new(clock: Arc<dyn Clock>, tick: Duration) -> Self {
        Ticker { clock, tick_ms: u64::try_from(tick.as_millis()).unwrap_or(u64::MAX).max(1) }
    }

    /// The length of an epoch.
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }

    /// The epoch of this moment: now, rounded up to the tick.
    pub fn epoch(&self) -> Epoch {
        self.clock.now_ms().div_ceil(self.tick_ms).saturating_mul(self.tick_ms)
    }

    /// Milliseconds since the Unix epoch, unrounded.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// How long until the next epoch begins; at most a tick, at least a millisecond. The millisecond that an epoch is
    /// named after is its last.
    pub fn until_next(&self) -> Duration {
        let now = self.clock.now_ms();
        Duration::from_millis(self.tick_ms - now.saturating_sub(1) % self.tick_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_towards_the_past_also_before_1970() {
        assert_eq!(EventTime::from_millis(61_000).align_down(60_000).millis(), 60_000);
        assert_eq!(EventTime::from_millis(-1).align_down(60_000).millis(), -60_000);
        assert_eq!(EventTime::MIN.align_down(60_000), EventTime::MIN);
    }

    struct At(u64);

    impl Clock for At {
        fn now_ms(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn whoever_waits_until_the_next_epoch_finds_it_begun() {
        for now in [1, 99, 100, 101, 150, 199, 200, 201, 1_000] {
            let ticker = |now| Ticker::new(Arc::new(At(now)), Duration::from_millis(100));
            let next = now + ticker(now).until_next().as_millis() as u64;
            assert!(ticker(next).epoch() > ticker(now).epoch(), "at {now}");
            assert_eq!(ticker(next - 1).epoch(), ticker(now).epoch(), "at {now}");
        }
    }

    #[test]
    fn shows_rfc_3339() {
        assert_eq!(EventTime::from_millis(0).to_string(), "1970-01-01T00:00:00Z");
    }
}
