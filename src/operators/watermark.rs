//! The watermark of a source, per epoch: the least over its partitions that are not idle.
//!
//! Each worker's source announces at the end of an epoch what became of its partitions, as [`Mark`]s to every worker. The
//! operator here collects the marks of an epoch until the frontier has passed it, so the watermark of epoch *e* is the same
//! value on all workers, however the partitions are spread over them. It never goes back.

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
use crate::state::snapshot::{Place, Slot};
use crate::time::{Epoch, EventTime};

/// What a partition contributes to the watermark from an epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It takes part, and it is not known yet what may still come of it: the watermark stands still.
    Joined,
    /// It takes part: nothing is expected that is earlier than it has reached.
    Active,
    /// It had nothing for a while: the others go on without it.
    Idle,
    /// It will never have another record.
    Ended,
}

/// The partition that stands for none, as long as a source has no other: so that the watermark of a source without any does not stand
/// still for ever. It ends when the source has finished, and follows the clock where the source is live.
pub const NO_PARTITION: u32 = u32::MAX;

/// News of one partition, from an epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// How it stands.
    Stands {
        /// The partition's number within the source.
        partition: u32,
        /// What it contributes.
        standing: Standing,
    },
    /// Nothing earlier is expected from it.
    Reached {
        /// The partition's number within the source.
        partition: u32,
        /// Its watermark.
        time: EventTime,
    },
}

/// Folds marks into a watermark.
#[derive(Debug)]
pub struct Tracker {
    marked: Marked,
}

/// What the marks up to an epoch came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// The watermark.
    pub watermark: EventTime,
    /// By partition.
    pub partitions: BTreeMap<u32, Contribution>,
}

/// What a partition's marks came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// How it stands.
    pub standing: Standing,
    /// Nothing earlier is expected from it.
    pub reached: EventTime,
}

impl Default for Marked {
    /// No partition yet.
    fn default() -> Self {
        Marked { watermark: EventTime::MIN, partitions: BTreeMap::new() }
    }
}

impl Tracker {
    /// Resumes from `marked`.
    pub fn new(marked: Marked) -> Self {
        Tracker { marked }
    }

    /// Takes one mark; the order of marks of different partitions does not matter, nor that of what a partition has reached.
    pub fn apply(&mut self, mark: Mark) {
        let (Mark::Stands { partition, .. } | Mark::Reached { partition, .. }) = mark;
        let unknown = Contribution { standing: Standing::Active, reached: EventTime::MIN };
        let contribution = self.marked.partitions.entry(partition).or_insert(unknown);
        match mark {
            Mark::Stands { standing, .. } => contribution.standing = standing,
            Mark::Reached { time, .. } => contribution.reached = contribution.reached.max(time),
        }
    }

    /// Ends an epoch and returns its watermark: [`EventTime::MAX`] once every partition has ended.
    pub fn close_epoch(&mut self) -> EventTime {
        let mut least = None;
        let mut waiting = false;
        let alone = self.marked.partitions.len() == 1;
        for (_, contribution) in self.marked.partitions.iter().filter(|(number, _)| alone || **number != NO_PARTITION) {
            let time = match contribution.standing {
                Standing::Joined => EventTime::MIN,
                Standing::Active => contribution.reached,
                Standing::Idle => {
                    waiting = true;
                    continue;
                }
                Standing::Ended => continue,
            };
            least = Some(least.map_or(time, |least: EventTime| least.min(time)));
        }
        let candidate = match least {
            Some(least) => least,
            // Nothing is known of what may still come, of idle partitions or before there is any.
            None if waiting || self.marked.partitions.is_empty() => self.marked.watermark,
            None => EventTime::MAX,
        };
        self.marked.watermark = self.marked.watermark.max(candidate);
        self.marked.watermark
    }
}

/// How far the watermark of a source is known on this worker. Written by the operator, read by the source beside it.
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

