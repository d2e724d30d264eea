//! The watermark of a source, per epoch: the least over its partitions that are not idle.
//!
//! At the end of an epoch each worker's source broadcasts the changes of its partitions, as [`WatermarkUpdate`]s, to
//! every worker. The operator here collects the updates of an epoch until the frontier has passed it, so the watermark
//! of epoch *e* is the same value on all workers, however the partitions are spread over them. It never goes back.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::pending::Pending;
use crate::state::snapshot::{Placement, Slot};
use crate::time::{Epoch, EventTime};

/// How a partition takes part in the watermark from an epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Participation {
    /// It takes part, and it is not known yet which events may still come: the watermark does not advance.
    Joined,
    /// It takes part: nothing earlier is expected than the time that it has reached.
    Active,
    /// It had no records for a while: the watermark advances without it.
    Idle,
    /// There are no further records.
    Ended,
}

/// A placeholder that counts only while a source has no other partition, so that the watermark of such a source can
/// advance. It ends when the source has finished, and follows the clock where the source is live.
pub const NO_PARTITION: u32 = u32::MAX;

/// A change of one partition, from an epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatermarkUpdate {
    /// It takes part in another way.
    Participates {
        /// The partition's number within the source.
        partition: u32,
        /// How it takes part.
        participation: Participation,
    },
    /// No earlier event is expected from it.
    Reached {
        /// The partition's number within the source.
        partition: u32,
        /// Its watermark.
        time: EventTime,
    },
}

/// Folds updates into a watermark.
#[derive(Debug)]
pub struct WatermarkTracker {
    state: WatermarkState,
}

/// The fold of all updates up to an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkState {
    /// The watermark.
    pub watermark: EventTime,
    /// By partition.
    pub partitions: BTreeMap<u32, PartitionWatermark>,
}

/// The fold of a partition's updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionWatermark {
    /// How it takes part.
    pub participation: Participation,
    /// No earlier event is expected from it.
    pub reached: EventTime,
}

impl Default for WatermarkState {
    /// Without partitions.
    fn default() -> Self {
        WatermarkState { watermark: EventTime::MIN, partitions: BTreeMap::new() }
    }
}

impl WatermarkTracker {
    /// Resumes from `state`.
    pub fn new(state: WatermarkState) -> Self {
        WatermarkTracker { state }
    }

    /// Applies an update. The order of updates of different partitions does not matter, nor that of the times that one
    /// has reached.
    pub fn apply(&mut self, update: WatermarkUpdate) {
        let (WatermarkUpdate::Participates { partition, .. } | WatermarkUpdate::Reached { partition, .. }) = update;
        let unknown = PartitionWatermark { participation: Participation::Active, reached: EventTime::MIN };
        let partition_watermark = self.state.partitions.entry(partition).or_insert(unknown);
        match update {
            WatermarkUpdate::Participates { participation, .. } => partition_watermark.participation = participation,
            WatermarkUpdate::Reached { time, .. } => {
                partition_watermark.reached = partition_watermark.reached.max(time);
            }
        }
    }

    /// Ends an epoch and returns its watermark: [`EventTime::MAX`] once every partition has ended.
    pub fn close_epoch(&mut self) -> EventTime {
        let mut least = None;
        let mut waiting = false;
        let alone = self.state.partitions.len() == 1;
        for (_, partition_watermark) in
            self.state.partitions.iter().filter(|(number, _)| alone || **number != NO_PARTITION)
        {
            let time = match partition_watermark.participation {
                Participation::Joined => EventTime::MIN,
                Participation::Active => partition_watermark.reached,
                Participation::Idle => {
                    waiting = true;
                    continue;
                }
                Participation::Ended => continue,
            };
            least = Some(least.map_or(time, |least: EventTime| least.min(time)));
        }
        let candidate = match least {
            Some(least) => least,
            // It is unknown which events may still come, of idle partitions or before there is any.
            None if waiting || self.state.partitions.is_empty() => self.state.watermark,
            None => EventTime::MAX,
        };
        self.state.watermark = self.state.watermark.max(candidate);
        self.state.watermark
    }
}

/// The watermark of a source as far as this worker knows it. Written by the operator, read by the source beside it.
#[derive(Debug)]
pub struct WatermarkView {
    /// Epochs before this one are complete.
    pub complete_before: Cell<Epoch>,
    /// The watermark of the last complete epoch.
    pub watermark: Cell<EventTime>,
}

impl Default for WatermarkView {
    fn default() -> Self {
        WatermarkView { complete_before: Cell::new(0), watermark: Cell::new(EventTime::MIN) }
    }
}

