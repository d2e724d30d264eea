//! Decodes records on the worker that reads them, and decides what is on time.

use super::Validations;
use super::batch::Batches;
use crate::checkpoint::bindings::Position;
use crate::operators::admission::{Admission, TimeRules};
use crate::record::{Decode, Decoder, Reason, Rejection};
use crate::time::{Epoch, EventTime};

/// Decodes the records of one worker's partitions.
pub(super) struct Direct<T: Decode> {
    options: T::Options,
    rules: TimeRules,
    validations: Validations<T>,
    /// By the partition's place among the worker's own.
    partitions: Vec<(T::Decoder, Admission)>,
    /// Records that decoded since this was last taken, refused or not.
    pub(super) decoded: u64,
    /// Records to send on.
    pub(super) batches: Batches<T>,
}

impl<T: Decode> Direct<T> {
    pub(super) fn new(options: T::Options, rules: TimeRules, validations: Validations<T>) -> Self {
        Direct { options, rules, validations, partitions: Vec::new(), decoded: 0, batches: Batches::default() }
    }

    pub(super) fn joined(&mut self) {
        self.partitions.push((T::decoder(&self.options), Admission::new(&self.rules)));
    }

    /// The partition that joined last goes on from where it was at a checkpoint.
    ///
    /// # Errors
    /// In words, if its decoder does not take what was kept.
    pub(super) fn resume(&mut self, position: &Position) -> Result<(), String> {
        let (decoder, admission) = self.partitions.last_mut().expect("a partition has joined");
        *admission = Admission::resume(&self.rules, position.greatest, position.floor);
        decoder.resume(&position.decoder)
    }

    /// The greatest event time of a partition, its floor, and what its decoder knows.
    pub(super) fn kept(&self, index: usize) -> (EventTime, EventTime, Vec<u8>) {
        let (decoder, admission) = &self.partitions[index];
        (admission.greatest(), admission.floor(), decoder.state().unwrap_or_default())
    }

    /// Events of the partition before `floor` come too late from now on.
    pub(super) fn join_at(&mut self, index: usize, floor: EventTime) {
        self.partitions[index].1.join_at(floor);
    }

    /// Nothing earlier is expected from the partition.
    pub(super) fn watermark(&self, index: usize) -> EventTime {
        self.partitions[index].1.watermark()
    }

    /// Takes a record, or says why not.
    #[inline(always)]
    pub(super) fn take(&mut self, index: usize, bytes: &[u8], epoch: Epoch) -> Result<(), Rejection> {
        let (decoder, admission) = &mut self.partitions[index];
        let record = decoder.decode(bytes, epoch)?;
        self.decoded += 1;
        check(&self.validations, &record)?;
        if let Some(time) = record.time() {
            admission.admit(time, epoch)?;
        }
        self.batches.push(record);
        Ok(())
    }
}

/// What the dataflow itself refuses.
#[inline]
pub(super) fn check<T>(validations: &Validations<T>, record: &T) -> Result<(), Rejection> {
    match validations.borrow().iter().find_map(|valid| valid(record).err()) {
        Some(detail) => Err(Rejection::new(Reason::Invalid, detail)),
        None => Ok(()),
    }
}
