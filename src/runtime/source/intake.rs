//! What a worker's source knows of its partitions, and what becomes of each record they hand over.
//!
//! Pure of timely: it packs records into chunks, and collects dead letters and the changes of the partitions' standing, which
//! the operator sends on.

use std::collections::BTreeMap;
use std::rc::Rc;

use hashbrown::HashMap;

use super::follow::Follow;
use super::gate::Gate;
use super::letter::Letters;
use super::partition::{HELD_RECORDS, Held, Life, PartitionState};
use super::spread::Packer;
use crate::checkpoint::bindings::{PartitionBinding, Phase, Position, SourceBase};
use crate::connectors::source::{Block, Collector, Partition};
use crate::error::{Error, ErrorKind, Result};
use crate::operators::watermark::{Mark, NO_PARTITION, WatermarkView};
use crate::record::{Decode, Reason, Rejection};
use crate::state::snapshot::{Place, Slot};
use crate::telemetry::{SkipReason, SourceMetrics};
use crate::time::{Epoch, EventTime};

/// Takes what the reader reads.
pub(super) struct Intake<T: Decode> {
    source: String,
    follow: Follow,
    view: Rc<WatermarkView>,
    pub(super) metrics: SourceMetrics,
    partitions: Vec<PartitionState>,
    index: HashMap<u32, usize>,
    /// The partition that spoke last; most often it speaks again.
    last: (u32, usize),
    /// The epoch in which records are read now.
    pub(super) epoch: Epoch,
    /// Whether nothing is read for the first time yet: the bindings of earlier runs say what belongs to an epoch.
    replaying: bool,
    /// Whether something was read in this poll as soon as it was there.
    live: bool,
    /// How partitions were at the checkpoint that the run resumes from.
    base: SourceBase,
    /// The first of these that cannot be resumed.
    fault: Option<Error>,
    pub(super) packer: Packer,
    gate: Gate<T>,
    pub(super) letters: Letters,
}

