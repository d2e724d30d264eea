//! Why an event is refused, in words that help to mend what is wrong.

use super::{Admission, behind};
use crate::record::{Reason, Rejection};
use crate::time::{Epoch, EventTime};

/// A clock of another zone is off by a multiple of this.
const QUARTER_HOUR_MS: i64 = 15 * 60_000;

/// No zone is further from UTC.
const ZONE_MAX_MS: i64 = 14 * 3_600_000;

/// How exactly a clock of another zone has to be off by a multiple of a quarter of an hour to be taken for one.
const ZONE_SLACK_MS: i64 = 2 * 60_000;

impl Admission {
    /// The refusal of an event of `time` for `reason`.
    #[cold]
    pub(super) fn refuse(&self, reason: Reason, time: EventTime, clock: u64, epoch: Epoch) -> Rejection {
        let now = EventTime::from_millis(epoch as i64);
        let bounds = &self.bounds;
        let detail = match reason {
            Reason::Future => {
                let max = bounds.future_max_ms;
                format!(
                    "event time {time} is more than future_max ({max} ms) after {now}, when it was read{}",
                    self.hint(time, epoch)
                )
            }
            Reason::Past => {
                let max = bounds.past_max_ms;
                format!(
                    "event time {time} is more than past_max ({max} ms) before {now}, when it was read{}",
                    self.hint(time, epoch)
                )
            }
            Reason::LateAfterIdle => {
                let floor = self.state.floor;
                format!("event time {time} is behind {floor}, which the watermark had reached without its partition")
            }
            _ => {
                let (own, max) = (self.state.clocks.as_ref(), bounds.out_of_order_ms);
                let own = own.map_or(self.state.reached.greatest(), |clocks| clocks.greatest(clock, bounds));
                let (own, watermark) = (behind(own, max), self.watermark());
                if time < own {
                    let whose = if self.state.clocks.is_some() { "clock" } else { "partition" };
                    format!(
                        "event time {time} is behind its {whose}'s watermark {own} (greatest event time minus out_of_order, {max} ms)"
                    )
                } else {
                    format!(
                        "event time {time} is behind its partition's watermark {watermark}: its clock is more than clock_spread_max behind the others"
                    )
                }
            }
        };
        Rejection::new(reason, detail)
    }

    /// What may be wrong with a time that is far off.
    fn hint(&self, time: EventTime, epoch: Epoch) -> String {
        let (at, now) = (i128::from(time.millis()), i128::from(epoch));
        let (earliest, latest) =
            (now - i128::from(self.bounds.past_max_ms), now + i128::from(self.bounds.future_max_ms));
        let units = [("seconds", at * 1_000), ("microseconds", at / 1_000), ("nanoseconds", at / 1_000_000)];
        let plausible = |ms: &i128| (earliest..=latest).contains(ms) && *ms > 0;
        if let Some((unit, ms)) = units.iter().find(|(_, ms)| plausible(ms)) {
            let read = i64::try_from(*ms).map(EventTime::from_millis).unwrap_or(time);
            return format!("; are these {unit}? then it is {read}, and the field has to be written in milliseconds");
        }
        let off = time.millis().saturating_sub(epoch as i64);
        let from_quarter = (off.saturating_add(QUARTER_HOUR_MS / 2)).rem_euclid(QUARTER_HOUR_MS) - QUARTER_HOUR_MS / 2;
        if off.unsigned_abs() <= ZONE_MAX_MS.unsigned_abs() && from_quarter.abs() <= ZONE_SLACK_MS {
            return "; is its clock of another zone? say which with zone, if the times are written without one"
                .to_owned();
        }
        String::new()
    }
}
