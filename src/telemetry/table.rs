//! The table of every metric: its name, kind, unit, labels and help.
//!
//! The registry registers exactly these, and `docs/metrics.md` is rendered from it; a test compares the two. Names
//! carry the prefix `tidewatch_` and base units; label values come from closed sets, never from a record.

use std::fmt::Write;

/// What kind of series a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution in buckets, with a sum and a count.
    Histogram,
}

impl MetricKind {
    /// The kind as Prometheus spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// The name, with prefix and unit.
    pub name: &'static str,
    /// What kind of series it is.
    pub kind: MetricKind,
    /// What is counted, in base units.
    pub unit: &'static str,
    /// The labels besides `dataflow`, which every series has.
    pub labels: &'static [&'static str],
    /// One sentence or two.
    pub help: &'static str,
}

macro_rules! table {
    ($($id:ident: $kind:ident $name:literal [$($label:ident),*] $unit:literal $help:literal;)*) => {
        /// Every metric of Tidewatch, by a name that code can use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $(#[doc = $help] $id,)*
        }

        impl Metric {
            /// The table, in the order of the variants.
            pub const TABLE: &'static [Definition] = &[$(Definition {
                name: concat!("tidewatch_", $name),
                kind: MetricKind::$kind,
                unit: $unit,
                labels: &[$(stringify!($label)),*],
                help: $help,
            },)*];
        }
    };
}

