//! The results of a benchmark, as they are written and read as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::collection::Collection;
use crate::cli::report::RunReport;
use crate::record::Reason;
use crate::telemetry::Distribution;

/// Everything that was measured, and what is needed to measure it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BenchResults {
    /// The version of this program.
    pub version: String,
    /// The build: a hash of the executable.
    pub build: String,
    /// The profile that it was built with.
    #[serde(default)]
    pub profile: String,
    /// When the first run began.
    pub began: String,
    pub machine: Machine,
    pub dataflow: String,
    /// The file of `--config`.
    pub config: Option<String>,
    /// The values of `--set`.
    pub set: Vec<String>,
    /// What was generated; other sources read what the configuration says.
    pub generated: Vec<Generated>,
    /// Records per second that arrived; `None` for as fast as they were read.
    pub rate: Option<u64>,
    pub warmup: u16,
    /// Sinks whose number of rows may differ.
    pub changes: Vec<String>,
    pub combinations: Vec<Measured>,
}

/// The machine of a measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Cores that the process may use.
    pub cores: usize,
    pub memory_bytes: Option<u64>,
    pub cpu: Option<String>,
    pub system: String,
}

/// The generated records of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generated {
    pub source: String,
    pub records: u64,
    /// Without delimiters.
    pub bytes: u64,
    pub partitions: usize,
}

/// How many processes there are, of how many workers each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Combination {
    pub processes: u16,
    pub workers: u16,
}

impl Combination {
    pub fn workers_in_all(self) -> f64 {
        f64::from(self.processes) * f64::from(self.workers)
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.processes, self.workers)
    }
}

/// The counted runs of a combination, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    #[serde(flatten)]
    pub combination: Combination,
    pub runs: Vec<MeasuredRun>,
    /// The collections that the changes add up to, by sink, for each run that wrote them to files of its own, warm-ups
    /// included.
    #[serde(default)]
    pub collections: Vec<BTreeMap<String, Collection>>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MeasuredRun {
    /// From the beginning of the dataflow to its end, start and end of the processes excluded.
    pub seconds: f64,
    /// CPU time of its processes, start and end included.
    pub cpu_seconds: f64,
    /// The peak of the memory in RAM, summed over its processes.
    pub memory_peak_bytes: Option<u64>,
    /// Bytes of the records read.
    pub bytes: u64,
    #[serde(flatten)]
    pub answer: Answer,
    /// From read to release, over all sources; only of runs at a rate.
    pub latency: Option<Latency>,
}

/// The results that have to be the same in every run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Records read, by source.
    pub records: BTreeMap<String, u64>,
    /// By source and reason; only those that occurred.
    pub dead_letters: BTreeMap<String, BTreeMap<Reason, u64>>,
    /// Rows written, by sink.
    pub rows: BTreeMap<String, u64>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p99_9_ms: f64,
    pub max_ms: f64,
}

impl MeasuredRun {
    /// From a run's report; with latency only if that is meaningful.
    pub fn of(report: &RunReport, at_rate: bool) -> Self {
        let (finished, totals) = (&report.finished, &report.finished.totals);
        let dead = |letters: &BTreeMap<Reason, u64>| letters.clone().into_iter().filter(|(_, n)| *n > 0).collect();
        let mut latency = Distribution::default();
        finished.latency.values().for_each(|source| latency.merge(source));
        MeasuredRun {
            seconds: finished.seconds,
            cpu_seconds: finished.usage.cpu_seconds,
            memory_peak_bytes: finished.usage.memory_peak_bytes,
            bytes: totals.sources.values().map(|source| source.bytes).sum(),
            answer: Answer {
                records: totals.sources.iter().map(|(name, source)| (name.clone(), source.read)).collect(),
                dead_letters: totals
                    .sources
                    .iter()
                    .map(|(name, source)| (name.clone(), dead(&source.dead_letters)))
                    .filter(|(_, letters): &(_, BTreeMap<_, _>)| !letters.is_empty())
                    .collect(),
                rows: totals.sinks.iter().map(|(name, sink)| (name.clone(), sink.records)).collect(),
            },
            latency: at_rate.then(|| Latency::of(&latency)).flatten(),
        }
    }

    pub fn records(&self) -> u64 {
        self.answer.records.values().sum()
    }

    pub fn events_per_second(&self) -> f64 {
        self.records() as f64 / self.seconds.max(1e-9)
    }

    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9)
    }

    pub fn cpu_us_per_event(&self) -> f64 {
        self.cpu_seconds * 1e6 / (self.records() as f64).max(1.0)
    }

    /// How many cores it kept busy.
    pub fn cores(&self) -> f64 {
        self.cpu_seconds / self.seconds.max(1e-9)
    }
}

impl Latency {
    fn of(distribution: &Distribution) -> Option<Self> {
        let ms = |q: f64| distribution.quantile(q).map(|time| time.as_micros() as f64 / 1e3);
        Some(Latency { p50_ms: ms(0.5)?, p99_ms: ms(0.99)?, p99_9_ms: ms(0.999)?, max_ms: ms(1.0)? })
    }
}

impl Answer {
    /// What is different in `other`, in words; the number of rows of the sinks `changes` may be.
    pub fn difference(&self, other: &Answer, changes: &[String]) -> Option<String> {
        let counts = |answer: &Answer| {
            let mut counts = BTreeMap::new();
            counts.extend(answer.records.iter().map(|(name, n)| (format!("records read of source {name:?}"), *n)));
            for (name, letters) in &answer.dead_letters {
                let count = |(reason, n): (&Reason, &u64)| (format!("dead letters {reason} of source {name:?}"), *n);
                counts.extend(letters.iter().map(count));
            }
            let rows = answer.rows.iter().filter(|(name, _)| !changes.contains(name));
            counts.extend(rows.map(|(name, n)| (format!("rows of sink {name:?}"), *n)));
            counts
        };
        let (ours, theirs) = (counts(self), counts(other));
        let differs = |what: &&String| ours.get(*what) != theirs.get(*what);
        let what = ours.keys().chain(theirs.keys()).find(differs)?;
        let count = |counts: &BTreeMap<String, u64>| counts.get(what).copied().unwrap_or(0);
        Some(format!("{what}: {} and {}", count(&ours), count(&theirs)))
    }
}
