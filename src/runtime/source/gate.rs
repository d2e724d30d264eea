//! The partitions that a worker owns: their decoders and admission states.
//!
//! Whichever worker decodes a chunk, the owner of its partition decides what is on time in it, one chunk after the
//! other in the order of the partition. The operators of a source on one worker share its gate, which does not depend
//! on timely.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::checkpoint::bindings::Admitted;
use crate::operators::admission::{Admission, TimeRules, Times};
use crate::operators::watermark::WatermarkUpdate;
use crate::record::{Decode, Decoder, Rejection};
use crate::state::snapshot::{Placement, Slot};
use crate::time::{Epoch, EventTime};

/// Which records of a chunk are refused, by their index among those that decoded.
pub(super) type Refused = Vec<(u32, Rejection)>;

/// The partitions of one worker. Clones share them.
pub(super) struct AdmissionGate<T: Decode>(Rc<RefCell<OwnedPartitions<T>>>);

impl<T: Decode> Clone for AdmissionGate<T> {
    fn clone(&self) -> Self {
        AdmissionGate(Rc::clone(&self.0))
    }
}

struct OwnedPartitions<T: Decode> {
    options: T::Options,
    rules: TimeRules,
    /// The slot of the admission states.
    slot: Slot,
    /// The admission states at the checkpoint that the run resumes from.
    base: BTreeMap<u32, Admitted>,
    owned: BTreeMap<u32, OwnedPartition<T>>,
}

struct OwnedPartition<T: Decode> {
    /// Decodes the partition, if earlier records matter for that.
    decoder: T::Decoder,
    admission: Admission,
    delays: crate::operators::admission::Delays,
    /// The number of the next chunk to decide on.
    next: u64,
    /// The watermark that was last announced.
    told: EventTime,
    /// Its state before the first record of a later epoch, by the epoch of a snapshot that is due and not taken yet.
    before: VecDeque<(Epoch, Admitted)>,
}

impl<T: Decode> OwnedPartition<T> {
    fn keep(&self, partition: u32) -> Admitted {
        let decoder = self.decoder.state().unwrap_or_default();
        Admitted { partition, admission: self.admission.state().clone(), delays: self.delays.clone(), decoder }
    }
}

/// What is decided on: a decoded chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct ChunkInfo {
    pub(super) partition: u32,
    /// Its number among the partition's chunks.
    pub(super) number: u64,
    /// Earlier events are late after idle.
    pub(super) floor: EventTime,
    /// It was read as soon as it was available.
    pub(super) live: bool,
}

impl<T: Decode> AdmissionGate<T> {
    pub(super) fn new(options: T::Options, rules: TimeRules, slot: Slot, base: BTreeMap<u32, Admitted>) -> Self {
        AdmissionGate(Rc::new(RefCell::new(OwnedPartitions { options, rules, slot, base, owned: BTreeMap::new() })))
    }

    /// Adds a partition that the worker owns.
    ///
    /// # Errors
    /// A description, if its decoder refuses the state from a checkpoint.
    pub(super) fn join(&self, partition: u32) -> Result<(), String> {
        let partitions = &mut *self.0.borrow_mut();
        let mut decoder = T::decoder(&partitions.options);
        let mut resumed = Ok(());
        let (admission, delays) = match partitions.base.remove(&partition) {
            None => (Admission::new(&partitions.rules), Default::default()),
            Some(Admitted { admission, delays, decoder: kept, .. }) => {
                resumed = decoder.resume(&kept);
                (Admission::resume(&partitions.rules, admission), delays)
            }
        };
        let (told, before) = (EventTime::MIN, VecDeque::new());
        partitions.owned.insert(partition, OwnedPartition { decoder, admission, delays, next: 0, told, before });
        resumed
    }

    /// Decodes records of an epoch with the decoder of a partition that this worker owns.
    pub(super) fn decode<R>(&self, partition: u32, epoch: Epoch, decode: impl FnOnce(&mut T::Decoder) -> R) -> R {
        let partitions = &mut *self.0.borrow_mut();
        partitions.keep_before(partition, epoch);
        decode(&mut partitions.owned(partition).decoder)
    }

    /// Whether this chunk is the next to decide on.
    pub(super) fn is_next(&self, partition: u32, number: u64) -> bool {
        self.0.borrow().owned.get(&partition).is_some_and(|owned| owned.next == number)
    }

