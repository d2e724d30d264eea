//! The counters as plain numbers, for the summary at the end of a run and for tests that compare them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Reason;

/// The counts, summed over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Per source, by name.
    pub sources: BTreeMap<String, SourceTotals>,
    /// Per stage, by name.
    pub stages: BTreeMap<String, StageTotals>,
    /// Per sink, by name.
    pub sinks: BTreeMap<String, SinkTotals>,
}

/// The counts of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTotals {
    /// Records read.
    pub read: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Those that decoded, including those that became dead letters for their time or by a validation.
    pub decoded: u64,
    /// Those that were not processed; every reason is there, also at 0.
    pub dead_letters: BTreeMap<Reason, u64>,
}

/// The counts of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTotals {
    /// Records that entered.
    pub records_in: u64,
    /// Records that left.
    pub records_out: u64,
    /// Records dropped because the dataflow says so.
    pub filtered: u64,
    /// Records that were too late for every window.
    pub late: u64,
    /// Windows closed, over all keys.
    pub windows_closed: u64,
    /// Windows still open, over all keys; one counts on every worker that has records of its key.
    pub windows_open: u64,
}

/// The counts of a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkTotals {
    /// Rows handed to it.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Totals {
    /// Records read, over all sources.
    pub fn read(&self) -> u64 {
        self.sources.values().map(|s| s.read).sum()
    }

    /// Dead letters, over all sources and reasons.
    pub fn dead_letters(&self) -> u64 {
        self.sources.values().map(SourceTotals::dead).sum()
    }

    /// Windows closed, over all stages.
    pub fn windows_closed(&self) -> u64 {
        self.stages.values().map(|s| s.windows_closed).sum()
    }

    /// Windows still open, over all stages, keys and workers.
    pub fn windows_open(&self) -> u64 {
        self.stages.values().map(|s| s.windows_open).sum()
    }

    /// Adds the counts of another process.
    pub fn merge(&mut self, other: &Totals) {
        for (name, theirs) in &other.sources {
            let ours = self.sources.entry(name.clone()).or_default();
            ours.read += theirs.read;
            ours.bytes += theirs.bytes;
            ours.decoded += theirs.decoded;
            for (reason, records) in &theirs.dead_letters {
                *ours.dead_letters.entry(*reason).or_default() += records;
            }
        }
        for (name, theirs) in &other.stages {
            let ours = self.stages.entry(name.clone()).or_default();
            ours.records_in += theirs.records_in;
            ours.records_out += theirs.records_out;
            ours.filtered += theirs.filtered;
            ours.late += theirs.late;
            ours.windows_closed += theirs.windows_closed;
            ours.windows_open += theirs.windows_open;
        }
        for (name, theirs) in &other.sinks {
            let ours = self.sinks.entry(name.clone()).or_default();
            ours.records += theirs.records;
            ours.bytes += theirs.bytes;
        }
    }
}

impl SourceTotals {
    /// Dead letters, over all reasons.
    pub fn dead(&self) -> u64 {
        self.dead_letters.values().sum()
    }

    /// Records that entered the dataflow: read, and not dead letters.
    pub fn processed(&self) -> u64 {
        self.read.saturating_sub(self.dead())
    }

    /// Dead letters of records that did not decode. With [`decoded`](Self::decoded) they make up [`read`](Self::read).
    pub fn undecoded(&self) -> u64 {
        let reasons = [Reason::Malformed, Reason::NotUtf8, Reason::TooLarge, Reason::TooDeep];
        reasons.iter().filter_map(|reason| self.dead_letters.get(reason)).sum()
    }
}