table! {
    SourceRecords: Counter "source_records_total" [source, worker] "records"
        "Records read, including those that became dead letters.";
    SourceBytes: Counter "source_bytes_total" [source, worker] "bytes"
        "Bytes of the records read, without delimiters.";
    SourceDecoded: Counter "source_decoded_records_total" [source, worker] "records"
        "Records that decoded, including those that became dead letters for their time or by a validation.";
    DeadLetters: Counter "dead_letters_total" [source, worker, reason] "records"
        "Records that were not processed, by reason. Every reason is exported from the start.";
    PartitionRecords: Counter "source_partition_records_total" [source, partition] "records"
        "Records read from a partition.";
    PartitionBytes: Counter "source_partition_bytes_total" [source, partition] "bytes"
        "Bytes of the records read from a partition.";
    PartitionLag: Gauge "source_partition_lag" [source, partition] "records; bytes for files"
        "How far the partition is ahead of the reader. Absent until the connector knows it.";
    PartitionGap: Counter "source_gap_records_total" [source, partition] "records"
        "Records that were gone before they were read, and were skipped since `on_gap` is \"skip\". Absent before the first.";
    JournalBytes: Gauge "source_journal_bytes" [source, partition] "bytes"
        "Size of the journal of a partition that cannot be read again. Absent without one.";
    JournalFull: Gauge "source_journal_full" [source, partition] "0 or 1"
        "Whether nothing is read because the journal has reached `journal_bytes_max`. Absent without one.";
    SourceSkipped: Counter "source_skipped_paths_total" [source, reason] "paths"
        "Paths that a file source matches and does not read, each counted once, by reason. Absent before the first.";
    SourceWatermark: Gauge "source_watermark_seconds" [source, worker] "seconds since 1970"
        "The source's watermark in event time. Absent until there is one; keeps its last value when the source has ended.";
    SourceWatermarkLag: Gauge "source_watermark_lag_seconds" [source, worker] "seconds"
        "The current epoch minus the watermark: how far event time is behind. Absent until there is a watermark.";
    SourceConnected: Gauge "source_connected" [source, worker] "0 or 1"
        "Whether the connector can reach its external system.";
    SourceEpochsInFlight: Gauge "source_epochs_in_flight" [source, worker] "epochs"
        "Epochs that the source has begun and the dataflow has not finished.";
    SourceBackpressured: Counter "source_backpressured_seconds_total" [source, worker] "seconds"
        "Time during which the source held back because too many epochs were in flight.";
    SourceReplay: Gauge "source_replay_seconds" [source, worker] "seconds"
        "How long this run took to replay the epochs of earlier runs. Absent until it has, and where there were none.";
    SourceRelease: Histogram "source_release_seconds" [source, worker] "seconds"
        "From a record being read to its epoch being released: its rows are durable in every sink. By record, dead letters included; where the connector knows since when a record was available (a paced generator), from then on.";
    BindingFlush: Histogram "binding_flush_seconds" [] "seconds"
        "How long it took to make the bindings of an epoch durable in the state directory; an epoch is held open for so long. Absent without a state directory.";
    BindingBytes: Counter "binding_bytes_total" [] "bytes"
        "Bytes of bindings written to the state directory. Absent without one.";
    Checkpoint: Histogram "checkpoint_seconds" [] "seconds"
        "From the first entry of a checkpoint being written to the checkpoint being complete. Only on the process that completes them; absent without a state directory.";
    CheckpointBytes: Gauge "checkpoint_bytes" [] "bytes"
        "The size of the newest checkpoint. Absent before the first.";
    CheckpointEpoch: Gauge "checkpoint_epoch_seconds" [] "seconds since 1970"
        "The epoch of the newest complete checkpoint: later epochs are replayed after a failure. Absent before the first.";
    CheckpointFailures: Counter "checkpoint_failures_total" [] "checkpoints"
        "Checkpoints that could not be written. The run continues, and recovery uses the one before.";
    CheckpointPause: Histogram "checkpoint_pause_seconds" [] "seconds"
        "How long a worker was blocked at a time by writing its part of a checkpoint.";
    StageIn: Counter "stage_records_in_total" [stage, worker] "records"
        "Records that entered a stage.";
    StageOut: Counter "stage_records_out_total" [stage, worker] "records"
        "Records that left a stage.";
    StageFiltered: Counter "stage_filtered_records_total" [stage, worker] "records"
        "Records that a stage dropped because the dataflow says so.";
    StageLate: Counter "stage_late_records_total" [stage, worker] "records"
        "Records that were too late for every window they belong to.";
    StageKeys: Gauge "stage_keys" [stage, worker] "keys"
        "Keys that a stage holds state for.";
    StageWindowsOpen: Gauge "stage_windows_open" [stage, worker] "windows"
        "Windows, over all keys that have records on the worker, that the watermark has not passed.";
    StageWindowsClosed: Counter "stage_windows_closed_total" [stage, worker] "windows"
        "Windows, over all keys, that the watermark has passed.";
    SinkRecords: Counter "sink_records_total" [sink, worker] "records"
        "Rows given to a sink.";
    SinkBytes: Counter "sink_bytes_total" [sink, worker] "bytes"
        "Bytes of the rows given to a sink, without delimiters.";
    SinkCommit: Histogram "sink_commit_seconds" [sink, worker] "seconds"
        "From the time of an epoch to its rows being durable, for epochs with rows.";
    SinkDurable: Gauge "sink_durable_epoch_seconds" [sink, worker] "seconds since 1970"
        "The newest epoch whose rows are all durable. Absent before the first.";
    SinkErrors: Counter "sink_errors_total" [sink, worker] "errors"
        "Writes that the external system refused, whether or not a retry helped.";
    SinkRetries: Counter "sink_retries_total" [sink, worker] "attempts"
        "Writes that were retried.";
    OperatorIn: Counter "operator_records_in_total" [operator, worker] "records"
        "Records that arrived at the operators of this name.";
    OperatorOut: Counter "operator_records_out_total" [operator, worker] "records"
        "Records that the operators of this name sent; an output with several readers counts once, without readers not at all.";
    OperatorBusy: Counter "operator_busy_seconds_total" [operator, worker] "seconds"
        "Time spent inside the operators of this name.";
    OperatorActivations: Counter "operator_activations_total" [operator, worker] "activations"
        "How often the operators of this name were scheduled.";
    OperatorFrontierLag: Gauge "operator_frontier_lag_seconds" [operator, worker] "seconds"
        "Now minus the oldest epoch that can still arrive at the operators of this name (for sources: that they can still emit); 0 once nothing can. Keeps growing while a worker is stuck.";
    ArrangementRecords: Gauge "arrangement_records" [operator, worker] "updates"
        "Updates held in the arrangements of this operator.";
    ArrangementBatches: Gauge "arrangement_batches" [operator, worker] "batches"
        "Batches that these updates are spread over.";
    ArrangementBytes: Gauge "arrangement_bytes" [operator, worker] "bytes"
        "Heap bytes of the arrangements of this operator. Differential does not log it: exported where the operator measures it.";
    WorkerParked: Counter "worker_parked_seconds_total" [worker] "seconds"
        "Time during which a worker slept because there was nothing to do.";
}

impl Metric {
    /// This metric's row.
    pub fn definition(self) -> &'static Definition {
        &Metric::TABLE[self as usize]
    }
}