/// Turns the updates that are addressed to this worker into the watermark: one value at every epoch that advances it.
/// The tracker's state is written to `slot`; `tracker` has been restored from it already.
pub fn watermark<'s>(
    name: &str,
    updates: StreamVec<'s, Epoch, (u64, WatermarkUpdate)>,
    mut tracker: WatermarkTracker,
    view: Rc<WatermarkView>,
    mut slot: Slot,
) -> StreamVec<'s, Epoch, EventTime> {
    let to_each = Exchange::new(|(worker, _): &(u64, WatermarkUpdate)| *worker);
    updates.unary_frontier::<CapacityContainerBuilder<Vec<EventTime>>, _, _, _>(to_each, name, move |initial, _| {
        drop(initial);
        view.watermark.set(tracker.state.watermark);
        let mut pending: Pending<Vec<WatermarkUpdate>> = Pending::new(0);
        let keep = |tracker: &WatermarkTracker, slot: &mut Slot| {
            if slot.is_first() {
                slot.give(Placement::Everywhere, &tracker.state);
            }
        };
        move |(input, frontier), output| {
            input.for_each(|capability, updates| {
                let Some(pending) = pending.at(&capability) else { return };
                pending.extend(updates.drain(..).map(|(_, update)| update));
            });
            let open = frontier.frontier().first().copied();
            let next = open.unwrap_or(Epoch::MAX);
            while let Some((capability, updates)) = pending.take_complete(open) {
                if let Some(epoch) = slot.due(*capability.time()) {
                    slot.take(epoch, |slot| keep(&tracker, slot));
                }
                updates.into_iter().for_each(|update| tracker.apply(update));
                let watermark = tracker.close_epoch();
                if watermark > view.watermark.replace(watermark) {
                    output.session(&capability).give(watermark);
                }
            }
            match slot.due(next) {
                Some(epoch) => slot.take(epoch, |slot| keep(&tracker, slot)),
                None if open.is_none() => slot.settle(|slot| keep(&tracker, slot)),
                None => {}
            }
            view.complete_before.set(next);
        }
    })
}

