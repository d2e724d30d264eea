//! Handles of the binding log.

use std::time::Duration;

use prometheus::IntCounter;

use super::distribution::Durations;
use super::metrics::Families;
use super::table::Metric;

/// The handles of a process's binding log. Cheap to clone.
#[derive(Clone)]
pub struct BindingMetrics {
    flush: Durations,
    bytes: IntCounter,
}

impl BindingMetrics {
    pub(super) fn new(families: &Families) -> Self {
        BindingMetrics {
            flush: families.histogram(Metric::BindingFlush, &[]),
            bytes: families.counter(Metric::BindingBytes, &[]),
        }
    }

    /// `bytes` of bindings were made durable, which took `took`.
    pub fn flushed(&self, took: Duration, bytes: usize) {
        self.flush.record([(took, 1)]);
        self.bytes.inc_by(bytes as u64);
    }
}
