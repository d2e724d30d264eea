//! What a worker's source knows of its partitions, and what becomes of each record they hand over.
//!
//! Pure of timely: it collects records, decoded or not, the dead letters and the changes of the partitions' standing, which
//! the operator sends on.

use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;

use super::direct::Direct;
use super::letter::Letters;
use super::spread::Packer;
use crate::connectors::source::{Block, Collector, Partition};
use crate::operators::watermark::{Mark, Standing, WatermarkView};
use crate::record::{Decode, Reason, Rejection};
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
    idle_after_ms: u64,
    view: Rc<WatermarkView>,
    pub(super) metrics: SourceMetrics,
    partitions: Vec<PartitionState>,
    index: HashMap<u32, usize>,
    /// The partition that spoke last; most often it speaks again.
    last: (u32, usize),
    /// Records of partitions that came back from idleness, until the watermark they come back to is known.
    held: Vec<Held>,
    /// The epoch in which records are read now.
    pub(super) epoch: Epoch,
    pub(super) work: Work<T>,
    pub(super) letters: Letters,
}

struct Held {
    partition: usize,
    offset: u64,
    bytes: Vec<u8>,
}

struct PartitionState {
    id: u32,
    label: Rc<str>,
    announced: Option<Standing>,
    /// It came back, and stands still since this epoch.
    returned: Option<Epoch>,
    ended: bool,
    /// Since when fetches come back empty.
    empty_since_ms: Option<u64>,
    records: u64,
    bytes: u64,
    metrics: PartitionMetrics,
}

impl<T: Decode> Intake<T> {
    pub(super) fn new(
        name: &str,
        idle_after: Duration,
        view: Rc<WatermarkView>,
        metrics: SourceMetrics,
        work: Work<T>,
    ) -> Self {
        Intake {
            idle_after_ms: u64::try_from(idle_after.as_millis()).unwrap_or(u64::MAX),
            view,
            partitions: Vec::new(),
            index: HashMap::new(),
            last: (u32::MAX, usize::MAX),
            held: Vec::new(),
            epoch: 0,
            work,
            letters: Letters::new(name, metrics.clone()),
            metrics,
        }
    }

    /// Lets returned partitions go on once the watermark is known at which they returned, and says whether any still waits.
    /// While one waits nothing is polled, so what is held is bounded by one poll.
    pub(super) fn release(&mut self) -> bool {
        let (complete_before, watermark) = (self.view.complete_before.get(), self.view.watermark.get());
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            if partition.returned.is_some_and(|epoch| epoch < complete_before) {
                partition.returned = None;
                match &mut self.work {
                    Work::Here(direct) => direct.join_at(index, watermark),
                    Work::Spread(packer) => packer.join_at(index, watermark),
                }
            }
        }
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let (waiting, ready) = held.into_iter().partition(|h| self.partitions[h.partition].returned.is_some());
            self.held = waiting;
            let ready: Vec<Held> = ready;
            ready.iter().for_each(|h| self.take(h.partition, h.offset, &h.bytes));
        }
        !self.held.is_empty()
    }

    /// Whether records of a returned partition wait.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Tells how the partitions' standing changed since it was last told.
    pub(super) fn marks(&mut self, now_ms: u64, mut tell: impl FnMut(Mark)) {
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            let empty_for = partition.empty_since_ms.map(|since| now_ms.saturating_sub(since));
            // The first mark is of an epoch before the one in which the records of the first poll are sent.
            let standing = if partition.announced.is_none() || partition.returned.is_some() {
                Standing::Joined
            } else if partition.ended {
                Standing::Ended
            } else if empty_for.is_some_and(|ms| ms >= self.idle_after_ms) {
                Standing::Idle
            } else {
                match &self.work {
                    Work::Spread(_) => Standing::InChunks,
                    Work::Here(direct) => match direct.watermark(index) {
                        EventTime::MIN => Standing::Joined,
                        watermark => Standing::At(watermark),
                    },
                }
            };
            if partition.announced != Some(standing) {
                partition.announced = Some(standing);
                tell(Mark::Stands { partition: partition.id, standing });
            }
        }
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
        match &mut self.work {
            Work::Here(direct) => {
                let partition = &mut self.partitions[index];
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
}

impl<T: Decode> Collector for Intake<T> {
    fn joined(&mut self, partition: Partition, label: &str) {
        let known = self.index.insert(partition.0, self.partitions.len());
        assert!(known.is_none(), "partition {} joined twice", partition.0);
        // Before the first epoch nothing can have been missed; later on the watermark may be ahead of the newcomer.
        let returned = (self.view.complete_before.get() > 0).then_some(self.epoch);
        match &mut self.work {
            Work::Here(direct) => direct.joined(),
            Work::Spread(packer) => packer.joined(partition.0, label),
        }
        self.partitions.push(PartitionState {
            id: partition.0,
            label: label.into(),
            announced: None,
            returned,
            ended: false,
            empty_since_ms: None,
            records: 0,
            bytes: 0,
            metrics: self.metrics.partition(label),
        });
    }

    #[inline]
    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
        let index = self.partition(partition);
        let state = &mut self.partitions[index];
        state.empty_since_ms = None;
        if state.announced == Some(Standing::Idle) && state.returned.is_none() {
            state.returned = Some(self.epoch);
        }
        if state.returned.is_some() {
            self.held.push(Held { partition: index, offset, bytes: bytes.to_vec() });
        } else {
            self.take(index, offset, bytes);
        }
    }

    /// Not while a partition is idle or coming back: what it reads is then held back record by record.
    fn takes_blocks(&self, partition: Partition) -> bool {
        let state = self.index.get(&partition.0).map(|index| &self.partitions[*index]);
        matches!(self.work, Work::Spread(_))
            && state.is_some_and(|s| s.returned.is_none() && s.announced != Some(Standing::Idle))
    }

    fn block(&mut self, partition: Partition, block: Box<dyn Block>) {
        let index = self.partition(partition);
        self.partitions[index].empty_since_ms = None;
        let Work::Spread(packer) = &mut self.work else { panic!("blocks are for all workers") };
        packer.take_block(index, block);
    }

    fn rejected(&mut self, partition: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, detail: &str) {
        let index = self.partition(partition);
        let state = &mut self.partitions[index];
        state.empty_since_ms = None;
        state.records += 1;
        state.bytes += size;
        self.letters.refuse(&state.label, offset, size, head, Rejection::new(reason, detail));
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

    fn ended(&mut self, partition: Partition) {
        let index = self.partition(partition);
        self.partitions[index].ended = true;
        self.partitions[index].metrics.lag(0);
    }
}
