//! Computes the figures of runs: medians with their spread, and whether the runs agree.

use std::collections::BTreeMap;

use super::collection::Collection;
use super::results::{BenchResults, Combination, Latency, Measured, MeasuredRun};
use crate::error::{Error, ErrorKind, Result};

/// The median of some values, with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of some values; `None` if there are none. The median of an even number of values is the mean of the two in the
    /// middle.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { median: f64::midpoint(low, high), min, max })
    }

    /// The same in another unit.
    pub fn times(self, factor: f64) -> Self {
        Spread { median: self.median * factor, min: self.min * factor, max: self.max * factor }
    }
}

/// The figures of one combination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub combination: Combination,
    pub events_per_second: Spread,
    pub bytes_per_second: Spread,
    pub seconds: Spread,
    pub cpu_seconds: Spread,
    pub cpu_us_per_event: Spread,
    pub cores: Spread,
    pub memory_peak_bytes: Option<Spread>,
    /// The 50th, 99th and 99.9th percentile and the maximum, in milliseconds.
    pub latency_ms: Option<[Spread; 4]>,
}

impl Figures {
    /// Of the runs of one combination; `None` if there are none.
    pub fn of(measured: &Measured) -> Option<Self> {
        let spread = |figure: fn(&MeasuredRun) -> f64| Spread::of(measured.runs.iter().map(figure));
        let latency = |figure: fn(Latency) -> f64| {
            let figures: Option<Vec<f64>> = measured.runs.iter().map(|run| run.latency.map(figure)).collect();
            Spread::of(figures?)
        };
        let memory: Option<Vec<f64>> =
            measured.runs.iter().map(|run| run.memory_peak_bytes.map(|bytes| bytes as f64)).collect();
        let latency_ms = (|| {
            Some([latency(|l| l.p50_ms)?, latency(|l| l.p99_ms)?, latency(|l| l.p99_9_ms)?, latency(|l| l.max_ms)?])
        })();
        Some(Figures {
            combination: measured.combination,
            events_per_second: spread(MeasuredRun::events_per_second)?,
            bytes_per_second: spread(MeasuredRun::bytes_per_second)?,
            seconds: spread(|run| run.seconds)?,
            cpu_seconds: spread(|run| run.cpu_seconds)?,
            cpu_us_per_event: spread(MeasuredRun::cpu_us_per_event)?,
            cores: spread(MeasuredRun::cores)?,
            memory_peak_bytes: memory.and_then(Spread::of),
            latency_ms,
        })
    }

    /// How many times as fast as `first` this is.
    pub fn speed_up(&self, first: &Figures) -> f64 {
        self.events_per_second.median / first.events_per_second.median
    }

    /// The speed per worker as a share of that of `first`.
    pub fn per_worker(&self, first: &Figures) -> f64 {
        self.speed_up(first) * first.combination.workers_in_all() / self.combination.workers_in_all()
    }
}

/// The figures of all combinations, in their order.
pub(super) fn figures(results: &BenchResults) -> Vec<Figures> {
    results.combinations.iter().filter_map(Figures::of).collect()
}

/// Compares every run with the first one: a benchmark with wrong results is worthless. Combinations are compared with
/// each other, too, since neither workers nor processes may change a result.
pub(super) fn agree(results: &BenchResults) -> Result<()> {
    let mut runs = results.combinations.iter().flat_map(|m| m.runs.iter().zip(1..).map(|run| (m.combination, run)));
    let Some((first, (reference, _))) = runs.next() else { return Ok(()) };
    for (combination, (run, number)) in runs {
        if let Some(difference) = reference.answer.difference(&run.answer, &results.changes) {
            let message = format!(
                "the runs of {:?} disagree: {difference}, in run 1 of {first} and run {number} of {combination}",
                results.dataflow
            );
            return Err(Error::new(ErrorKind::Internal, message).hint(
                "what was measured is not one computation: look for input that changes meanwhile, or for a stage whose \
                 output depends on more than its input; rows that are changes of a view may differ in number: name their \
                 sink with --changes",
            ));
        }
    }
    if let Some(difference) = other_collection(results) {
        let message = format!("the runs of {:?} disagree: {difference}", results.dataflow);
        return Err(Error::new(ErrorKind::Internal, message).hint(
            "look for a stage whose output depends on more than its input, such as on the order in which records come",
        ));
    }
    if reference.records() == 0 {
        return Err(Error::config("no record was read, so nothing was measured")
            .hint("check what the sources are wired to: tidewatch run shows what it reads"));
    }
    Ok(())
}

/// The first sink whose changes do not add up to the same in two runs, in words.
fn other_collection(results: &BenchResults) -> Option<String> {
    let mut first: BTreeMap<&str, (Combination, &Collection)> = BTreeMap::new();
    for measured in &results.combinations {
        for (sink, theirs) in measured.collections.iter().flatten() {
            let (combination, ours) = *first.entry(sink).or_insert((measured.combination, theirs));
            if ours != theirs {
                let show = |collection: &Collection| format!("{} rows ({})", collection.rows, collection.hash);
                let (ours, theirs, other) = (show(ours), show(theirs), measured.combination);
                return Some(format!(
                    "what the changes in sink {sink:?} add up to: {ours} and {theirs}, in {combination} and {other}"
                ));
            }
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests;
