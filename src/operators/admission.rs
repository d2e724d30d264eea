//! Which events of a partition are on time: decided per partition, in partition order, so it depends on the input alone.
//!
//! The one exception is a partition that returns from idleness: what it holds behind the source's watermark is refused as
//! [`Reason::LateAfterIdle`], since the others went on without it.

use std::time::Duration;

use crate::record::{Reason, Rejection};
use crate::time::{EventTime, millis};

/// What a source's configuration says about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// How far behind its partition's greatest event time an event may be. Default 5 s.
    pub out_of_order: Duration,
    /// How far ahead of the epoch an event may be. Default 1 h.
    pub future_max: Duration,
    /// How long a partition's fetches must come back empty until the watermark goes on without it. Default 30 s.
    pub idle_after: Duration,
}

impl Default for TimeRules {
    fn default() -> Self {
        TimeRules {
            out_of_order: Duration::from_secs(5),
            future_max: Duration::from_secs(3600),
            idle_after: Duration::from_secs(30),
        }
    }
}

/// The event-time state of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    out_of_order_ms: i64,
    future_max_ms: i64,
    /// The greatest event time admitted.
    greatest: EventTime,
    /// `greatest` minus the allowance.
    watermark: EventTime,
    /// The source's watermark when the partition joined.
    floor: EventTime,
}

impl Admission {
    /// A partition of which nothing was read.
    pub fn new(rules: &TimeRules) -> Self {
        Admission {
            out_of_order_ms: millis(rules.out_of_order),
            future_max_ms: millis(rules.future_max),
            greatest: EventTime::MIN,
            watermark: EventTime::MIN,
            floor: EventTime::MIN,
        }
    }

    /// A partition whose greatest event time so far is `greatest`, and which joined a source at `floor`.
    pub fn resume(rules: &TimeRules, greatest: EventTime, floor: EventTime) -> Self {
        let new = Admission::new(rules);
        Admission { greatest, watermark: behind(greatest, new.out_of_order_ms), floor, ..new }
    }

    /// Whether an event of `time` is too far ahead of the epoch.
    #[inline]
    pub fn is_future(&self, time: EventTime, epoch_ms: u64) -> bool {
        time.millis() > (epoch_ms as i64).saturating_add(self.future_max_ms)
    }

    /// The partition's watermark once an event of `time` is admitted.
    pub fn watermark_after(&self, time: EventTime) -> EventTime {
        self.watermark.max(behind(time, self.out_of_order_ms))
    }

    /// Nothing earlier is expected from the partition: its greatest event time minus the allowance.
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// The greatest event time that was admitted.
    pub fn greatest(&self) -> EventTime {
        self.greatest
    }

    /// Earlier events come too late.
    pub fn floor(&self) -> EventTime {
        self.floor
    }

    /// The partition joins a source whose watermark is `floor`: earlier events come too late.
    pub fn join_at(&mut self, floor: EventTime) {
        self.floor = self.floor.max(floor);
    }

    /// Admits an event of `time` read at `epoch_ms`, or says why not. Refused events move no watermark.
    ///
    /// # Errors
    /// [`Reason::Late`], [`Reason::LateAfterIdle`] or [`Reason::Future`].
    #[inline]
    pub fn admit(&mut self, time: EventTime, epoch_ms: u64) -> Result<(), Rejection> {
        if time > self.greatest {
            if self.is_future(time, epoch_ms) {
                return Err(self.refuse(Reason::Future, time, epoch_ms));
            }
            if time < self.floor {
                return Err(self.refuse(Reason::LateAfterIdle, time, epoch_ms));
            }
            self.greatest = time;
            self.watermark = behind(time, self.out_of_order_ms);
            return Ok(());
        }
        if time < self.watermark {
            return Err(self.refuse(Reason::Late, time, epoch_ms));
        }
        if time < self.floor {
            return Err(self.refuse(Reason::LateAfterIdle, time, epoch_ms));
        }
        Ok(())
    }

    /// The refusal of an event of `time` for `reason`, in words.
    #[cold]
    pub fn refuse(&self, reason: Reason, time: EventTime, epoch_ms: u64) -> Rejection {
        let detail = match reason {
            Reason::Future => format!(
                "event time {time} is more than future_max ({} ms) after {}",
                self.future_max_ms,
                EventTime::from_millis(epoch_ms as i64)
            ),
            Reason::LateAfterIdle => {
                format!("event time {time} is behind {}, the watermark when its partition came back", self.floor)
            }
            _ => format!(
                "event time {time} is behind its partition's watermark {} (greatest event time minus out_of_order, {} ms)",
                self.watermark, self.out_of_order_ms
            ),
        };
        Rejection::new(reason, detail)
    }
}

/// `out_of_order_ms` before `time`; nothing is before the beginning.
#[inline]
pub(super) fn behind(time: EventTime, out_of_order_ms: i64) -> EventTime {
    EventTime::from_millis(time.millis().saturating_sub(out_of_order_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 10_000_000;

    fn time(ms: i64) -> EventTime {
        EventTime::from_millis(ms)
    }

    fn reason(result: Result<(), Rejection>) -> Option<Reason> {
        result.err().map(|r| r.reason)
    }

    #[test]
    fn an_event_exactly_at_the_watermark_is_on_time() {
        let mut a = Admission::new(&TimeRules::default());
        assert!(a.admit(time(100_000), NOW).is_ok());
        assert!(a.admit(time(95_000), NOW).is_ok());
        assert_eq!(reason(a.admit(time(94_999), NOW)), Some(Reason::Late));
        assert_eq!(a.watermark(), time(95_000));
    }

    #[test]
    fn a_future_event_is_refused_and_moves_nothing() {
        let mut a = Admission::new(&TimeRules::default());
        let limit = NOW as i64 + 3_600_000;
        assert_eq!(reason(a.admit(time(limit + 1), NOW)), Some(Reason::Future));
        assert_eq!(reason(a.admit(time(i64::MAX), NOW)), Some(Reason::Future));
        assert_eq!(a.watermark(), EventTime::MIN);
        assert!(a.admit(time(limit), NOW).is_ok());
    }

    #[test]
    fn what_an_idle_partition_brings_back_must_not_be_behind_the_source() {
        let mut a = Admission::new(&TimeRules::default());
        a.join_at(time(50_000));
        assert_eq!(reason(a.admit(time(49_999), NOW)), Some(Reason::LateAfterIdle));
        assert!(a.admit(time(50_000), NOW).is_ok());
        assert_eq!(reason(a.admit(time(49_000), NOW)), Some(Reason::LateAfterIdle));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut a = Admission::new(&TimeRules::default());
        assert!(a.admit(time(i64::MIN), NOW).is_ok());
        assert!(a.admit(time(i64::MIN + 1), NOW).is_ok());
    }
}
