//! The watermark of a quiet partition follows the clock.
//!
//! A partition of a live source that was read to its end, and had nothing for `idle_after`, is waited for no longer
//! than its events take to arrive: its watermark is the epoch, minus `out_of_order`, minus the greatest delay that was
//! observed recently. So an attack that is followed by silence is reported, and a quiet source holds back no other.
//! What was announced is bound to its epoch, and a replay takes it from there.

use super::partition::{Lifecycle, PartitionState};
use crate::checkpoint::bindings::{PartitionBinding, Phase};
use crate::operators::admission::{Delays, TimeRules};
use crate::operators::watermark::NO_PARTITION;
use crate::time::{Epoch, EventTime, millis};

/// The watermark advances in steps of this size: each has to be made durable, where there is a state directory.
const STEP_MS: i64 = 1_000;

/// Computes the watermarks of quiet partitions.
pub(super) struct Follow {
    rules: TimeRules,
    /// Whether this worker reports for a source without partitions, and since when it has had none.
    speaks: bool,
    empty_since_ms: Option<u64>,
    /// The watermark of a source without partitions.
    alone: EventTime,
    /// What an earlier run bound for that to the epoch that is replayed.
    replayed: Option<EventTime>,
}

impl Follow {
    /// With `rules`; if the worker `speaks` for the source, it reports for it while that has no partition.
    pub(super) fn new(rules: &TimeRules, speaks: bool) -> Self {
        Follow { rules: *rules, speaks, empty_since_ms: None, alone: EventTime::MIN, replayed: None }
    }

    /// How long a partition must be empty until the watermark advances without it; `None` if it follows the clock
    /// instead.
    pub(super) fn idle_after_ms(&self) -> Option<u64> {
        let idle_after_ms = u64::try_from(self.rules.idle_after.as_millis()).unwrap_or(u64::MAX);
        (!self.rules.live).then_some(idle_after_ms)
    }

    /// Replays an epoch in which the source had no partition.
    pub(super) fn replay(&mut self, follows: Option<EventTime>) {
        self.replayed = follows;
    }

    /// How far the watermark of a partition follows the clock, if that is later than its `floor`. `delay_of` returns
    /// the observed delay, if all that was read of the partition is decided on.
    pub(super) fn partition(
        &self,
        state: &PartitionState,
        epoch: Epoch,
        now_ms: u64,
        floor: EventTime,
        delay_of: impl FnOnce() -> Option<i64>,
    ) -> Option<EventTime> {
        let is_quiet = self.rules.live
            && state.lifecycle == Lifecycle::Active
            && state.held.is_empty()
            && state.empty_for_ms(now_ms).is_some_and(|ms| self.is_long(ms));
        let reached = self.reached(epoch, if is_quiet { delay_of()? } else { return None });
        (reached > floor).then_some(reached)
    }

    /// What to bind for a source without partitions, if its watermark has advanced.
    pub(super) fn without_partitions(
        &mut self,
        epoch: Epoch,
        now_ms: u64,
        replaying: bool,
        partitions: usize,
    ) -> Option<PartitionBinding> {
        let follows = if replaying {
            self.replayed.take()?
        } else {
            if !self.rules.live || !self.speaks || partitions > 0 || epoch == 0 {
                return None;
            }
            let since_ms = *self.empty_since_ms.get_or_insert(now_ms);
            if !self.is_long(now_ms.saturating_sub(since_ms)) {
                return None;
            }
            self.reached(epoch, Delays::default().greatest(epoch, self.rules.idle_after))
        };
        if follows <= self.alone {
            return None;
        }
        self.alone = follows;
        let (joined, floor) = (None, None);
        let (partition, next, phase) = (NO_PARTITION, 0, Phase::Active);
        Some(PartitionBinding { partition, joined, next, phase, floor, follows: Some(follows) })
    }

    fn is_long(&self, empty_ms: u64) -> bool {
        u128::from(empty_ms) >= self.rules.idle_after.as_millis()
    }

    fn reached(&self, epoch: Epoch, delay_ms: i64) -> EventTime {
        let now = EventTime::from_millis(epoch as i64).millis();
        let reached = now.saturating_sub(millis(self.rules.out_of_order)).saturating_sub(delay_ms);
        EventTime::from_millis(reached).align_down(STEP_MS)
    }
}