impl<T: Decode> Intake<T> {
    /// Nothing is taken before [`replay`](Self::replay) or [`go_live`](Self::go_live) says what.
    pub(super) fn new(
        name: &str,
        follow: Follow,
        view: Rc<WatermarkView>,
        letters: Letters,
        metrics: SourceMetrics,
        (packer, gate): (Packer, Gate<T>),
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

    /// Asks where the partitions begin, and what they are, that have joined since it was last asked.
    ///
    /// # Errors
    /// If one of them cannot be resumed from where it was at a checkpoint.
    pub(super) fn place(&mut self, known: &mut usize, ask: impl Fn(Partition) -> (u64, Option<String>)) -> Result<()> {
        for partition in &mut self.partitions[*known..] {
            (partition.from, partition.identity) = ask(Partition(partition.id));
            partition.next = partition.next.max(partition.from);
        }
        *known = self.partitions.len();
        self.fault.take().map_or(Ok(()), Err)
    }

    /// The partition that joined last was there at a checkpoint, and resumes from where it was.
    fn resume(&mut self, position: &Position) {
        self.packer.join_at(self.partitions.len() - 1, position.floor);
        let state = self.partitions.last_mut().expect("a partition has joined");
        state.life = Life::Replaying { upto: position.next, phase: position.phase };
        state.next = position.next;
        state.bound = Some((position.next, position.phase));
        state.announced = self.base.marked.partitions.get(&position.partition).map(|marked| marked.standing);
    }

    /// Whether the worker has no partition.
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// The offset after the last record that was taken of each partition.
    pub(super) fn next_offsets(&self) -> Vec<(Partition, u64)> {
        self.partitions.iter().map(|state| (Partition(state.id), state.next)).collect()
    }

    /// Writes how the partitions are at the end of an epoch.
    pub(super) fn keep(&self, slot: &mut Slot) {
        for (index, state) in self.partitions.iter().enumerate().filter(|(_, state)| state.life != Life::Unborn) {
            let (partition, label, next, phase) = (state.id, state.label.to_string(), state.next, state.life.phase());
            let (floor, identity) = (self.packer.floor(index), state.identity.clone());
            slot.give(Place::Everywhere, &Position { partition, label, next, phase, floor, identity });
        }
    }

    /// The partitions that are known now take part from the present epoch on, in which nothing of them is taken.
    pub(super) fn introduce(&mut self) {
        for state in self.partitions.iter_mut().filter(|state| state.life == Life::Unborn) {
            state.life = Life::Replaying { upto: 0, phase: Phase::Active };
        }
    }

    /// Begins to replay an epoch: of each partition in `bindings`, exactly the records that it says are taken.
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
            state.life = Life::Replaying { upto: binding.next, phase: binding.phase };
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

    /// From the present epoch on, whatever the reader hands over is taken. Partitions that were not known in the epochs that were
    /// replayed are new, if there were any.
    pub(super) fn go_live(&mut self, epochs_before: bool) {
        self.replaying = false;
        for index in 0..self.partitions.len() {
            let state = &mut self.partitions[index];
            state.go_live(self.epoch, epochs_before);
            if state.life == Life::Ended && !state.held.is_empty() {
                self.beyond_end(index);
            }
            self.take_held(index);
        }
    }

    /// Says of partitions to hold, or to hold no more, what is beyond the epoch that is replayed.
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

    /// Lets partitions that came back be taken once the watermark is known at which they did, and says whether any still waits.
    /// While one waits nothing is polled, so what is held is bounded by one poll.
    pub(super) fn release(&mut self) -> bool {
        let complete_before = self.view.complete_before.get();
        let mut waiting = false;
        for index in 0..self.partitions.len() {
            let Life::Waiting { since } = self.partitions[index].life else { continue };
            if since < complete_before {
                self.release_one(index);
            } else {
                waiting |= !self.partitions[index].held.is_empty();
            }
        }
        waiting
    }

    fn release_one(&mut self, index: usize) {
        self.partitions[index].life = Life::Active;
        self.join_at(index, self.view.watermark.get());
        self.take_held(index);
    }

    /// The run stops and no other will resume it: what is held back is taken now. If the sources are to `drain`, nothing comes after it,
    /// so that all windows close.
    pub(super) fn stop(&mut self, drain: bool) {
        for index in 0..self.partitions.len() {
            if matches!(self.partitions[index].life, Life::Waiting { .. }) {
                self.release_one(index);
            }
            self.partitions[index].ended |= drain;
        }
    }

    /// Whether records of a returned partition wait.
    pub(super) fn holds(&self) -> bool {
        self.partitions.iter().any(|state| !state.held.is_empty())
    }

    fn take_held(&mut self, index: usize) {
        while let Some(held) = {
            let state = &mut self.partitions[index];
            let limit = state.life.limit();
            state.held.pop_front_if(|held| held.offset() < limit)
        } {
            match held {
                Held::Record { offset, bytes } => self.take(index, offset, &bytes),
                Held::Rejected { offset, size, head, rejection } => self.refuse(index, offset, size, &head, rejection),
            }
        }
    }

    /// Ends the epoch: tells how the partitions' standing changed since it was last told, and returns what is to be bound.
    pub(super) fn close_epoch(&mut self, now_ms: u64, mut tell: impl FnMut(Mark)) -> Vec<PartitionBinding> {
        let mut bindings = Vec::new();
        if let Some(binding) = self.follow.without_partitions(self.epoch, now_ms, self.replaying, self.partitions.len())
        {
            tell(Mark::Reached { partition: NO_PARTITION, time: binding.follows.unwrap_or(EventTime::MIN) });
            bindings.push(binding);
        }
        for (index, state) in self.partitions.iter_mut().enumerate().filter(|(_, state)| state.life != Life::Unborn) {
            if !self.replaying {
                state.end_epoch(now_ms, self.follow.idle_after_ms());
                let delay_of = || self.gate.delay_of(state.id, self.packer.chunks(index), self.epoch);
                state.follows = self.follow.partition(state, self.epoch, now_ms, self.packer.floor(index), delay_of);
            }
            let (partition, standing) = (state.id, state.standing());
            let told = state.announced.replace(standing) != Some(standing);
            if told {
                tell(Mark::Stands { partition, standing });
            }
            if let Some(time) = state.follows {
                tell(Mark::Reached { partition, time });
                self.packer.join_at(index, time);
            }
            bindings.extend(state.bind(told));
        }
        bindings
    }

    /// Brings the counters up to date; called once per poll.
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

    /// Nothing was fetched, so nothing came back empty: a partition that is not read is not idle.
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

    /// Something of the partition is there.
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
        // Counted where it is decoded.
        self.packer.take(index, offset, bytes);
    }

