//! What a worker's source knows of its partitions, and what becomes of each record they hand over.
//!
//! Pure of timely: it collects a batch of records, the dead letters and the changes of the partitions' standing, which the
//! operator sends on.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hashbrown::HashMap;

use super::Validations;
use crate::connectors::source::{Collector, Partition};
use crate::operators::admission::{Admission, TimeRules};
use crate::operators::watermark::{Mark, Standing, WatermarkView};
use crate::record::{DEAD_LETTER_BYTES_MAX, DeadLetter, Decode, Decoder, Reason, Rejection};
use crate::telemetry::{PartitionMetrics, SourceMetrics};
use crate::time::{Epoch, EventTime};

/// About how large a batch of records is.
const BATCH_BYTES: usize = 32 * 1024;

/// Takes what the reader reads.
pub(super) struct Intake<T: Decode> {
    name: String,
    options: T::Options,
    rules: TimeRules,
    validations: Validations<T>,
    view: Rc<WatermarkView>,
    pub(super) metrics: SourceMetrics,
    partitions: Vec<PartitionState<T>>,
    index: HashMap<u32, usize>,
    /// The partition that spoke last; most often it speaks again.
    last: (u32, usize),
    /// Records of partitions that came back from idleness, until the watermark they come back to is known.
    held: Vec<Held>,
    /// The epoch in which records are read now.
    pub(super) epoch: Epoch,
    /// Records that decoded since they were counted, refused or not.
    decoded: u64,
    /// Records to send on, in batches that fit the first-level caches and the allocator's small sizes.
    pub(super) batches: Vec<Vec<T>>,
    batch: Vec<T>,
    /// Dead letters to send on.
    pub(super) letters: Vec<DeadLetter>,
}

struct Held {
    partition: usize,
    offset: u64,
    bytes: Vec<u8>,
}

struct PartitionState<T: Decode> {
    id: u32,
    label: Rc<str>,
    decoder: T::Decoder,
    admission: Admission,
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
        name: String,
        options: T::Options,
        rules: TimeRules,
        validations: Validations<T>,
        view: Rc<WatermarkView>,
        metrics: SourceMetrics,
    ) -> Self {
        Intake {
            name,
            options,
            rules,
            validations,
            view,
            metrics,
            partitions: Vec::new(),
            index: HashMap::new(),
            last: (u32::MAX, usize::MAX),
            held: Vec::new(),
            epoch: 0,
            decoded: 0,
            batches: Vec::new(),
            batch: Vec::new(),
            letters: Vec::new(),
        }
    }

    /// Lets returned partitions go on once the watermark is known at which they returned, and says whether any still waits.
    /// While one waits nothing is polled, so what is held is bounded by one poll.
    pub(super) fn release(&mut self) -> bool {
        let (complete_before, watermark) = (self.view.complete_before.get(), self.view.watermark.get());
        for partition in &mut self.partitions {
            if partition.returned.is_some_and(|epoch| epoch < complete_before) {
                partition.returned = None;
                partition.admission.join_at(watermark);
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
        let idle_after_ms = u64::try_from(self.rules.idle_after.as_millis()).unwrap_or(u64::MAX);
        for partition in &mut self.partitions {
            let idle = partition.empty_since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= idle_after_ms);
            let watermark = partition.admission.watermark();
            let standing = if partition.returned.is_some() {
                Standing::Joined
            } else if partition.ended {
                Standing::Ended
            } else if idle {
                Standing::Idle
            } else if watermark == EventTime::MIN {
                Standing::Joined
            } else {
                Standing::At(watermark)
            };
            if partition.announced != Some(standing) {
                partition.announced = Some(standing);
                tell(Mark { partition: partition.id, standing });
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
        if !self.batch.is_empty() {
            self.batches.push(std::mem::take(&mut self.batch));
        }
        self.metrics.decoded(std::mem::take(&mut self.decoded));
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
        partition.records += 1;
        partition.bytes += bytes.len() as u64;
        let refusal = match partition.decoder.decode(bytes, self.epoch) {
            Err(rejection) => rejection,
            Ok(record) => {
                self.decoded += 1;
                let invalid = self.validations.borrow().iter().find_map(|valid| valid(&record).err());
                let admitted = match (invalid, record.time()) {
                    (Some(detail), _) => Err(Rejection::new(Reason::Invalid, detail)),
                    (None, Some(time)) => partition.admission.admit(time, self.epoch),
                    (None, None) => Ok(()),
                };
                match admitted {
                    Ok(()) => return self.keep(record),
                    Err(rejection) => rejection,
                }
            }
        };
        self.refuse(index, offset, bytes.len() as u64, bytes, refusal);
    }

    #[inline]
    fn keep(&mut self, record: T) {
        if self.batch.len() == self.batch.capacity() {
            let next = Vec::with_capacity((BATCH_BYTES / size_of::<T>().max(1)).clamp(16, 4096));
            let full = std::mem::replace(&mut self.batch, next);
            if !full.is_empty() {
                self.batches.push(full);
            }
        }
        self.batch.push(record);
    }

    /// Records in the batches to send on.
    pub(super) fn admitted(&self) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }

    #[cold]
    fn refuse(&mut self, index: usize, offset: u64, size: u64, bytes: &[u8], rejection: Rejection) {
        self.metrics.dead_letters(rejection.reason, 1);
        let (text, base64) = match std::str::from_utf8(bytes) {
            Ok(text) => (Some(text[..text.floor_char_boundary(DEAD_LETTER_BYTES_MAX)].to_owned()), None),
            Err(_) => (None, Some(BASE64.encode(&bytes[..bytes.len().min(DEAD_LETTER_BYTES_MAX)]))),
        };
        self.letters.push(DeadLetter {
            reason: rejection.reason,
            detail: rejection.detail,
            source: self.name.clone(),
            partition: self.partitions[index].label.to_string(),
            offset,
            size,
            text,
            base64,
        });
    }
}

impl<T: Decode> Collector for Intake<T> {
    fn joined(&mut self, partition: Partition, label: &str) {
        let known = self.index.insert(partition.0, self.partitions.len());
        assert!(known.is_none(), "source {:?}: partition {} joined twice", self.name, partition.0);
        // Before the first epoch nothing can have been missed; later on the watermark may be ahead of the newcomer.
        let returned = (self.view.complete_before.get() > 0).then_some(self.epoch);
        self.partitions.push(PartitionState {
            id: partition.0,
            label: label.into(),
            decoder: T::decoder(&self.options),
            admission: Admission::new(&self.rules),
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

    fn rejected(&mut self, partition: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, detail: &str) {
        let index = self.partition(partition);
        let state = &mut self.partitions[index];
        state.empty_since_ms = None;
        state.records += 1;
        state.bytes += size;
        self.refuse(index, offset, size, head, Rejection::new(reason, detail));
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
