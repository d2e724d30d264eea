//! What a worker's source knows of its partitions, and what becomes of each record they hand over.
//!
//! Pure of timely: it collects records, decoded or not, the dead letters and the changes of the partitions' standing, which
//! the operator sends on.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;

use super::direct::Direct;
use super::letter::Letters;
use super::spread::Packer;
use crate::checkpoint::bindings::{Joined, PartitionBinding, Phase, Position, SourceBase};
use crate::connectors::source::{Block, Collector, Partition};
use crate::error::{Error, ErrorKind, Result};
use crate::operators::watermark::{Mark, Standing, WatermarkView};
use crate::record::{Decode, Reason, Rejection};
use crate::state::snapshot::{Place, Slot};
use crate::telemetry::{PartitionMetrics, SourceMetrics};
use crate::time::{Epoch, EventTime};

/// Where records are decoded.
pub(super) enum Work<T: Decode> {
    /// By the worker that reads them.
    Here(Direct<T>),
    /// By all workers.
    Spread(Packer),
}

/// Takes what the reader reads.
pub(super) struct Intake<T: Decode> {
    source: String,
    idle_after_ms: u64,
    view: Rc<WatermarkView>,
    pub(super) metrics: SourceMetrics,
    partitions: Vec<PartitionState>,
    index: HashMap<u32, usize>,
    /// The partition that spoke last; most often it speaks again.
    last: (u32, usize),
    /// The epoch in which records are read now.
    pub(super) epoch: Epoch,
    /// Whether nothing is read for the first time yet: the bindings of earlier generations say what belongs to an epoch.
    replaying: bool,
    /// How partitions were at the checkpoint that the run goes on from.
    base: SourceBase,
    /// The first of these that cannot be gone on from.
    fault: Option<Error>,
    pub(super) work: Work<T>,
    pub(super) letters: Letters,
}

/// How many records of a partition wait for their epoch to be made again before its reader is asked to hold it.
const HELD_RECORDS: usize = 10_000;

/// What a reader handed over and is not taken yet.
enum Held {
    Record { offset: u64, bytes: Vec<u8> },
    Rejected { offset: u64, size: u64, head: Vec<u8>, rejection: Rejection },
}

impl Held {
    fn offset(&self) -> u64 {
        let (Held::Record { offset, .. } | Held::Rejected { offset, .. }) = self;
        *offset
    }
}

struct PartitionState {
    id: u32,
    label: Rc<str>,
    /// The offset from which on it is read, and what tells it from another one that comes in its place.
    begins: (u64, Option<String>),
    /// Whether it belongs to a later epoch than that which is being made again.
    dormant: bool,
    phase: Phase,
    /// The epoch in which it came, or came back, if that is its phase.
    returned: Epoch,
    announced: Option<Standing>,
    /// The reader has said so.
    ended: bool,
    /// Since when fetches come back empty.
    empty_since_ms: Option<u64>,
    /// Records from this offset on are held back: their epoch has not begun, or it is not known what is late among them.
    limit: u64,
    held: VecDeque<Held>,
    /// The reader was asked to hold it.
    full: bool,
    /// It was said that there is more of it than there should be.
    beyond_end: bool,
    /// The offset after the last record that was taken.
    next: u64,
    /// The watermark at which it came back in this epoch.
    floor: Option<EventTime>,
    /// What was last bound.
    bound: Option<(u64, Phase)>,
    records: u64,
    bytes: u64,
    metrics: PartitionMetrics,
}

impl PartitionState {
    /// The offset after the last record that the reader handed over.
    fn seen(&self) -> u64 {
        self.held.back().map_or(self.next, |held| held.offset() + 1)
    }

    /// Moves to a phase of the present epoch.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.limit = if phase == Phase::Active { u64::MAX } else { 0 };
    }

    /// The phase at the end of an epoch.
    fn phase_at(&self, now_ms: u64, idle_after_ms: u64) -> Phase {
        match self.phase {
            // What it holds is still to come.
            Phase::Returned if !self.ended || !self.held.is_empty() => Phase::Returned,
            _ if self.ended => Phase::Ended,
            Phase::Active if self.empty_since_ms.is_some_and(|ms| now_ms.saturating_sub(ms) >= idle_after_ms) => {
                Phase::Idle
            }
            phase => phase,
        }
    }
}

