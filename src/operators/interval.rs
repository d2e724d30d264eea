//! Which windows an event time falls into.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::{Event, Record};
use crate::time::{EventTime, millis};

/// Windows of one size that begin every `hop`, aligned to the Unix epoch. Made by [`Tumbling`] and [`Hopping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    size_ms: i64,
    hop_ms: i64,
}

/// Windows that follow each other without overlap.
#[derive(Clone, Copy, Debug)]
pub struct Tumbling;

impl Tumbling {
    /// Windows of `size`, in whole milliseconds, at least 1: `Tumbling::of(Duration::from_secs(300))`.
    pub fn of(size: Duration) -> Intervals {
        Intervals { size_ms: millis(size), hop_ms: millis(size) }
    }
}

/// Windows that overlap: each event is in `size / hop` of them, rounded up or down.
#[derive(Clone, Copy, Debug)]
pub struct Hopping {
    size: Duration,
}

/// The most windows that one event may be in.
pub const OVERLAP_MAX: i64 = 1_000;

impl Hopping {
    /// Windows of `size`; say how often one begins with [`every`](Hopping::every).
    pub fn of(size: Duration) -> Hopping {
        Hopping { size }
    }

    /// One window begins every `hop`: `Hopping::of(hour).every(five_minutes)`.
    pub fn every(self, hop: Duration) -> Intervals {
        Intervals { size_ms: millis(self.size), hop_ms: millis(hop) }
    }
}

impl Intervals {
    /// A placeholder for invalid intervals, until the fault is reported.
    pub(crate) const PLACEHOLDER: Intervals = Intervals { size_ms: 1, hop_ms: 1 };

    /// How long each window is.
    pub fn size(&self) -> Duration {
        Duration::from_millis(self.size_ms.unsigned_abs())
    }

    /// How often a window begins.
    pub fn hop(&self) -> Duration {
        Duration::from_millis(self.hop_ms.unsigned_abs())
    }

    /// Why these intervals are invalid, if they are.
    pub(crate) fn fault(&self) -> Option<String> {
        let Intervals { size_ms, hop_ms } = *self;
        if size_ms < 1 || hop_ms < 1 {
            Some(format!("a window needs a size and a hop of at least 1 ms, got {size_ms} ms every {hop_ms} ms"))
        } else if hop_ms > size_ms {
            Some(format!("windows of {size_ms} ms every {hop_ms} ms leave gaps; the hop must not exceed the size"))
        } else if (size_ms - 1) / hop_ms + 1 > OVERLAP_MAX {
            Some(format!("each event would be in {} windows; at most {OVERLAP_MAX} are allowed", size_ms / hop_ms))
        } else {
            None
        }
    }

    /// The start of the newest window that holds `time`.
    #[inline]
    pub fn newest(&self, time: EventTime) -> EventTime {
        time.align_down(self.hop_ms)
    }

    /// The start of the window before the one that starts at `start`, if it still holds `time`.
    #[inline]
    pub fn before(&self, start: EventTime, time: EventTime) -> Option<EventTime> {
        let earlier = start.millis().saturating_sub(self.hop_ms);
        (earlier < start.millis() && time.millis().saturating_sub(earlier) < self.size_ms)
            .then_some(EventTime::from_millis(earlier))
    }

    /// The end of the window that starts at `start`: the first event time that is not in it.
    #[inline]
    pub fn end(&self, start: EventTime) -> EventTime {
        EventTime::from_millis(start.millis().saturating_add(self.size_ms))
    }

    /// The last start of a window that is closed once nothing earlier than `watermark` is expected.
    pub fn closed_by(&self, watermark: EventTime) -> EventTime {
        if watermark == EventTime::MAX {
            return EventTime::MAX;
        }
        EventTime::from_millis(watermark.millis().saturating_sub(self.size_ms))
    }
}

/// The row of a key and a window that has closed. Its event time is the window's last millisecond.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window<K, V> {
    /// The key.
    pub key: K,
    /// The first event time of the window.
    pub start: EventTime,
    /// The first event time after the window.
    pub end: EventTime,
    /// The result of the aggregate.
    pub value: V,
}

impl<K: Record, V: Record> Event for Window<K, V> {
    fn event_time(&self) -> EventTime {
        EventTime::from_millis(self.end.millis() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn starts(intervals: Intervals, time: EventTime) -> Vec<i64> {
        std::iter::successors(Some(intervals.newest(time)), |start| intervals.before(*start, time))
            .map(EventTime::millis)
            .collect()
    }

    #[test]
    fn gaps_and_empty_sizes_are_faults() {
        let ms = Duration::from_millis;
        assert!(Tumbling::of(ms(0)).fault().is_some());
        assert!(Hopping::of(ms(10)).every(ms(11)).fault().is_some());
        assert!(Hopping::of(ms(1000)).every(ms(1)).fault().is_none());
        assert!(Hopping::of(ms(1001)).every(ms(1)).fault().is_some());
    }

    proptest! {
        #[test]
        fn an_event_is_in_exactly_the_windows_that_hold_it(
            size in 1i64..50, hop in 1i64..50, time in -1000i64..1000, watermark in -1000i64..1000,
        ) {
            prop_assume!(hop <= size);
            let intervals = Intervals { size_ms: size, hop_ms: hop };
            let expected: Vec<i64> =
                (-1100i64..1100).rev().filter(|s| s.rem_euclid(hop) == 0 && *s <= time && time < s + size).collect();
            prop_assert_eq!(starts(intervals, EventTime::from_millis(time)), expected.clone());
            for start in expected {
                let start = EventTime::from_millis(start);
                let closed = start <= intervals.closed_by(EventTime::from_millis(watermark));
                prop_assert_eq!(closed, intervals.end(start).millis() <= watermark);
            }
        }
    }
}
