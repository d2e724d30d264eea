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
use crate::time::{Epoch, EventTime};

/// What a partition contributes to the watermark from an epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It takes part and has not said how far it is: the watermark stands still.
    Joined,
    /// Nothing earlier is expected from it.
    At(EventTime),
    /// It had nothing for a while: the others go on without it.
    Idle,
    /// It will never have another record.
    Ended,
}

/// The standing of one partition from an epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The partition's number within the source.
    pub partition: u32,
    /// What it contributes.
    pub standing: Standing,
}

/// Folds marks into a watermark.
#[derive(Debug)]
pub struct Tracker {
    standings: BTreeMap<u32, Standing>,
    watermark: EventTime,
}

impl Default for Tracker {
    fn default() -> Self {
        Tracker { standings: BTreeMap::new(), watermark: EventTime::MIN }
    }
}

impl Tracker {
    /// Takes one mark; the order of marks of different partitions does not matter.
    pub fn apply(&mut self, mark: Mark) {
        self.standings.insert(mark.partition, mark.standing);
    }

    /// Ends an epoch and returns its watermark: [`EventTime::MAX`] once every partition has ended.
    pub fn close_epoch(&mut self) -> EventTime {
        let mut least = None;
        let mut waiting = false;
        for standing in self.standings.values() {
            match standing {
                Standing::Joined => least = Some(EventTime::MIN),
                Standing::At(time) => least = Some(least.map_or(*time, |l: EventTime| l.min(*time))),
                Standing::Idle => waiting = true,
                Standing::Ended => {}
            }
        }
        let candidate = match least {
            Some(least) => least,
            None if waiting => self.watermark,
            None => EventTime::MAX,
        };
        self.watermark = self.watermark.max(candidate);
        self.watermark
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

/// Turns the marks of all workers, each addressed to a worker, into the watermark: one value at every epoch that moves it.
pub fn watermark<'s>(
    name: &str,
    marks: StreamVec<'s, Epoch, (u64, Mark)>,
    view: Rc<WatermarkView>,
) -> StreamVec<'s, Epoch, EventTime> {
    marks.unary_frontier::<CapacityContainerBuilder<Vec<EventTime>>, _, _, _>(
        Exchange::new(|(worker, _): &(u64, Mark)| *worker),
        name,
        move |initial, _| {
            drop(initial);
            let mut tracker = Tracker::default();
            let mut pending: Pending<Vec<Mark>> = Pending::new(0);
            move |(input, frontier), output| {
                input.for_each(|capability, marks| {
                    let Some(pending) = pending.at(&capability) else { return };
                    pending.extend(marks.drain(..).map(|(_, mark)| mark));
                });
                let open = frontier.frontier().first().copied();
                while let Some((capability, marks)) = pending.take_complete(open) {
                    marks.into_iter().for_each(|mark| tracker.apply(mark));
                    let watermark = tracker.close_epoch();
                    if watermark > view.watermark.replace(watermark) {
                        output.session(&capability).give(watermark);
                    }
                }
                view.complete_before.set(open.unwrap_or(Epoch::MAX));
            }
        },
    )
}

/// The watermark of several streams together: the least of theirs.
pub fn least<'s>(name: &str, watermarks: Vec<StreamVec<'s, Epoch, EventTime>>) -> StreamVec<'s, Epoch, EventTime> {
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
            let mut told = EventTime::MIN;
            let mut pending: Pending<Vec<(usize, EventTime)>> = Pending::new(0);
            move |(input, frontier), output| {
                input.for_each(|capability, batch| {
                    let Some(pending) = pending.at(&capability) else { return };
                    pending.append(batch);
                });
                let open = frontier.frontier().first().copied();
                while let Some((capability, values)) = pending.take_complete(open) {
                    values.into_iter().for_each(|(index, time)| latest[index] = latest[index].max(time));
                    let least = latest.iter().min().copied().unwrap_or(EventTime::MIN);
                    if least > told {
                        told = least;
                        output.session(&capability).give(least);
                    }
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
        marks.iter().for_each(|&(partition, standing)| tracker.apply(Mark { partition, standing }));
        tracker.close_epoch()
    }

    #[test]
    fn waits_for_every_joined_partition() {
        let mut t = Tracker::default();
        assert_eq!(close(&mut t, &[(0, Standing::Joined), (1, Standing::Joined)]), EventTime::MIN);
        assert_eq!(close(&mut t, &[(0, at(50))]), EventTime::MIN);
        assert_eq!(close(&mut t, &[(1, at(20))]), EventTime::from_millis(20));
    }

    #[test]
    fn goes_on_without_idle_partitions_and_stands_still_when_one_returns() {
        let mut t = Tracker::default();
        close(&mut t, &[(0, at(50)), (1, at(20))]);
        assert_eq!(close(&mut t, &[(1, Standing::Idle)]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, &[(1, Standing::Joined), (0, at(70))]), EventTime::from_millis(50));
        assert_eq!(close(&mut t, &[(1, at(60))]), EventTime::from_millis(60));
    }

    #[test]
    fn never_goes_back_and_ends_when_all_ended() {
        let mut t = Tracker::default();
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
                (ahead, behind, least("least", vec![a, b]).capture())
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
