//! Handles of a sink.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Gauge, IntCounter};

use super::distribution::Durations;
use super::metrics::{Families, seconds};
use super::table::Metric;
use super::totals::SinkTotals;
use crate::time::Epoch;

/// The handles of one sink on one worker. Cheap to clone.
#[derive(Clone)]
pub struct SinkMetrics {
    inner: Arc<Inner>,
}

struct Inner {
    families: Families,
    sink: String,
    worker: String,
    records: IntCounter,
    bytes: IntCounter,
    commit: Durations,
    durable: OnceLock<Gauge>,
    errors: IntCounter,
    retries: IntCounter,
}

impl SinkMetrics {
    pub(super) fn new(families: &Families, sink: &str, worker: usize) -> Self {
        let worker = worker.to_string();
        let labels: [&str; 2] = [sink, &worker];
        let inner = Inner {
            families: families.clone(),
            sink: sink.to_owned(),
            records: families.counter(Metric::SinkRecords, &labels),
            bytes: families.counter(Metric::SinkBytes, &labels),
            commit: families.histogram(Metric::SinkCommit, &labels),
            durable: OnceLock::new(),
            errors: families.counter(Metric::SinkErrors, &labels),
            retries: families.counter(Metric::SinkRetries, &labels),
            worker,
        };
        SinkMetrics { inner: Arc::new(inner) }
    }

    /// `records` rows, `bytes` in all, were handed to the sink.
    pub fn written(&self, records: u64, bytes: u64) {
        self.inner.records.inc_by(records);
        self.inner.bytes.inc_by(bytes);
    }

    /// All rows up to `epoch` are durable, `latency` after it was sealed.
    pub fn durable(&self, epoch: Epoch, latency: Duration) {
        self.inner.commit.record([(latency, 1)]);
        let labels = [self.inner.sink.as_str(), &self.inner.worker];
        let gauge = self.inner.durable.get_or_init(|| self.inner.families.gauge(Metric::SinkDurable, &labels));
        gauge.set(seconds(epoch));
    }

    /// The external system refused `writes`.
    pub fn errors(&self, writes: u64) {
        self.inner.errors.inc_by(writes);
    }

    /// `writes` were retried.
    pub fn retries(&self, writes: u64) {
        self.inner.retries.inc_by(writes);
    }

    pub(super) fn add_to(&self, totals: &mut SinkTotals) {
        totals.records += self.inner.records.get();
        totals.bytes += self.inner.bytes.get();
    }
}