    /// Decides on the next chunk, read in `epoch`. Also returns the watermark update to announce, if there is one.
    pub(super) fn decide(&self, chunk: &ChunkInfo, times: &Times, epoch: Epoch) -> (Refused, Option<WatermarkUpdate>) {
        let partitions = &mut *self.0.borrow_mut();
        partitions.keep_before(chunk.partition, epoch);
        let clocks_can_be_late = partitions.rules.live && chunk.live;
        let owned = partitions.owned(chunk.partition);
        owned.admission.join_at(chunk.floor);
        let refused = owned.admission.admit(times, epoch);
        if clocks_can_be_late && let Some(delay_ms) = greatest_delay(times, &refused, epoch) {
            owned.delays.observe(epoch, delay_ms);
        }
        owned.next += 1;
        let watermark = owned.admission.watermark();
        let update = (watermark > owned.told)
            .then_some(WatermarkUpdate::Reached { partition: chunk.partition, time: watermark });
        owned.told = watermark.max(owned.told);
        (refused, update)
    }

    /// The greatest delay of a partition's events that was observed recently, in milliseconds, if all its `chunks` are
    /// decided on.
    pub(super) fn delay_of(&self, partition: u32, chunks: u64, epoch: Epoch) -> Option<i64> {
        let partitions = self.0.borrow();
        let owned = partitions.owned.get(&partition)?;
        (owned.next == chunks).then(|| owned.delays.greatest(epoch, partitions.rules.idle_after))
    }

    /// Everything before the epoch `next` is decided on; everything at all, if there is no next epoch.
    pub(super) fn complete_before(&self, next: Option<Epoch>) {
        let OwnedPartitions { slot, owned, .. } = &mut *self.0.borrow_mut();
        // Where there is no next epoch, a snapshot of one before the last may still be due.
        let kept = owned.values().filter_map(|owned| owned.before.back()).map(|(epoch, _)| *epoch + 1).max();
        if let Some(due) = slot.due(next.or(kept).unwrap_or(Epoch::MAX)) {
            slot.take(due, |slot| {
                for (partition, owned) in owned.iter() {
                    // Nothing was applied between that snapshot and the first kept one after it, or there would be one
                    // in between.
                    let kept = owned.before.iter().find(|(epoch, _)| *epoch >= due);
                    let kept = kept.map_or_else(|| owned.keep(*partition), |(_, kept)| kept.clone());
                    slot.give(Placement::Everywhere, &kept);
                }
            });
        }
        if next.is_none() {
            slot.settle(|slot| {
                for (partition, owned) in owned.iter() {
                    slot.give(Placement::Everywhere, &owned.keep(*partition));
                }
            });
        }
        let passed = next.unwrap_or(Epoch::MAX);
        owned.values_mut().for_each(|owned| owned.before.retain(|(epoch, _)| *epoch >= passed));
    }
}

impl<T: Decode> OwnedPartitions<T> {
    fn owned(&mut self, partition: u32) -> &mut OwnedPartition<T> {
        self.owned.get_mut(&partition).expect("a partition joins at its owner before its records are sent on")
    }

    /// Called before anything of `epoch` is applied to a partition: saves its state for a snapshot of an earlier epoch.
    fn keep_before(&mut self, partition: u32, epoch: Epoch) {
        let Some(due) = self.slot.upcoming(epoch) else { return };
        let owned = self.owned(partition);
        if owned.before.back().is_none_or(|(epoch, _)| *epoch < due) {
            let kept = owned.keep(partition);
            owned.before.push_back((due, kept));
        }
    }
}

/// How long the events took at most to be read; implausible times do not count.
fn greatest_delay(times: &Times, refused: &Refused, epoch: Epoch) -> Option<i64> {
    use crate::record::Reason::{Future, Past};
    let wrong = |n: usize| {
        let at = refused.binary_search_by_key(&n, |(refused, _)| *refused as usize);
        at.is_ok_and(|at| matches!(refused[at].1.reason, Future | Past))
    };
    let timed = times.each.iter().enumerate().filter(|(n, time)| **time != EventTime::MIN && !wrong(*n));
    let least = timed.map(|(_, time)| *time).min()?;
    Some((epoch as i64).saturating_sub(least.millis()))
}
