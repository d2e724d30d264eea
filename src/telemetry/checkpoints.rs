//! Handles of a process's checkpoints.

use std::time::Duration;

use prometheus::{Gauge, IntCounter};

use super::distribution::Durations;
use super::metrics::{Families, seconds};
use super::table::Metric;

/// Metrics of checkpoints. Cheap to clone.
#[derive(Clone)]
pub struct CheckpointMetrics {
    took: Durations,
    paused: Durations,
    families: Families,
    failures: IntCounter,
}

impl CheckpointMetrics {
    pub(super) fn new(families: &Families) -> Self {
        CheckpointMetrics {
            took: families.histogram(Metric::Checkpoint, &[]),
            paused: families.histogram(Metric::CheckpointPause, &[]),
            failures: families.counter(Metric::CheckpointFailures, &[]),
            families: families.clone(),
        }
    }

    /// The checkpoint of `epoch` is complete: `bytes` in all, and it took `took`.
    pub fn completed(&self, epoch: u64, bytes: u64, took: Duration) {
        let gauge = |metric| -> Gauge { self.families.gauge(metric, &[]) };
        self.took.record([(took, 1)]);
        gauge(Metric::CheckpointEpoch).set(seconds(epoch));
        gauge(Metric::CheckpointBytes).set(bytes as f64);
    }

    /// A checkpoint could not be written.
    pub fn failed(&self) {
        self.failures.inc();
    }

    /// A worker was blocked for this long.
    pub fn paused(&self, took: Duration) {
        self.paused.record([(took, 1)]);
    }
}
