//! A clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::{Clock, EventTime};

/// When every test run starts unless it is set: 2100-01-01, later than a test's events, so that none of them is in the
/// future.
pub(super) const START: EventTime = EventTime::from_millis(4_102_444_800_000);

/// A clock that only the test moves; clones are the same clock.
///
/// ```
/// use std::time::Duration;
/// use tidewatch::testing::ManualClock;
/// use tidewatch::time::{Clock, EventTime};
///
/// let clock = ManualClock::at(EventTime::from_millis(1_000));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now_ms(), 2_000);
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    now_ms: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows `time`; times before 1970 show as 1970.
    pub fn at(time: EventTime) -> Self {
        ManualClock { now_ms: Arc::new(AtomicU64::new(u64::try_from(time.millis()).unwrap_or(0))) }
    }

    /// Advances the clock by `time`, in whole milliseconds.
    pub fn advance(&self, time: Duration) {
        self.now_ms.fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Sets the clock to `time`. The engine expects clocks that do not go back; if one does, no epoch ends until it has
    /// caught up.
    pub fn set(&self, time: EventTime) {
        self.now_ms.store(u64::try_from(time.millis()).unwrap_or(0), Ordering::Release);
    }
}

impl Default for ManualClock {
    /// A clock that shows 2100-01-01T00:00:00Z, the beginning of test runs.
    fn default() -> Self {
        ManualClock::at(START)
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Acquire)
    }
}

/// A clock that advances at every reading: epochs then end wherever workers happen to look at it.
#[derive(Debug)]
pub(super) struct RestlessClock {
    inner: ManualClock,
    step: Duration,
}

impl RestlessClock {
    pub(super) fn new(inner: ManualClock, step: Duration) -> Self {
        RestlessClock { inner, step }
    }
}

impl Clock for RestlessClock {
    fn now_ms(&self) -> u64 {
        self.inner.advance(self.step);
        self.inner.now_ms()
    }
}
