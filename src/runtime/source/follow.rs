//! The watermark of a quiet partition follows the clock.
//!
//! A partition of a live source that was read to its end, and had nothing for `idle_after`, is waited for no longer than it takes its
//! events to arrive: its watermark is the epoch, minus `out_of_order`, minus the greatest delay that was observed lately. So an attack
//! that is followed by silence is reported, and a quiet source holds nobody back. What was told is bound to its epoch, and a replay
//! takes it from there.

use super::partition::{Life, PartitionState};
use crate::checkpoint::bindings::{PartitionBinding, Phase};
use crate::operators::admission::{Delays, TimeRules};
use crate::operators::watermark::NO_PARTITION;
use crate::time::{Epoch, EventTime, millis};

/// The watermark follows in steps of this: each has to be on the disk, where there is a state directory.
const STEP_MS: i64 = 1_000;

/// Says how far the watermarks of quiet partitions are.
pub(super) struct Follow {
    rules: TimeRules,
    /// Whether this worker speaks for a source without any partition, and since when it has had none.
    speaks: bool,
    empty_since_ms: Option<u64>,
    /// How far a source without any partition is.
    alone: EventTime,
    /// What an earlier run bound of it to the epoch that is replayed.
    replayed: Option<EventTime>,
}

impl Follow {
    /// By `rules`; if the worker `speaks` for the source, it does so while that has no partition.
    pub(super) fn new(rules: &TimeRules, speaks: bool) -> Self {
        Follow { rules: *rules, speaks, empty_since_ms: None, alone: EventTime::MIN, replayed: None }
    }

    /// How long a partition has to be empty until the watermark goes on without it; `None` if it follows the clock instead.
    pub(super) fn idle_after_ms(&self) -> Option<u64> {
        let idle_after_ms = u64::try_from(self.rules.idle_after.as_millis()).unwrap_or(u64::MAX);
        (!self.rules.live).then_some(idle_after_ms)
    }

    /// An epoch is replayed in which the source had no partition.
    pub(super) fn replay(&mut self, follows: Option<EventTime>) {
        self.replayed = follows;
    }

    /// How far the watermark of a partition follows, if that is further than its `floor`. `delay_of` says which delay was observed, if
    /// all that was read of it is decided on.
    pub(super) fn partition(
        &self,
        state: &PartitionState,
        epoch: Epoch,
        now_ms: u64,
        floor: EventTime,
        delay_of: impl FnOnce() -> Option<i64>,
    ) -> Option<EventTime> {
        let is_quiet = self.rules.live
            && state.life == Life::Active
            && state.held.is_empty()
            && state.empty_for_ms(now_ms).is_some_and(|ms| self.is_long(ms));
        let reached = self.reached(epoch, if is_quiet { delay_of()? } else { return None });
        (reached > floor).then_some(reached)
    }

    /// What is to be bound for a source that has no partition, if it has come further.
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
