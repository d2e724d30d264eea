//! A worker's source's partitions, and what happens to each record that their readers hand over.
//!
//! Independent of timely: it packs records into chunks, and collects dead letters and watermark updates, which the
//! operator sends.

use std::collections::BTreeMap;
use std::rc::Rc;

use hashbrown::HashMap;

use super::follow::Follow;
use super::gate::AdmissionGate;
use super::letter::Letters;
use super::partition::{HELD_RECORDS, HeldBack, Lifecycle, PartitionState};
use super::spread::Packer;
use crate::checkpoint::bindings::{PartitionBinding, Phase, Position, SourceBase};
use crate::connectors::source::{Block, Collector, Partition};
use crate::error::{Error, ErrorKind, Result};
use crate::operators::watermark::{NO_PARTITION, WatermarkUpdate, WatermarkView};
use crate::record::{Decode, Reason, Rejection};
use crate::state::snapshot::{Placement, Slot};
use crate::telemetry::{SkipReason, SourceMetrics};
use crate::time::{Epoch, EventTime};

/// Receives what the reader reads.
pub(super) struct Intake<T: Decode> {
    source: String,
    follow: Follow,
    view: Rc<WatermarkView>,
    pub(super) metrics: SourceMetrics,
    partitions: Vec<PartitionState>,
    index: HashMap<u32, usize>,
    /// The partition of the last record; the next one is most often of the same.
    last: (u32, usize),
    /// The epoch in which records are read now.
    pub(super) epoch: Epoch,
    /// Whether it replays: the bindings of earlier runs say what belongs to an epoch.
    replaying: bool,
    /// Whether a record of this poll was read as soon as it was available.
    live: bool,
    /// The partitions at the checkpoint that the run resumes from.
    base: SourceBase,
    /// The error of the first partition that cannot be resumed.
    fault: Option<Error>,
    pub(super) packer: Packer,
    gate: AdmissionGate<T>,
    pub(super) letters: Letters,
}

impl<T: Decode> Intake<T> {
    /// Takes nothing before [`replay`](Self::replay) or [`go_live`](Self::go_live) is called.
    pub(super) fn new(
        name: &str,
        follow: Follow,
        view: Rc<WatermarkView>,
        letters: Letters,
        metrics: SourceMetrics,
        (packer, gate): (Packer, AdmissionGate<T>),
        base: SourceBase,
    ) -> Self {
        Intake {
            source: name.to_owned(),
            follow,
            view,
            partitions: Vec::new(),
            index: HashMap::new(),
            last: (u32::MAX, usize::MAX),
            epoch: 0,
            replaying: true,
            live: false,
            base,
            fault: None,
            packer,
            gate,
            letters,
            metrics,
        }
    }

