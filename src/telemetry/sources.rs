//! Handles of a source and of its partitions.
//!
//! A record that is read is counted once, by its partition, and the source's own counters follow: read = decoded + dead
//! letters of records that did not decode.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use prometheus::{Counter, Gauge, IntCounter};

use super::distribution::{Distribution, Durations};
use super::metrics::{Families, lock};
use super::table::Metric;
use super::totals::SourceTotals;
use crate::error::Shown;
use crate::record::Reason;
use crate::time::{Epoch, EventTime};

/// The most partitions of one source on one worker that have series of their own; all others share the label `other`.
pub const PARTITION_LABELS_MAX: usize = 1000;

/// Why something that a source would read by its name is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// Its name is not UTF-8.
    NotUtf8,
    /// It is a directory, a pipe, a socket or a device.
    NotAFile,
    /// It is a symbolic link to nothing, or to itself.
    BrokenLink,
    /// This user may not read it, or the file system cannot.
    Unreadable,
    /// It is compressed.
    Compressed,
    /// It is another name of something that is read already.
    Duplicate,
    /// It is in too many folders.
    TooDeep,
    /// The hash of its path is that of another path.
    Collision,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [SkipReason; 8] = [
        SkipReason::NotUtf8,
        SkipReason::NotAFile,
        SkipReason::BrokenLink,
        SkipReason::Unreadable,
        SkipReason::Compressed,
        SkipReason::Duplicate,
        SkipReason::TooDeep,
        SkipReason::Collision,
    ];

    /// The reason as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            SkipReason::NotUtf8 => "not_utf8",
            SkipReason::NotAFile => "not_a_file",
            SkipReason::BrokenLink => "broken_link",
            SkipReason::Unreadable => "unreadable",
            SkipReason::Compressed => "compressed",
            SkipReason::Duplicate => "duplicate",
            SkipReason::TooDeep => "too_deep",
            SkipReason::Collision => "collision",
        }
    }
}

/// The handles of one source on one worker. Cheap to clone.
#[derive(Clone)]
pub struct SourceMetrics {
    inner: Arc<Inner>,
}

struct Inner {
    families: Families,
    source: String,
    worker: String,
    records: IntCounter,
    bytes: IntCounter,
    decoded: IntCounter,
    dead_letters: [IntCounter; Reason::ALL.len()],
    watermark: OnceLock<(Gauge, Gauge)>,
    connected: Gauge,
    epochs_in_flight: Gauge,
    backpressured: Counter,
    release: Durations,
    partitions: Mutex<BTreeMap<String, PartitionMetrics>>,
}

impl SourceMetrics {
    pub(super) fn new(families: &Families, source: &str, worker: usize) -> Self {
        let worker = worker.to_string();
        let labels: [&str; 2] = [source, &worker];
        let dead = |reason: Reason| families.counter(Metric::DeadLetters, &[source, &worker, reason.as_str()]);
        let inner = Inner {
            families: families.clone(),
            records: families.counter(Metric::SourceRecords, &labels),
            bytes: families.counter(Metric::SourceBytes, &labels),
            decoded: families.counter(Metric::SourceDecoded, &labels),
            dead_letters: Reason::ALL.map(dead),
            watermark: OnceLock::new(),
            connected: families.gauge(Metric::SourceConnected, &labels),
            epochs_in_flight: families.gauge(Metric::SourceEpochsInFlight, &labels),
            backpressured: families.seconds(Metric::SourceBackpressured, &labels),
            release: families.histogram(Metric::SourceRelease, &labels),
            partitions: Mutex::default(),
            source: source.to_owned(),
            worker,
        };
        SourceMetrics { inner: Arc::new(inner) }
    }

    /// The handles of the partition that its connector calls `label`; fetch them once, when it is joined.
    pub fn partition(&self, label: &str) -> PartitionMetrics {
        let mut partitions = lock(&self.inner.partitions);
        if let Some(known) = partitions.get(label) {
            return known.clone();
        }
        if partitions.len() >= PARTITION_LABELS_MAX {
            return PartitionMetrics::new(&self.inner, "other");
        }
        let partition = PartitionMetrics::new(&self.inner, label);
        partitions.insert(label.to_owned(), partition.clone());
        partition
    }

    /// `records` decoded.
    pub fn decoded(&self, records: u64) {
        self.inner.decoded.inc_by(records);
    }

    /// `records` became dead letters for `reason`.
    pub fn dead_letters(&self, reason: Reason, records: u64) {
        self.inner.dead_letters[index(reason)].inc_by(records);
    }

    /// `paths` are not read for `reason`, and were not counted before.
    pub fn skipped(&self, reason: SkipReason, paths: u64) {
        let labels = [self.inner.source.as_str(), reason.as_str()];
        self.inner.families.counter(Metric::SourceSkipped, &labels).inc_by(paths);
    }

