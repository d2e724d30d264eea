//! The messages between a process and its supervisor: one JSON value a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::telemetry::{Distribution, Totals, Usage};

/// What the supervisor sends to ask a process to finish.
pub(super) const STOP: &[u8] = b"stop\n";

/// The longest line, in bytes: totals grow with the number of sources, stages and sinks.
pub(super) const LINE_BYTES_MAX: usize = 4 << 20;

/// What a process reports to its supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Which process this is; comes first.
    Hello {
        /// Its index in the cluster.
        process: usize,
    },
    /// It is alive; sent every second.
    Alive,
    /// It got a signal to stop.
    Signalled,
    /// It has completed its part of the dataflow.
    Finished(Finished),
    /// It failed, and is about to exit.
    Failed {
        /// The exit code.
        code: u8,
        /// Its error as text.
        message: String,
    },
    /// It lost another process, and is about to exit.
    Lost {
        /// Which one, and how that was noticed.
        message: String,
    },
}

/// What a process, or all of them together, did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The totals of its counters.
    pub totals: Totals,
    /// How long the dataflow ran, in seconds.
    pub seconds: f64,
    /// How long records took from being read to being released, per source.
    pub latency: BTreeMap<String, Distribution>,
    /// What it cost.
    pub usage: Usage,
}

impl Finished {
    /// Adds what another process did at the same time.
    pub fn merge(&mut self, other: &Finished) {
        self.totals.merge(&other.totals);
        self.seconds = self.seconds.max(other.seconds);
        for (source, latency) in &other.latency {
            self.latency.entry(source.clone()).or_default().merge(latency);
        }
        self.usage.add(&other.usage);
    }
}