    /// Sets the first offsets and the identities of the partitions that joined since the last call.
    ///
    /// # Errors
    /// If one of them cannot be resumed from its position at a checkpoint.
    pub(super) fn place(&mut self, known: &mut usize, ask: impl Fn(Partition) -> (u64, Option<String>)) -> Result<()> {
        for partition in &mut self.partitions[*known..] {
            (partition.from, partition.identity) = ask(Partition(partition.id));
            partition.next = partition.next.max(partition.from);
        }
        *known = self.partitions.len();
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Resumes the partition that joined last, which was there at a checkpoint.
    fn resume(&mut self, position: &Position) {
        self.packer.join_at(self.partitions.len() - 1, position.floor);
        let state = self.partitions.last_mut().expect("a partition has joined");
        state.lifecycle = Lifecycle::Replaying { upto: position.next, phase: position.phase };
        state.next = position.next;
        state.bound = Some((position.next, position.phase));
        state.announced =
            self.base.watermark.partitions.get(&position.partition).map(|watermark| watermark.participation);
    }

    /// Whether the worker has no partition.
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// The offset after the last record that was taken of each partition.
    pub(super) fn next_offsets(&self) -> Vec<(Partition, u64)> {
        self.partitions.iter().map(|state| (Partition(state.id), state.next)).collect()
    }

    /// Writes the positions of the partitions at the end of an epoch.
    pub(super) fn keep(&self, slot: &mut Slot) {
        for (index, state) in
            self.partitions.iter().enumerate().filter(|(_, state)| state.lifecycle != Lifecycle::Discovered)
        {
            let (partition, label, next, phase) =
                (state.id, state.label.to_string(), state.next, state.lifecycle.phase());
            let (floor, identity) = (self.packer.floor(index), state.identity.clone());
            slot.give(Placement::Everywhere, &Position { partition, label, next, phase, floor, identity });
        }
    }

    /// Lets the partitions that are known now take part from the present epoch on, in which nothing of them is taken.
    pub(super) fn introduce(&mut self) {
        for state in self.partitions.iter_mut().filter(|state| state.lifecycle == Lifecycle::Discovered) {
            state.lifecycle = Lifecycle::Replaying { upto: 0, phase: Phase::Active };
        }
    }

    /// Starts to replay an epoch: of each partition in `bindings`, exactly the bound records are taken.
    ///
    /// # Errors
    /// If a partition is gone.
    pub(super) fn replay(&mut self, bindings: &BTreeMap<u32, PartitionBinding>) -> Result<()> {
        for (partition, binding) in bindings {
            if *partition == NO_PARTITION {
                self.follow.replay(binding.follows);
                continue;
            }
            let Some(&index) = self.index.get(partition) else {
                let message = format!(
                    "source {:?}: partition {partition}, which earlier runs on this state directory read, is gone",
                    self.source
                );
                return Err(Error::source(message).hint("restore it, or begin with a new state directory"));
            };
            if let Some(floor) = binding.floor {
                self.join_at(index, floor);
            }
            let state = &mut self.partitions[index];
            state.follows = binding.follows;
            state.lifecycle = Lifecycle::Replaying { upto: binding.next, phase: binding.phase };
            self.take_held(index);
        }
        Ok(())
    }

    /// Whether everything that belongs to the epoch has been taken.
    ///
    /// # Errors
    /// If something of it is gone.
    pub(super) fn is_replayed(&self, bindings: &BTreeMap<u32, PartitionBinding>) -> Result<bool> {
        let mut replayed = true;
        for binding in bindings.values().filter(|binding| binding.partition != NO_PARTITION) {
            let state = &self.partitions[self.index[&binding.partition]];
            if state.seen() >= binding.next || state.ended {
                continue;
            }
            replayed = false;
            if state.empty_since_ms.is_some() {
                return Err(Error::source(format!(
                    "source {:?}, partition {}: records before offset {} were read by earlier runs and are gone; there is \
                     nothing after offset {}",
                    self.source, state.label, binding.next, state.seen()
                ))
                .hint("restore them, or begin with a new state directory"));
            }
        }
        Ok(replayed)
    }

    /// Takes whatever the reader hands over from the present epoch on. Partitions that were not in the replayed epochs
    /// are new, if there were any such epochs.
    pub(super) fn go_live(&mut self, epochs_before: bool) {
        self.replaying = false;
        for index in 0..self.partitions.len() {
            let state = &mut self.partitions[index];
            state.go_live(self.epoch, epochs_before);
            if state.lifecycle == Lifecycle::Ended && !state.held.is_empty() {
                self.beyond_end(index);
            }
            self.take_held(index);
        }
    }

    /// Calls `hold` for each partition whose records beyond the replayed epoch the reader shall keep to itself, or need
    /// no longer.
    pub(super) fn holding(&mut self, mut hold: impl FnMut(Partition, bool)) {
        for state in &mut self.partitions {
            let full = self.replaying && state.held.len() >= HELD_RECORDS;
            if std::mem::replace(&mut state.full, full) != full {
                hold(Partition(state.id), full);
            }
        }
    }

    fn join_at(&mut self, index: usize, floor: EventTime) {
        self.packer.join_at(index, floor);
        self.partitions[index].floor = Some(floor);
    }

    /// Takes what is held back of returned partitions once the watermark at which they returned is known, and returns
    /// whether any still waits. While one waits nothing is polled, so what is held back is bounded by one poll.
    pub(super) fn release(&mut self) -> bool {
        let complete_before = self.view.complete_before.get();
        let mut waiting = false;
        for index in 0..self.partitions.len() {
            let Lifecycle::Waiting { since } = self.partitions[index].lifecycle else { continue };
            if since < complete_before {
                self.release_one(index);
            } else {
                waiting |= !self.partitions[index].held.is_empty();
            }
        }
        waiting
    }

    fn release_one(&mut self, index: usize) {
        self.partitions[index].lifecycle = Lifecycle::Active;
        self.join_at(index, self.view.watermark.get());
        self.take_held(index);
    }

    /// The run stops and no other will resume it: takes what is held back. If the sources are to `drain`, nothing comes
    /// after it, so that all windows close.
    pub(super) fn stop(&mut self, drain: bool) {
        for index in 0..self.partitions.len() {
            if matches!(self.partitions[index].lifecycle, Lifecycle::Waiting { .. }) {
                self.release_one(index);
            }
            self.partitions[index].ended |= drain;
        }
    }

    /// Whether records of a returned partition are held back.
    pub(super) fn holds(&self) -> bool {
        self.partitions.iter().any(|state| !state.held.is_empty())
    }

    fn take_held(&mut self, index: usize) {
        while let Some(held) = {
            let state = &mut self.partitions[index];
            let limit = state.lifecycle.limit();
            state.held.pop_front_if(|held| held.offset() < limit)
        } {
            match held {
                HeldBack::Record { offset, bytes } => self.take(index, offset, &bytes),
                HeldBack::Rejected { offset, size, head, rejection } => {
                    self.refuse(index, offset, size, &head, rejection);
                }
            }
        }
    }

    /// Ends the epoch: announces the changes of the partitions' participation, and returns what to bind.
    pub(super) fn close_epoch(&mut self, now_ms: u64, mut tell: impl FnMut(WatermarkUpdate)) -> Vec<PartitionBinding> {
        let mut bindings = Vec::new();
        if let Some(binding) = self.follow.without_partitions(self.epoch, now_ms, self.replaying, self.partitions.len())
        {
            tell(WatermarkUpdate::Reached { partition: NO_PARTITION, time: binding.follows.unwrap_or(EventTime::MIN) });
            bindings.push(binding);
        }
        for (index, state) in
            self.partitions.iter_mut().enumerate().filter(|(_, state)| state.lifecycle != Lifecycle::Discovered)
        {
            if !self.replaying {
                state.end_epoch(now_ms, self.follow.idle_after_ms());
                let delay_of = || self.gate.delay_of(state.id, self.packer.chunks(index), self.epoch);
                state.follows = self.follow.partition(state, self.epoch, now_ms, self.packer.floor(index), delay_of);
            }
            let (partition, participation) = (state.id, state.participation());
            let told = state.announced.replace(participation) != Some(participation);
            if told {
                tell(WatermarkUpdate::Participates { partition, participation });
            }
            if let Some(time) = state.follows {
                tell(WatermarkUpdate::Reached { partition, time });
                self.packer.join_at(index, time);
            }
            bindings.extend(state.bind(told));
        }
        bindings
    }

    /// Updates the counters; called once per poll.
    pub(super) fn count(&mut self) {
        for partition in &mut self.partitions {
            if partition.records > 0 {
                partition.metrics.read(std::mem::take(&mut partition.records), std::mem::take(&mut partition.bytes));
            }
        }
        self.packer.finish();
        if std::mem::take(&mut self.live) {
            (0..self.partitions.len()).for_each(|index| self.packer.set_live(index, false));
        }
        self.metrics.watermark(self.view.watermark.get(), self.epoch);
    }

    /// Nothing was fetched, so no fetch came back empty: a partition that is not read is not idle.
    pub(super) fn not_fetched(&mut self) {
        self.partitions.iter_mut().for_each(|partition| partition.empty_since_ms = None);
    }

    fn partition(&mut self, partition: Partition) -> usize {
        if self.last.0 != partition.0 {
            let index = *self.index.get(&partition.0).expect("a reader announces a partition before it speaks of it");
            self.last = (partition.0, index);
        }
        self.last.1
    }

    /// Something of the partition was read.
    #[inline]
    fn heard(&mut self, partition: Partition) -> usize {
        let index = self.partition(partition);
        if self.partitions[index].empty_since_ms.take().is_some() && !self.replaying {
            self.live = true;
            self.packer.set_live(index, true);
        }
        index
    }

    #[inline]
    fn take(&mut self, index: usize, offset: u64, bytes: &[u8]) {
        self.partitions[index].next = offset + 1;
        // It is counted where it is decoded.
        self.packer.take(index, offset, bytes);
    }

    fn refuse(&mut self, index: usize, offset: u64, size: u64, head: &[u8], rejection: Rejection) {
        let state = &mut self.partitions[index];
        state.next = offset + 1;
        state.records += 1;
        state.bytes += size;
        self.letters.refuse(&state.label, offset, size, head, rejection);
    }

    /// There are more records of a partition that ended in an earlier run.
    fn beyond_end(&mut self, index: usize) {
        let state = &mut self.partitions[index];
        state.held.clear();
        if !std::mem::replace(&mut state.beyond_end, true) {
            let (source, partition, end) = (&self.source, &state.label, state.next);
            tracing::warn!(source, %partition, end, "ended in an earlier run and has grown since; what came after its end is not read");
        }
    }

    /// Not inlined, to keep it out of the path of records that are taken.
    #[cold]
    #[inline(never)]
    fn hold_record(&mut self, index: usize, offset: u64, bytes: &[u8]) {
        self.hold(index, HeldBack::Record { offset, bytes: bytes.to_vec() });
    }

    /// Holds back what is beyond the limit of its partition.
    #[cold]
    fn hold(&mut self, index: usize, held: HeldBack) {
        let state = &mut self.partitions[index];
        match state.lifecycle {
            Lifecycle::Ended => return self.beyond_end(index),
            Lifecycle::Idle => state.lifecycle = Lifecycle::Waiting { since: self.epoch },
            Lifecycle::Discovered | Lifecycle::Replaying { .. } | Lifecycle::Waiting { .. } | Lifecycle::Active => {}
        }
        self.partitions[index].held.push_back(held);
    }
}

impl<T: Decode> Collector for Intake<T> {
    fn joined(&mut self, partition: Partition, label: &str) {
        let known = self.index.insert(partition.0, self.partitions.len());
        assert!(known.is_none(), "partition {} joined twice", partition.0);
        // The present epoch's watermark updates are announced without the new partition, so the watermark may be ahead
        // of it, whether or not that is known here yet.
        let lifecycle = if self.replaying { Lifecycle::Discovered } else { Lifecycle::Waiting { since: self.epoch } };
        self.packer.joined(partition.0, label);
        self.partitions.push(PartitionState::new(partition.0, label, lifecycle, self.metrics.partition(label)));
        if let Err(why) = self.gate.join(partition.0) {
            let message =
                format!("source {:?}, partition {label}: cannot be resumed from the checkpoint: {why}", self.source);
            self.fault = Some(Error::new(ErrorKind::State, message).hint(
                "the decoder has changed: use the program that took the checkpoint, or start over with --from-scratch",
            ));
        }
        if let Some(position) = self.base.positions.remove(&partition.0) {
            self.resume(&position);
        }
    }