    /// The source's watermark is `watermark` at `epoch`. The ends of time are no watermark and change nothing, except that
    /// at [`EventTime::MAX`] nothing is behind any more.
    pub fn watermark(&self, watermark: EventTime, epoch: Epoch) {
        if watermark == EventTime::MIN {
            return;
        }
        if watermark == EventTime::MAX {
            if let Some((_, lag)) = self.inner.watermark.get() {
                lag.set(0.0);
            }
            return;
        }
        let (at, lag) = self.inner.watermark.get_or_init(|| {
            let gauge = |metric| self.inner.families.gauge(metric, &[&self.inner.source, &self.inner.worker]);
            (gauge(Metric::SourceWatermark), gauge(Metric::SourceWatermarkLag))
        });
        at.set(watermark.millis() as f64 / 1000.0);
        lag.set((epoch as f64 - watermark.millis() as f64) / 1000.0);
    }

    /// Whether the connector reaches its external system.
    pub fn connected(&self, yes: bool) {
        self.inner.connected.set(f64::from(u8::from(yes)));
    }

    /// `epochs` have begun and are not finished.
    pub fn epochs_in_flight(&self, epochs: usize) {
        self.inner.epochs_in_flight.set(epochs as f64);
    }

    /// The source held back for `time` because too many epochs were in flight.
    pub fn backpressured(&self, time: Duration) {
        self.inner.backpressured.inc_by(time.as_secs_f64());
    }

    /// The epochs of earlier runs are made again, after `time`.
    pub fn replayed(&self, time: Duration) {
        let labels = [self.inner.source.as_str(), &self.inner.worker];
        self.inner.families.gauge(Metric::SourceReplay, &labels).set(time.as_secs_f64());
    }

    /// Records were released: how long after they were read, and how many of them.
    pub fn released(&self, durations: impl IntoIterator<Item = (Duration, u64)>) {
        self.inner.release.record(durations);
    }

    /// How long records took to be released.
    pub fn latency(&self) -> Distribution {
        self.inner.release.get()
    }

    pub(super) fn add_to(&self, totals: &mut SourceTotals) {
        totals.read += self.inner.records.get();
        totals.bytes += self.inner.bytes.get();
        totals.decoded += self.inner.decoded.get();
        for reason in Reason::ALL {
            *totals.dead_letters.entry(reason).or_default() += self.inner.dead_letters[index(reason)].get();
        }
    }
}

fn index(reason: Reason) -> usize {
    Reason::ALL.iter().position(|r| *r == reason).expect("ALL holds every reason")
}

/// The handles of one partition. Cheap to clone.
#[derive(Clone)]
pub struct PartitionMetrics {
    inner: Arc<PartitionInner>,
}

struct PartitionInner {
    families: Families,
    source: String,
    label: String,
    records: IntCounter,
    bytes: IntCounter,
    source_records: IntCounter,
    source_bytes: IntCounter,
    lag: OnceLock<Gauge>,
    /// Size of the journal, and whether it is full.
    journal: OnceLock<(Gauge, Gauge)>,
    /// What this partition has added to its gauge, which it may share with others.
    lag_now: AtomicU64,
}

impl PartitionMetrics {
    fn new(source: &Inner, label: &str) -> Self {
        // Whoever scrapes may show it on a terminal.
        let label = Shown::from(label).to_string();
        let labels: [&str; 2] = [&source.source, &label];
        let inner = PartitionInner {
            families: source.families.clone(),
            source: source.source.clone(),
            records: source.families.counter(Metric::PartitionRecords, &labels),
            bytes: source.families.counter(Metric::PartitionBytes, &labels),
            label,
            source_records: source.records.clone(),
            source_bytes: source.bytes.clone(),
            lag: OnceLock::new(),
            journal: OnceLock::new(),
            lag_now: AtomicU64::new(0),
        };
        PartitionMetrics { inner: Arc::new(inner) }
    }

    /// `records` were read, of `bytes` in all; whatever becomes of them. Counts for the source, too.
    pub fn read(&self, records: u64, bytes: u64) {
        self.inner.records.inc_by(records);
        self.inner.bytes.inc_by(bytes);
        self.inner.source_records.inc_by(records);
        self.inner.source_bytes.inc_by(bytes);
    }

    /// The partition is `lag` records (bytes, for a file) ahead of the reader. Call it with 0 when the partition ends.
    pub fn lag(&self, lag: u64) {
        let gauge = self
            .inner
            .lag
            .get_or_init(|| self.inner.families.gauge(Metric::PartitionLag, &[&self.inner.source, &self.inner.label]));
        let before = self.inner.lag_now.swap(lag, Ordering::Relaxed);
        gauge.add(lag as f64 - before as f64);
    }

    /// So many records of the partition were gone before they were read.
    pub fn gap(&self, records: u64) {
        let labels = [self.inner.source.as_str(), self.inner.label.as_str()];
        self.inner.families.counter(Metric::PartitionGap, &labels).inc_by(records);
    }

    /// The journal of the partition has so many bytes, and is full or not.
    pub fn journal(&self, bytes: u64, full: bool) {
        let (size, is_full) = self.inner.journal.get_or_init(|| {
            let gauge = |metric| self.inner.families.gauge(metric, &[&self.inner.source, &self.inner.label]);
            (gauge(Metric::JournalBytes), gauge(Metric::JournalFull))
        });
        size.set(bytes as f64);
        is_full.set(f64::from(u8::from(full)));
    }
}
