//! The watermark of a source, per epoch: the least over its partitions that are not idle.
//!
//! Each worker's source announces at the end of an epoch what became of its partitions, as [`Mark`]s to every worker. The
//! operator here collects the marks of an epoch until the frontier has passed it, so the watermark of epoch *e* is the same
//! value on all workers, however the partitions are spread over them. It never goes back.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::admission::behind;
use super::pending::Pending;
use crate::state::snapshot::{Place, Slot};
use crate::time::{Epoch, EventTime, millis};

/// What a partition contributes to the watermark from an epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It takes part and has not said how far it is: the watermark stands still.
    Joined,
    /// Nothing earlier is expected from it.
    At(EventTime),
    /// It takes part, and its chunks say how far it is.
    InChunks,
    /// It had nothing for a while: the others go on without it.
    Idle,
    /// It will never have another record.
    Ended,
}

/// The partition that stands for none: a worker without partitions whose source has finished says that it has ended, so that the watermark of
/// a source without any does not stand still for ever.
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
    /// A chunk of its records was decoded.
    Chunk {
        /// The partition's number within the source.
        partition: u32,
        /// The chunk's place among the partition's chunks.
        number: u64,
        /// The greatest event time in it, of events that can be on time.
        greatest: EventTime,
        /// The worker that decoded it.
        worker: u32,
    },
}

/// Folds marks into a watermark.
#[derive(Debug)]
pub struct Tracker {
    out_of_order_ms: i64,
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
    /// The greatest event time in its chunks.
    pub greatest: EventTime,
}

impl Default for Marked {
    /// No partition yet.
    fn default() -> Self {
        Marked { watermark: EventTime::MIN, partitions: BTreeMap::new() }
    }
}

impl Tracker {
    /// Goes on from `marked`. Chunks tell their greatest event time; `out_of_order` behind it events are still on time.
    pub fn new(out_of_order: Duration, marked: Marked) -> Self {
        Tracker { out_of_order_ms: millis(out_of_order), marked }
    }

    /// Takes one mark; the order of marks of different partitions does not matter, nor does that of chunks.
    pub fn apply(&mut self, mark: Mark) {
        let (Mark::Stands { partition, .. } | Mark::Chunk { partition, .. }) = mark;
        let unknown = Contribution { standing: Standing::InChunks, greatest: EventTime::MIN };
        let contribution = self.marked.partitions.entry(partition).or_insert(unknown);
        match mark {
            Mark::Stands { standing, .. } => contribution.standing = standing,
            Mark::Chunk { greatest, .. } => contribution.greatest = contribution.greatest.max(greatest),
        }
    }

    /// Ends an epoch and returns its watermark: [`EventTime::MAX`] once every partition has ended.
    pub fn close_epoch(&mut self) -> EventTime {
        let mut least = None;
        let mut waiting = false;
        for contribution in self.marked.partitions.values() {
            let time = match contribution.standing {
                Standing::Joined => EventTime::MIN,
                Standing::At(time) => time,
                Standing::InChunks => behind(contribution.greatest, self.out_of_order_ms),
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

/// Turns the marks of all workers into the watermark: one value at every epoch that moves it. `slot` keeps the tracker, and what it
/// kept is in there already.
pub fn watermark<'s>(
    name: &str,
    marks: StreamVec<'s, Epoch, Mark>,
    mut tracker: Tracker,
    view: Rc<WatermarkView>,
    mut slot: Slot,
) -> StreamVec<'s, Epoch, EventTime> {
    marks.unary_frontier::<CapacityContainerBuilder<Vec<EventTime>>, _, _, _>(Pipeline, name, move |initial, _| {
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
                pending.append(marks);
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

    fn at(ms: i64) -> Standing {
        Standing::At(EventTime::from_millis(ms))
    }

    fn close(tracker: &mut Tracker, marks: &[(u32, Standing)]) -> EventTime {
        marks.iter().for_each(|&(partition, standing)| tracker.apply(Mark::Stands { partition, standing }));
        tracker.close_epoch()
    }

    #[test]
    fn waits_for_every_joined_partition() {
        let mut t = Tracker::new(Duration::from_millis(10), Marked::default());
        assert_eq!(close(&mut t, &[(0, Standing::Joined), (1, Standing::Joined)]), EventTime::MIN);
        assert_eq!(close(&mut t, &[(0, at(50))]), EventTime::MIN);
        assert_eq!(close(&mut t, &[(1, at(20))]), EventTime::from_millis(20));
    }

    #[test]
    fn goes_on_without_idle_partitions_and_stands_still_when_one_returns() {
        let mut t = Tracker::new(Duration::from_millis(10), Marked::default());
        close(&mut t, &[(0, at(50)), (1, at(20))]);
        assert_eq!(close(&mut t, &[(1, Standing::Idle)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, &[(1, Standing::Joined), (0, at(70))]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, &[(1, at(60))]), EventTime::from_millis(60));
    }

    #[test]
    fn chunks_say_how_far_a_partition_is_in_any_order() {
        let chunk = |number, ms| Mark::Chunk { partition: 0, number, greatest: EventTime::from_millis(ms), worker: 0 };
        let mut t = Tracker::new(Duration::from_millis(10), Marked::default());
        assert_eq!(close(&mut t, &[(0, Standing::InChunks)]), EventTime::MIN);
        t.apply(chunk(1, 50));
        t.apply(chunk(0, 40));
        assert_eq!(close(&mut t, &[]), EventTime::from_millis(40));
        assert_eq!(close(&mut t, &[(0, Standing::Ended)]), EventTime::MAX);
    }

    #[test]
    fn stands_still_until_there_is_a_partition() {
        let mut t = Tracker::new(Duration::from_millis(10), Marked::default());
        assert_eq!(close(&mut t, &[]), EventTime::MIN);
        assert_eq!(close(&mut t, &[(NO_PARTITION, Standing::Ended)]), EventTime::MAX);
        let mut t = Tracker::new(Duration::from_millis(10), Marked::default());
        assert_eq!(close(&mut t, &[(NO_PARTITION, Standing::Ended), (0, at(50))]), EventTime::from_millis(50));
    }

    #[test]
    fn never_goes_back_and_ends_when_all_ended() {
        let mut t = Tracker::new(Duration::from_millis(10), Marked::default());
        close(&mut t, &[(0, at(50)), (1, Standing::Idle)]);
        assert_eq!(close(&mut t, &[(1, at(10))]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, &[(0, Standing::Ended), (1, Standing::Idle)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, &[(1, Standing::Ended)]), EventTime::MAX);
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