    #[inline]
    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
        let index = self.heard(partition);
        if offset < self.partitions[index].lifecycle.limit() {
            self.take(index, offset, bytes);
        } else {
            self.hold_record(index, offset, bytes);
        }
    }

    /// Blocks cannot be held back record by record.
    fn takes_blocks(&self, partition: Partition) -> bool {
        let state = self.index.get(&partition.0).map(|index| &self.partitions[*index]);
        !self.replaying && state.is_some_and(|state| state.lifecycle == Lifecycle::Active && state.held.is_empty())
    }

    fn block_bytes(&self) -> usize {
        self.packer.block_bytes()
    }

    fn block(&mut self, partition: Partition, block: Box<dyn Block>) {
        let index = self.heard(partition);
        self.partitions[index].next = block.offset() + block.size() as u64;
        self.packer.take_block(index, block);
    }

    fn rejected(&mut self, partition: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, detail: &str) {
        let index = self.heard(partition);
        let rejection = Rejection::new(reason, detail);
        if offset < self.partitions[index].lifecycle.limit() {
            self.refuse(index, offset, size, head, rejection);
        } else {
            self.hold(index, HeldBack::Rejected { offset, size, head: head.to_vec(), rejection });
        }
    }

    fn caught_up(&mut self, partition: Partition) {
        let epoch = self.epoch;
        let index = self.partition(partition);
        self.partitions[index].empty_since_ms.get_or_insert(epoch);
    }

    fn lag(&mut self, partition: Partition, lag: u64) {
        let index = self.partition(partition);
        self.partitions[index].metrics.lag(lag);
    }

    fn gap(&mut self, partition: Partition, next: u64, records: u64) {
        let index = self.partition(partition);
        let state = &mut self.partitions[index];
        state.metrics.gap(records);
        // No earlier record is still to come, also of an epoch that is replayed.
        if state.held.is_empty() {
            state.next = state.next.max(next);
        }
    }

    fn journal(&mut self, partition: Partition, bytes: u64, full: bool) {
        let index = self.partition(partition);
        self.partitions[index].metrics.journal(bytes, full);
    }

    fn skipped(&mut self, reason: SkipReason, paths: u64) {
        self.metrics.skipped(reason, paths);
    }

    fn ended(&mut self, partition: Partition) {
        let index = self.partition(partition);
        self.partitions[index].ended = true;
        self.partitions[index].metrics.lag(0);
    }
}

#[cfg(test)]
mod tests;