/// The watermark of several streams together: the least of theirs.
pub fn least<'s>(
    name: &str,
    watermarks: Vec<StreamVec<'s, Epoch, EventTime>>,
    mut slot: Slot,
) -> StreamVec<'s, Epoch, EventTime> {
    let scope = watermarks[0].scope();
    let streams = watermarks.len();
    let tagged: Vec<_> =
        watermarks.into_iter().enumerate().map(|(index, watermark)| watermark.map(move |time| (index, time))).collect();
    scope.concatenate(tagged).unary_frontier::<CapacityContainerBuilder<Vec<EventTime>>, _, _, _>(
        Pipeline,
        name,
        move |initial, _| {
            drop(initial);
            let mut latest = vec![EventTime::MIN; streams];
            slot.restore(|kept: Vec<EventTime>| latest = kept);
            let least = |latest: &[EventTime]| latest.iter().min().copied().unwrap_or(EventTime::MIN);
            let mut told = least(&latest);
            let keep = |latest: &[EventTime], slot: &mut Slot| {
                if slot.is_first() {
                    slot.give(Placement::Everywhere, &latest);
                }
            };
            let mut pending: Pending<Vec<(usize, EventTime)>> = Pending::new(0);
            move |(input, frontier), output| {
                input.for_each(|capability, batch| {
                    let Some(pending) = pending.at(&capability) else { return };
                    pending.append(batch);
                });
                let open = frontier.frontier().first().copied();
                while let Some((capability, values)) = pending.take_complete(open) {
                    if let Some(epoch) = slot.due(*capability.time()) {
                        slot.take(epoch, |slot| keep(&latest, slot));
                    }
                    values.into_iter().for_each(|(index, time)| latest[index] = latest[index].max(time));
                    let least = least(&latest);
                    if least > told {
                        told = least;
                        output.session(&capability).give(least);
                    }
                }
                match slot.due(open.unwrap_or(Epoch::MAX)) {
                    Some(epoch) => slot.take(epoch, |slot| keep(&latest, slot)),
                    None if open.is_none() => slot.settle(|slot| keep(&latest, slot)),
                    None => {}
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands(partition: u32, participation: Participation) -> WatermarkUpdate {
        WatermarkUpdate::Participates { partition, participation }
    }

    fn reached(partition: u32, ms: i64) -> WatermarkUpdate {
        WatermarkUpdate::Reached { partition, time: EventTime::from_millis(ms) }
    }

    fn close<const N: usize>(tracker: &mut WatermarkTracker, updates: [WatermarkUpdate; N]) -> EventTime {
        updates.into_iter().for_each(|update| tracker.apply(update));
        tracker.close_epoch()
    }

    fn tracker() -> WatermarkTracker {
        WatermarkTracker::new(WatermarkState::default())
    }

    #[test]
    fn waits_for_every_joined_partition() {
        let mut t = tracker();
        assert_eq!(close(&mut t, [stands(0, Participation::Joined), stands(1, Participation::Joined)]), EventTime::MIN);
        assert_eq!(close(&mut t, [stands(0, Participation::Active), reached(0, 50)]), EventTime::MIN);
        assert_eq!(close(&mut t, [stands(1, Participation::Active), reached(1, 20)]), EventTime::from_millis(20));
    }

    #[test]
    fn advances_without_idle_partitions_and_waits_when_one_returns() {
        let mut t = tracker();
        close(&mut t, [reached(0, 50), reached(1, 20)]);
        assert_eq!(close(&mut t, [stands(1, Participation::Idle)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, [stands(1, Participation::Joined), reached(0, 70)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, [stands(1, Participation::Active), reached(1, 60)]), EventTime::from_millis(60));
    }

    #[test]
    fn what_a_partition_has_reached_may_be_told_in_any_order() {
        let mut t = tracker();
        assert_eq!(close(&mut t, [stands(0, Participation::Active)]), EventTime::MIN);
        assert_eq!(close(&mut t, [reached(0, 40), reached(0, 30)]), EventTime::from_millis(40));
        assert_eq!(close(&mut t, [stands(0, Participation::Ended)]), EventTime::MAX);
    }

    #[test]
    fn stands_still_until_there_is_a_partition() {
        let mut t = tracker();
        assert_eq!(close(&mut t, []), EventTime::MIN);
        assert_eq!(close(&mut t, [stands(NO_PARTITION, Participation::Ended)]), EventTime::MAX);
        let mut t = tracker();
        assert_eq!(
            close(&mut t, [stands(NO_PARTITION, Participation::Ended), reached(0, 50)]),
            EventTime::from_millis(50)
        );
    }

    #[test]
    fn follows_what_is_told_without_a_partition_until_there_is_one() {
        let mut t = tracker();
        assert_eq!(close(&mut t, [reached(NO_PARTITION, 40)]), EventTime::from_millis(40));
        assert_eq!(close(&mut t, [reached(NO_PARTITION, 60)]), EventTime::from_millis(60));
        assert_eq!(close(&mut t, [stands(0, Participation::Joined)]), EventTime::from_millis(60));
        assert_eq!(close(&mut t, [stands(0, Participation::Active), reached(0, 70)]), EventTime::from_millis(70));
    }

    #[test]
    fn never_goes_back_and_ends_when_all_ended() {
        let mut t = tracker();
        close(&mut t, [reached(0, 50), stands(1, Participation::Idle)]);
        assert_eq!(close(&mut t, [stands(1, Participation::Active), reached(1, 10)]), EventTime::from_millis(50));
        assert_eq!(
            close(&mut t, [stands(0, Participation::Ended), stands(1, Participation::Idle)]),
            EventTime::from_millis(50)
        );
        assert_eq!(close(&mut t, [stands(1, Participation::Ended)]), EventTime::MAX);
    }

    #[test]
    fn the_least_of_two_waits_for_both_at_every_epoch() {
        use timely::dataflow::operators::capture::{Capture, Extract};
        use timely::dataflow::operators::vec::Input;

        let captured = timely::execute_directly(|worker| {
            let (mut ahead, mut behind, captured) = worker.dataflow::<Epoch, _, _>(|scope| {
                let (ahead, a) = scope.new_input::<EventTime>();
                let (behind, b) = scope.new_input::<EventTime>();
                (ahead, behind, least("least", vec![a, b], Slot::off()).capture())
            });
            let at = EventTime::from_millis;
            // One advances up to epoch 3 before the other has sent anything.
            for (epoch, time) in [(1, 10), (2, 100), (3, 100)] {
                ahead.advance_to(epoch);
                ahead.send(at(time));
            }
            ahead.close();
            worker.step();
            behind.advance_to(1);
            behind.send(at(50));
            worker.step();
            behind.advance_to(3);
            behind.send(at(70));
            behind.close();
            captured
        });
        let told: Vec<(Epoch, i64)> = captured
            .extract()
            .into_iter()
            .flat_map(|(epoch, times)| times.into_iter().map(move |t| (epoch, t.millis())))
            .collect();
        assert_eq!(told, [(1, 10), (2, 50), (3, 70)]);
    }
}