impl<T: Decode> Intake<T> {
    /// Nothing is taken before [`replay`](Self::replay) or [`go_live`](Self::go_live) says what.
    pub(super) fn new(
        name: &str,
        idle_after: Duration,
        view: Rc<WatermarkView>,
        metrics: SourceMetrics,
        work: Work<T>,
        base: SourceBase,
    ) -> Self {
        Intake {
            source: name.to_owned(),
            idle_after_ms: u64::try_from(idle_after.as_millis()).unwrap_or(u64::MAX),
            view,
            partitions: Vec::new(),
            index: HashMap::new(),
            last: (u32::MAX, usize::MAX),
            epoch: 0,
            replaying: true,
            base,
            fault: None,
            work,
            letters: Letters::new(name, metrics.clone()),
            metrics,
        }
    }

    /// Asks where the partitions begin, and what they are, that have joined since it was last asked.
    ///
    /// # Errors
    /// If one of them cannot go on from where it was at a checkpoint.
    pub(super) fn place(&mut self, known: &mut usize, ask: impl Fn(Partition) -> (u64, Option<String>)) -> Result<()> {
        for partition in &mut self.partitions[*known..] {
            partition.begins = ask(Partition(partition.id));
            partition.next = partition.next.max(partition.begins.0);
        }
        *known = self.partitions.len();
        self.fault.take().map_or(Ok(()), Err)
    }

    /// The partition that joined last was there at a checkpoint, and goes on from where it was.
    fn resume(&mut self, position: &Position) {
        let resumed = match &mut self.work {
            Work::Here(direct) => direct.resume(position),
            Work::Spread(packer) => {
                packer.join_at(self.partitions.len() - 1, position.floor);
                Ok(())
            }
        };
        let state = self.partitions.last_mut().expect("a partition has joined");
        state.dormant = false;
        state.next = position.next;
        state.phase = position.phase;
        state.bound = Some((position.next, position.phase));
        state.announced = self.base.marked.partitions.get(&position.partition).map(|marked| marked.standing);
        if let Err(why) = resumed {
            let message =
                format!("source {:?}, partition {}: cannot go on from the checkpoint: {why}", self.source, state.label);
            self.fault = Some(Error::new(ErrorKind::State, message).hint(
                "the decoder has changed: use the program that took the checkpoint, or begin anew with --from-scratch",
            ));
        }
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
        for (index, state) in self.partitions.iter().enumerate().filter(|(_, state)| !state.dormant) {
            let (greatest, floor, decoder) = match &self.work {
                Work::Here(direct) => direct.kept(index),
                // The marks of its chunks say how far it is.
                Work::Spread(packer) => (EventTime::MIN, packer.floor(index), Vec::new()),
            };
            let (partition, label, identity) = (state.id, state.label.to_string(), state.begins.1.clone());
            let (next, phase) = (state.next, state.phase);
            let position = Position { partition, label, next, phase, floor, greatest, decoder, identity };
            slot.give(Place::Everywhere, &position);
        }
    }

    /// The partitions that are known now take part from the present epoch on, in which nothing of them is taken.
    pub(super) fn introduce(&mut self) {
        self.partitions.iter_mut().for_each(|state| state.dormant = false);
    }