/// Turns the marks that are addressed to this worker into the watermark: one value at every epoch that moves it. `slot` keeps the tracker, and what it
/// kept is in there already.
pub fn watermark<'s>(
    name: &str,
    marks: StreamVec<'s, Epoch, (u64, Mark)>,
    mut tracker: Tracker,
    view: Rc<WatermarkView>,
    mut slot: Slot,
) -> StreamVec<'s, Epoch, EventTime> {
    let to_each = Exchange::new(|(worker, _): &(u64, Mark)| *worker);
    marks.unary_frontier::<CapacityContainerBuilder<Vec<EventTime>>, _, _, _>(to_each, name, move |initial, _| {
        drop(initial);
        view.watermark.set(tracker.marked.watermark);
        let mut pending: Pending<Vec<Mark>> = Pending::new(0);
        let keep = |tracker: &Tracker, slot: &mut Slot| {
            if slot.is_first() {
                slot.give(Place::Everywhere, &tracker.marked);
            }
        };
        move |(input, frontier), output| {
            input.for_each(|capability, marks| {
                let Some(pending) = pending.at(&capability) else { return };
                pending.extend(marks.drain(..).map(|(_, mark)| mark));
            });
            let open = frontier.frontier().first().copied();
            let next = open.unwrap_or(Epoch::MAX);
            while let Some((capability, marks)) = pending.take_complete(open) {
                if let Some(epoch) = slot.due(*capability.time()) {
                    slot.take(epoch, |slot| keep(&tracker, slot));
                }
                marks.into_iter().for_each(|mark| tracker.apply(mark));
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
                    slot.give(Place::Everywhere, &latest);
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

    fn stands(partition: u32, standing: Standing) -> Mark {
        Mark::Stands { partition, standing }
    }

    fn reached(partition: u32, ms: i64) -> Mark {
        Mark::Reached { partition, time: EventTime::from_millis(ms) }
    }

    fn close<const N: usize>(tracker: &mut Tracker, marks: [Mark; N]) -> EventTime {
        marks.into_iter().for_each(|mark| tracker.apply(mark));
        tracker.close_epoch()
    }

    fn tracker() -> Tracker {
        Tracker::new(Marked::default())
    }

    #[test]
    fn waits_for_every_joined_partition() {
        let mut t = tracker();
        assert_eq!(close(&mut t, [stands(0, Standing::Joined), stands(1, Standing::Joined)]), EventTime::MIN);
        assert_eq!(close(&mut t, [stands(0, Standing::Active), reached(0, 50)]), EventTime::MIN);
        assert_eq!(close(&mut t, [stands(1, Standing::Active), reached(1, 20)]), EventTime::from_millis(20));
    }

    #[test]
    fn goes_on_without_idle_partitions_and_stands_still_when_one_returns() {
        let mut t = tracker();
        close(&mut t, [reached(0, 50), reached(1, 20)]);
        assert_eq!(close(&mut t, [stands(1, Standing::Idle)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, [stands(1, Standing::Joined), reached(0, 70)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, [stands(1, Standing::Active), reached(1, 60)]), EventTime::from_millis(60));
    }

    #[test]
    fn what_a_partition_has_reached_may_be_told_in_any_order() {
        let mut t = tracker();
        assert_eq!(close(&mut t, [stands(0, Standing::Active)]), EventTime::MIN);
        assert_eq!(close(&mut t, [reached(0, 40), reached(0, 30)]), EventTime::from_millis(40));
        assert_eq!(close(&mut t, [stands(0, Standing::Ended)]), EventTime::MAX);
    }

    #[test]
    fn stands_still_until_there_is_a_partition() {
        let mut t = tracker();
        assert_eq!(close(&mut t, []), EventTime::MIN);
        assert_eq!(close(&mut t, [stands(NO_PARTITION, Standing::Ended)]), EventTime::MAX);
        let mut t = tracker();
        assert_eq!(close(&mut t, [stands(NO_PARTITION, Standing::Ended), reached(0, 50)]), EventTime::from_millis(50));
    }

    #[test]
    fn follows_what_is_told_without_a_partition_until_there_is_one() {
        let mut t = tracker();
        assert_eq!(close(&mut t, [reached(NO_PARTITION, 40)]), EventTime::from_millis(40));
        assert_eq!(close(&mut t, [reached(NO_PARTITION, 60)]), EventTime::from_millis(60));
        assert_eq!(close(&mut t, [stands(0, Standing::Joined)]), EventTime::from_millis(60));
        assert_eq!(close(&mut t, [stands(0, Standing::Active), reached(0, 70)]), EventTime::from_millis(70));
    }

    #[test]
    fn never_goes_back_and_ends_when_all_ended() {
        let mut t = tracker();
        close(&mut t, [reached(0, 50), stands(1, Standing::Idle)]);
        assert_eq!(close(&mut t, [stands(1, Standing::Active), reached(1, 10)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, [stands(0, Standing::Ended), stands(1, Standing::Idle)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, [stands(1, Standing::Ended)]), EventTime::MAX);
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
            // One is told up to epoch 3 before the other has said anything.
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