/// The metrics of the process collector, under the names that Prometheus' own client libraries use.
pub(super) const PROCESS: &[(&str, MetricKind, &str, &str)] = &[
    ("process_cpu_seconds_total", MetricKind::Counter, "seconds", "CPU time of the process, in whole seconds."),
    ("process_resident_memory_bytes", MetricKind::Gauge, "bytes", "Memory that the process holds in RAM."),
    ("process_virtual_memory_bytes", MetricKind::Gauge, "bytes", "Address space of the process."),
    ("process_open_fds", MetricKind::Gauge, "descriptors", "Open file descriptors."),
    ("process_max_fds", MetricKind::Gauge, "descriptors", "The limit of open file descriptors."),
    ("process_threads", MetricKind::Gauge, "threads", "Threads of the process."),
    ("process_start_time_seconds", MetricKind::Gauge, "seconds since 1970", "When the process started."),
];

/// The table as `docs/metrics.md` shows it.
pub fn render_markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    let mut row = |name: &str, kind: MetricKind, unit: &str, labels: &str, help: &str| {
        writeln!(page, "| `{name}` | {} | {unit} | {labels} | {help} |", kind.as_str())
            .expect("writing to a string cannot fail");
    };
    for d in Metric::TABLE {
        row(d.name, d.kind, d.unit, &d.labels.join(", "), d.help);
    }
    for (name, kind, unit, help) in PROCESS {
        row(name, *kind, unit, "", help);
    }
    page
}

const INTRODUCTION: &str = "\
# Metrics

<!-- Rendered from src/telemetry/table.rs: `UPDATE=1 cargo test --lib telemetry` rewrites this file. -->

Every process serves its metrics as Prometheus text at `/metrics` of its admin address. They start at zero with the
process; sum over `worker` for a whole. Every series carries the label `dataflow`. All label values come from closed
sets:

| label | values |
| --- | --- |
| `dataflow` | the dataflow's name |
| `source`, `sink`, `stage` | names in the dataflow |
| `operator` | names of timely operators; those of one name on one worker are summed (the frontier lag: the greatest) |
| `worker` | the worker's number, from 0, over all processes |
| `partition` | the partition as its connector labels it, control characters escaped (`\\u{1b}`); beyond 1000 per source and worker, all share `other` |
| `reason` of skipped paths | `not_utf8`, `not_a_file`, `broken_link`, `unreadable`, `compressed`, `duplicate`, `too_deep`, `collision` |
| any other `reason` | `malformed`, `not_utf8`, `too_large`, `too_deep`, `invalid`, `late`, `late_after_idle`, `future`, `past` |

Figures of operators and arrangements come from timely's and differential's own logs, about once a second. Scopes are
left out, their operators are not. An operator in a scope whose timestamp is not an epoch, such as the body of an
iteration, has no frontier lag of its own; the scope's neighbours show it.

| name | kind | unit | labels | meaning |
| --- | --- | --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Reason;
    use crate::telemetry::SkipReason;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = std::collections::BTreeSet::new();
        for d in Metric::TABLE {
            assert!(seen.insert(d.name), "{} is there twice", d.name);
            assert_eq!(d.name.ends_with("_total"), d.kind == MetricKind::Counter, "{}", d.name);
            if d.unit.starts_with("seconds") || d.unit == "bytes" {
                let unit = d.unit.split(' ').next().unwrap();
                assert!(d.name.trim_end_matches("_total").ends_with(unit), "{} is in {unit}", d.name);
            }
            for label in d.labels {
                let closed = ["source", "sink", "stage", "operator", "worker", "partition", "reason"];
                assert!(closed.contains(label), "{}: label {label}", d.name);
            }
        }
        assert_eq!(Metric::WorkerParked.definition().name, Metric::TABLE.last().unwrap().name);
    }

    #[test]
    fn the_page_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let page = render_markdown();
        for reason in Reason::ALL {
            assert!(page.contains(&format!("`{reason}`")), "reason {reason} is not in the introduction");
        }
        for reason in SkipReason::ALL.map(SkipReason::as_str) {
            assert!(page.contains(&format!("`{reason}`")), "reason {reason} is not in the introduction");
        }
        assert!(page.contains(&format!("beyond {} per", super::super::PARTITION_LABELS_MAX)));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(path).expect("docs/metrics.md");
        assert!(committed == page, "docs/metrics.md is out of date: UPDATE=1 cargo test --lib telemetry");
    }
}
