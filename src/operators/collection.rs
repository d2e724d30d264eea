//! Records as a differential collection that only grows.
//!
//! We cannot write down the state of differential operators; it is rebuilt from their input collections. So every
//! record that went in is kept, each once: a checkpoint writes those that came since the one before, and refers to the
//! rest.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use crate::record::Record;
use crate::state::snapshot::{Placement, Slot, append};
use crate::time::Epoch;

/// A record, the epoch at which it came, and the multiplicity 1.
pub type Insertion<T> = (T, Epoch, isize);

/// Turns records into insertions. Those of an earlier run are inserted at the epoch `kept_at` of its checkpoint.
pub fn insertions<'s, T: Record>(
    records: StreamVec<'s, Epoch, T>,
    mut slot: Slot,
    kept_at: Option<Epoch>,
) -> StreamVec<'s, Epoch, Insertion<T>> {
    records.unary_frontier::<CapacityContainerBuilder<Vec<Insertion<T>>>, _, _, _>(
        Pipeline,
        "into_collection",
        move |initial, _| {
            let mut kept: Vec<T> = Vec::new();
            slot.restore(|record| kept.push(record));
            let mut restoring = kept_at.map(|epoch| {
                let mut capability = initial.clone();
                capability.downgrade(&epoch);
                (capability, kept)
            });
            drop(initial);
            let mut new = NewRecords { written: 0, epochs: BTreeMap::new() };
            move |(input, frontier), output| {
                if let Some((capability, kept)) = restoring.take() {
                    let epoch = *capability.time();
                    output.session(&capability).give_iterator(kept.into_iter().map(|record| (record, epoch, 1)));
                }
                input.for_each(|capability, batch| {
                    let Some(epoch) = capability.least().copied() else { return };
                    if slot.is_on() {
                        batch.iter().for_each(|record| new.push(epoch, record));
                    }
                    output.session(&capability).give_iterator(batch.drain(..).map(|record| (record, epoch, 1)));
                });
                let open = frontier.frontier().first().copied();
                // At the end, a snapshot may be due before the last records.
                let next = open.or(new.epochs.keys().next_back().copied());
                if let Some(epoch) = next.and_then(|next| slot.due(next)) {
                    slot.take(epoch, |slot| new.write_through(epoch, slot));
                }
                if open.is_none() {
                    slot.settle(|slot| new.write_through(Epoch::MAX, slot));
                }
            }
        },
    )
}

/// Changes to a collection, each at its own epoch. Differential operators send those of several epochs together, at the
/// first of them, which depends on how fast the workers are. Changes at `kept_at` or before were sent by an earlier
/// run, and are dropped.
pub fn changes<U: Record>(
    updates: StreamVec<'_, Epoch, Insertion<U>>,
    kept_at: Option<Epoch>,
) -> StreamVec<'_, Epoch, (U, isize)> {
    updates.unary::<CapacityContainerBuilder<Vec<(U, isize)>>, _, _, _>(Pipeline, "changes", move |_, _| {
        move |input, output| {
            input.for_each(|capability, batch| {
                let mut epochs: BTreeMap<Epoch, Vec<(U, isize)>> = BTreeMap::new();
                for (row, epoch, by) in batch.drain(..).filter(|(_, epoch, _)| kept_at.is_none_or(|at| *epoch > at)) {
                    epochs.entry(epoch).or_default().push((row, by));
                }
                for (epoch, mut changes) in epochs {
                    output.session(&capability.delayed(&epoch, 0)).give_container(&mut changes);
                }
            });
        }
    })
}

/// Records since the last snapshot, as entries, by epoch.
struct NewRecords {
    /// How many there have been: they are spread over the key groups one after another.
    written: u64,
    epochs: BTreeMap<Epoch, Vec<u8>>,
}

impl NewRecords {
    fn push(&mut self, epoch: Epoch, record: &impl Record) {
        append(self.epochs.entry(epoch).or_default(), Placement::Group(self.written), record);
        self.written += 1;
    }

    fn write_through(&mut self, last: Epoch, slot: &mut Slot) {
        while let Some(epoch) = self.epochs.first_entry().filter(|epoch| *epoch.key() <= last) {
            slot.give_lasting(epoch.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use differential_dataflow::AsCollection;
    use timely::dataflow::operators::vec::Map;

    use super::*;
    use crate::state::snapshot::memory::{OperatorRun, run};
    use crate::time::EventTime;

    /// The counts of numbers: changes after the epoch that the run resumes from.
    fn counts(
        arrivals: Vec<(Epoch, Vec<u64>, EventTime)>,
        from: Option<(Epoch, Vec<bytes::Bytes>)>,
    ) -> OperatorRun<(u64, i64, i64)> {
        let kept_at = from.as_ref().map(|(epoch, _)| *epoch);
        run(arrivals, from, move |records, _, slot| {
            let counts = insertions(records, slot, kept_at).as_collection().count().consolidate();
            changes(counts.inner, kept_at).map(|((number, count), by)| (number, count as i64, by as i64))
        })
    }

    #[test]
    fn a_collection_is_what_came_before_every_snapshot_and_after_it() {
        let time = EventTime::MIN;
        let arrivals: Vec<_> =
            (1..40u64).map(|step| (step * 30, (0..50).map(|i| (i * step) % 23).collect(), time)).collect();
        let undisturbed = counts(arrivals.clone(), None);
        assert!(undisturbed.kept.len() > 8);
        for (epoch, kept) in undisturbed.kept.iter().filter(|(epoch, _)| **epoch < Epoch::MAX) {
            let mut again = counts(arrivals.clone(), Some((*epoch, kept.clone()))).rows;
            let mut expected: Vec<_> = undisturbed.rows.iter().filter(|(at, _)| at > epoch).copied().collect();
            again.sort_unstable();
            expected.sort_unstable();
            assert_eq!(again, expected, "from epoch {epoch}");
        }
    }
}