    /// Begins to make an epoch again: of each partition in `bindings`, exactly the records that it says are taken.
    ///
    /// # Errors
    /// If a partition is gone.
    pub(super) fn replay(&mut self, bindings: &BTreeMap<u32, PartitionBinding>) -> Result<()> {
        for (partition, binding) in bindings {
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
            state.dormant = false;
            state.phase = binding.phase;
            state.limit = binding.next;
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
        for binding in bindings.values() {
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

    /// From the present epoch on, whatever the reader hands over is taken. Partitions that were not known in the epochs made
    /// again are new, if there were any.
    pub(super) fn go_live(&mut self, epochs_before: bool) {
        self.replaying = false;
        for index in 0..self.partitions.len() {
            let state = &mut self.partitions[index];
            state.empty_since_ms = None;
            let newcomer = std::mem::take(&mut state.dormant);
            let phase = match state.phase {
                _ if newcomer => {
                    if epochs_before {
                        Phase::Returned
                    } else {
                        Phase::Active
                    }
                }
                Phase::Idle if !state.held.is_empty() => Phase::Returned,
                phase => phase,
            };
            state.returned = self.epoch;
            state.enter(phase);
            if phase == Phase::Ended && !state.held.is_empty() {
                self.beyond_end(index);
            }
            self.take_held(index);
        }
    }

    /// Says which partitions to hold, or to hold no more: what is beyond the epoch that is being made again.
    pub(super) fn holding(&mut self, mut hold: impl FnMut(Partition, bool)) {
        for state in &mut self.partitions {
            let full = self.replaying && state.held.len() >= HELD_RECORDS;
            if std::mem::replace(&mut state.full, full) != full {
                hold(Partition(state.id), full);
            }
        }
    }

    fn join_at(&mut self, index: usize, floor: EventTime) {
        match &mut self.work {
            Work::Here(direct) => direct.join_at(index, floor),
            Work::Spread(packer) => packer.join_at(index, floor),
        }
        self.partitions[index].floor = Some(floor);
    }

    /// Lets returned partitions go on once the watermark is known at which they returned, and says whether any still waits.
    /// While one waits nothing is polled, so what is held is bounded by one poll.
    pub(super) fn release(&mut self) -> bool {
        let (complete_before, watermark) = (self.view.complete_before.get(), self.view.watermark.get());
        let mut waiting = false;
        for index in 0..self.partitions.len() {
            let state = &mut self.partitions[index];
            if state.phase != Phase::Returned {
                continue;
            }
            if state.returned < complete_before {
                state.enter(Phase::Active);
                self.join_at(index, watermark);
                self.take_held(index);
            } else {
                waiting |= !state.held.is_empty();
            }
        }
        waiting
    }

    /// Whether records of a returned partition wait.
    pub(super) fn holds(&self) -> bool {
        self.partitions.iter().any(|state| !state.held.is_empty())
    }

    fn take_held(&mut self, index: usize) {
        while let Some(held) = {
            let state = &mut self.partitions[index];
            let limit = state.limit;
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
        for (index, partition) in self.partitions.iter_mut().enumerate().filter(|(_, partition)| !partition.dormant) {
            if !self.replaying {
                partition.enter(partition.phase_at(now_ms, self.idle_after_ms));
            }
            // The first mark is of an epoch before the one in which the records of the first poll are sent.
            let standing = match partition.phase {
                // There may be no other epoch in which to tell it.
                Phase::Ended => Standing::Ended,
                _ if partition.announced.is_none() => Standing::Joined,
                Phase::Returned => Standing::Joined,
                Phase::Idle => Standing::Idle,
                Phase::Active => match &self.work {
                    Work::Spread(_) => Standing::InChunks,
                    Work::Here(direct) => match direct.watermark(index) {
                        EventTime::MIN => Standing::Joined,
                        watermark => Standing::At(watermark),
                    },
                },
            };
            let told = partition.announced.replace(standing) != Some(standing);
            if told {
                tell(Mark::Stands { partition: partition.id, standing });
            }
            let (floor, now) = (partition.floor.take(), (partition.next, partition.phase));
            if told || floor.is_some() || partition.bound != Some(now) {
                let joined = partition.bound.is_none().then(|| Joined {
                    label: partition.label.to_string(),
                    from: partition.begins.0,
                    identity: partition.begins.1.clone(),
                });
                let (partition_id, next, phase) = (partition.id, partition.next, partition.phase);
                bindings.push(PartitionBinding { partition: partition_id, joined, next, phase, floor });
                partition.bound = Some(now);
            }
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
        match &mut self.work {
            Work::Here(direct) => self.metrics.decoded(std::mem::take(&mut direct.decoded)),
            Work::Spread(packer) => packer.finish(),
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

    #[inline]
    fn take(&mut self, index: usize, offset: u64, bytes: &[u8]) {
        let partition = &mut self.partitions[index];
        partition.next = offset + 1;
        match &mut self.work {
            Work::Here(direct) => {
                partition.records += 1;
                partition.bytes += bytes.len() as u64;
                if let Err(rejection) = direct.take(index, bytes, self.epoch) {
                    self.letters.refuse(&partition.label, offset, bytes.len() as u64, bytes, rejection);
                }
            }
            // Counted where it is decoded.
            Work::Spread(packer) => packer.take(index, offset, bytes),
        }
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
        let epoch = self.epoch;
        let state = &mut self.partitions[index];
        if !self.replaying && state.phase == Phase::Ended {
            return self.beyond_end(index);
        }
        if !self.replaying && state.phase == Phase::Idle {
            state.enter(Phase::Returned);
            state.returned = epoch;
        }
        state.held.push_back(held);
    }
}

impl<T: Decode> Collector for Intake<T> {
    fn joined(&mut self, partition: Partition, label: &str) {
        let known = self.index.insert(partition.0, self.partitions.len());
        assert!(known.is_none(), "partition {} joined twice", partition.0);
        // In epochs after the first the watermark may be ahead of it, whether or not that is known here yet.
        let phase = if self.epoch > 0 { Phase::Returned } else { Phase::Active };
        match &mut self.work {
            Work::Here(direct) => direct.joined(),
            Work::Spread(packer) => packer.joined(partition.0, label),
        }
        let mut state = PartitionState {
            id: partition.0,
            label: label.into(),
            begins: (0, None),
            dormant: self.replaying,
            phase,
            returned: self.epoch,
            announced: None,
            ended: false,
            empty_since_ms: None,
            limit: 0,
            held: VecDeque::new(),
            full: false,
            beyond_end: false,
            next: 0,
            floor: None,
            bound: None,
            records: 0,
            bytes: 0,
            metrics: self.metrics.partition(label),
        };
        if !self.replaying {
            state.enter(phase);
        }
        self.partitions.push(state);
        if let Some(position) = self.base.positions.remove(&partition.0) {
            self.resume(&position);
        }
    }

    #[inline]
    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
        let index = self.partition(partition);
        let state = &mut self.partitions[index];
        state.empty_since_ms = None;
        if offset < state.limit {
            self.take(index, offset, bytes);
        } else {
            self.hold_record(index, offset, bytes);
        }
    }

    /// Not while anything of the partition is or might have to be held back, record by record.
    fn takes_blocks(&self, partition: Partition) -> bool {
        let state = self.index.get(&partition.0).map(|index| &self.partitions[*index]);
        matches!(self.work, Work::Spread(_))
            && !self.replaying
            && state.is_some_and(|state| state.phase == Phase::Active && state.held.is_empty())
    }

    fn block(&mut self, partition: Partition, block: Box<dyn Block>) {
        let index = self.partition(partition);
        let state = &mut self.partitions[index];
        state.empty_since_ms = None;
        state.next = block.offset() + block.size() as u64;
        let Work::Spread(packer) = &mut self.work else { panic!("blocks are for all workers") };
        packer.take_block(index, block);
    }

    fn rejected(&mut self, partition: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, detail: &str) {
        let index = self.partition(partition);
        let state = &mut self.partitions[index];
        state.empty_since_ms = None;
        let rejection = Rejection::new(reason, detail);
        if offset >= state.limit {
            self.hold(index, Held::Rejected { offset, size, head: head.to_vec(), rejection });
        } else {
            self.refuse(index, offset, size, head, rejection);
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
        // Nothing before it is still to come, also of an epoch that is made again.
        if state.held.is_empty() {
            state.next = state.next.max(next);
        }
    }

    fn journal(&mut self, partition: Partition, bytes: u64, full: bool) {
        let index = self.partition(partition);
        self.partitions[index].metrics.journal(bytes, full);
    }

    fn ended(&mut self, partition: Partition) {
        let index = self.partition(partition);
        self.partitions[index].ended = true;
        self.partitions[index].metrics.lag(0);
    }
}

#[cfg(test)]
mod tests;