    fn refuse(&mut self, index: usize, offset: u64, size: u64, head: &[u8], rejection: Rejection) {
        let state = &mut self.partitions[index];
        state.next = offset + 1;
        state.records += 1;
        state.bytes += size;
        self.letters.refuse(&state.label, offset, size, head, rejection);
    }

    /// There is more of a partition that ended in an earlier run.
    fn beyond_end(&mut self, index: usize) {
        let state = &mut self.partitions[index];
        state.held.clear();
        if !std::mem::replace(&mut state.beyond_end, true) {
            let (source, partition, end) = (&self.source, &state.label, state.next);
            tracing::warn!(source, %partition, end, "ended in an earlier run and has grown since; what came after its end is not read");
        }
    }

    /// Apart, so that nothing of it is on the way of records that are taken.
    #[cold]
    #[inline(never)]
    fn hold_record(&mut self, index: usize, offset: u64, bytes: &[u8]) {
        self.hold(index, Held::Record { offset, bytes: bytes.to_vec() });
    }

    /// Holds back what is beyond the limit of its partition.
    #[cold]
    fn hold(&mut self, index: usize, held: Held) {
        let state = &mut self.partitions[index];
        match state.life {
            Life::Ended => return self.beyond_end(index),
            Life::Idle => state.life = Life::Waiting { since: self.epoch },
            Life::Unborn | Life::Replaying { .. } | Life::Waiting { .. } | Life::Active => {}
        }
        self.partitions[index].held.push_back(held);
    }
}

impl<T: Decode> Collector for Intake<T> {
    fn joined(&mut self, partition: Partition, label: &str) {
        let known = self.index.insert(partition.0, self.partitions.len());
        assert!(known.is_none(), "partition {} joined twice", partition.0);
        // The marks of the present epoch are told without a newcomer, so the watermark may be ahead of it, whether or not that is known
        // here yet.
        let life = if self.replaying { Life::Unborn } else { Life::Waiting { since: self.epoch } };
        self.packer.joined(partition.0, label);
        self.partitions.push(PartitionState::new(partition.0, label, life, self.metrics.partition(label)));
        if let Err(why) = self.gate.join(partition.0) {
            let message =
                format!("source {:?}, partition {label}: cannot be resumed from the checkpoint: {why}", self.source);
            self.fault = Some(Error::new(ErrorKind::State, message).hint(
                "the decoder has changed: use the program that took the checkpoint, or begin anew with --from-scratch",
            ));
        }
        if let Some(position) = self.base.positions.remove(&partition.0) {
            self.resume(&position);
        }
    }

    #[inline]
    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
        let index = self.heard(partition);
        if offset < self.partitions[index].life.limit() {
            self.take(index, offset, bytes);
        } else {
            self.hold_record(index, offset, bytes);
        }
    }

    /// Not while anything of the partition is or might have to be held back, record by record.
    fn takes_blocks(&self, partition: Partition) -> bool {
        let state = self.index.get(&partition.0).map(|index| &self.partitions[*index]);
        !self.replaying && state.is_some_and(|state| state.life == Life::Active && state.held.is_empty())
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
        if offset < self.partitions[index].life.limit() {
            self.refuse(index, offset, size, head, rejection);
        } else {
            self.hold(index, Held::Rejected { offset, size, head: head.to_vec(), rejection });
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
        // Nothing before it is still to come, also of an epoch that is replayed.
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
