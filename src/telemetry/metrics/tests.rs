use std::time::Duration;

use super::*;
use crate::record::Reason;
use crate::telemetry::{PARTITION_LABELS_MAX, SkipReason, WorkerGraph, graph};
use crate::time::EventTime;

struct Stopped(u64);

impl Clock for Stopped {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

/// Touches every handle there is.
fn busy() -> Metrics {
    let metrics = Metrics::with_clock("flow", Arc::new(Stopped(10_000)));
    for worker in 0..2 {
        let source = metrics.source("logins", worker);
        let partition = source.partition(&format!("part-{worker}"));
        partition.read(10, 1000);
        partition.lag(7);
        partition.journal(4_096, true);
        partition.gap(7);
        source.decoded(8);
        source.dead_letters(Reason::Malformed, 2);
        source.dead_letters(Reason::Late, 1);
        source.watermark(EventTime::from_millis(9_000), 9_500);
        source.connected(true);
        source.epochs_in_flight(2);
        source.backpressured(Duration::from_millis(250));
        source.released([(Duration::from_millis(105), 8), (Duration::from_millis(30), 2)]);
        let stage = metrics.stage("failures", worker);
        stage.records_in(7);
        stage.records_out(4);
        stage.filtered(2);
        stage.late(1);
        stage.keys(3);
        stage.windows_open(5);
        stage.windows_closed(6);
        let sink = metrics.sink("alerts", worker);
        sink.written(4, 400);
        sink.durable(9_500, Duration::from_millis(3));
        sink.errors(1);
        sink.retries(2);
    }
    metrics
}

#[test]
fn totals_add_up_over_workers() {
    let totals = busy().totals();
    let source = &totals.sources["logins"];
    assert_eq!((source.read, source.bytes, source.decoded, source.dead()), (20, 2000, 16, 6));
    assert_eq!(source.read, source.decoded + source.undecoded());
    assert_eq!(source.dead_letters[&Reason::Late], 2);
    assert_eq!(source.dead_letters.len(), Reason::ALL.len());
    let stage = &totals.stages["failures"];
    assert_eq!(stage.records_in, stage.records_out + stage.filtered + stage.late);
    assert_eq!((stage.records_in, totals.windows_closed()), (14, 12));
    assert_eq!((totals.sinks["alerts"].records, totals.sinks["alerts"].bytes), (8, 800));
    assert_eq!((totals.read(), totals.dead_letters()), (20, 6));
}

#[test]
fn latencies_are_merged_over_workers() {
    let latency = &busy().latency()["logins"];
    assert_eq!(latency.count(), 20);
    assert_eq!((latency.quantile(0.2).unwrap().as_millis(), latency.quantile(0.99).unwrap().as_millis()), (30, 105));
}

#[test]
fn totals_travel_and_merge() {
    let totals = busy().totals();
    let mut twice: Totals = serde_json::from_str(&serde_json::to_string(&totals).unwrap()).unwrap();
    assert_eq!(twice, totals);
    twice.merge(&totals);
    assert_eq!((twice.read(), twice.dead_letters(), twice.windows_closed()), (40, 12, 24));
    assert_eq!(twice.sinks["alerts"].bytes, 1600);
    assert_eq!(twice.stages["failures"].filtered, 8);
}

#[test]
fn text_has_help_type_and_the_series() {
    let text = busy().render().unwrap();
    for line in [
        "# HELP tidewatch_source_records_total Records read, including those that became dead letters.",
        "# TYPE tidewatch_source_records_total counter",
        "# TYPE tidewatch_sink_commit_seconds histogram",
        "tidewatch_source_records_total{source=\"logins\",worker=\"1\",dataflow=\"flow\"} 10",
        "tidewatch_source_partition_records_total{partition=\"part-0\",source=\"logins\",dataflow=\"flow\"} 10",
        "tidewatch_source_partition_lag{partition=\"part-0\",source=\"logins\",dataflow=\"flow\"} 7",
        "tidewatch_source_journal_bytes{partition=\"part-0\",source=\"logins\",dataflow=\"flow\"} 4096",
        "tidewatch_source_journal_full{partition=\"part-0\",source=\"logins\",dataflow=\"flow\"} 1",
        "tidewatch_dead_letters_total{reason=\"malformed\",source=\"logins\",worker=\"0\",dataflow=\"flow\"} 2",
        "tidewatch_dead_letters_total{reason=\"too_deep\",source=\"logins\",worker=\"0\",dataflow=\"flow\"} 0",
        "tidewatch_source_watermark_seconds{source=\"logins\",worker=\"0\",dataflow=\"flow\"} 9",
        "tidewatch_source_watermark_lag_seconds{source=\"logins\",worker=\"0\",dataflow=\"flow\"} 0.5",
        "tidewatch_source_backpressured_seconds_total{source=\"logins\",worker=\"0\",dataflow=\"flow\"} 0.25",
        "tidewatch_source_release_seconds_bucket{source=\"logins\",worker=\"0\",dataflow=\"flow\",le=\"0.1\"} 2",
        "tidewatch_source_release_seconds_bucket{source=\"logins\",worker=\"0\",dataflow=\"flow\",le=\"0.11\"} 10",
        "tidewatch_source_release_seconds_count{source=\"logins\",worker=\"0\",dataflow=\"flow\"} 10",
        "tidewatch_stage_windows_closed_total{stage=\"failures\",worker=\"0\",dataflow=\"flow\"} 6",
        "tidewatch_sink_commit_seconds_bucket{sink=\"alerts\",worker=\"0\",dataflow=\"flow\",le=\"0.0025\"} 0",
        "tidewatch_sink_commit_seconds_bucket{sink=\"alerts\",worker=\"0\",dataflow=\"flow\",le=\"0.005\"} 1",
        "tidewatch_sink_commit_seconds_bucket{sink=\"alerts\",worker=\"0\",dataflow=\"flow\",le=\"60\"} 1",
        "tidewatch_sink_durable_epoch_seconds{sink=\"alerts\",worker=\"0\",dataflow=\"flow\"} 9.5",
    ] {
        assert!(text.lines().any(|l| l == line), "missing: {line}\n{text}");
    }
}

#[test]
fn every_family_is_in_the_table_and_every_row_is_used() {
    let metrics = busy();
    // The log of a worker's operators has tests of its own; here its rows only have to be possible.
    *lock(&metrics.worker_graph(0)) = WorkerGraph { operators: vec![operator(9_000)], ..WorkerGraph::default() };
    let families = metrics.families();
    let labels = ["map", "0"];
    families.counter(Metric::OperatorIn, &labels);
    families.counter(Metric::OperatorOut, &labels);
    families.counter(Metric::OperatorActivations, &labels);
    families.seconds(Metric::OperatorBusy, &labels);
    families.seconds(Metric::WorkerParked, &["0"]);
    metrics.source("in", 0).replayed(Duration::from_secs(1));
    metrics.source("in", 0).skipped(SkipReason::NotAFile, 1);
    metrics.bindings().flushed(Duration::from_millis(1), 100);
    metrics.checkpoints().completed(10_000, 100, Duration::from_millis(1));
    for metric in [Metric::ArrangementRecords, Metric::ArrangementBatches, Metric::ArrangementBytes] {
        families.gauge(metric, &labels);
    }
    metrics.render().unwrap();
    let mut gathered: Vec<String> = metrics.inner.registry.gather().iter().map(|f| f.name().to_owned()).collect();
    let process = crate::telemetry::table::PROCESS.iter().map(|row| row.0);
    let mut table: Vec<&str> = Metric::TABLE.iter().map(|d| d.name).chain(process).collect();
    gathered.sort();
    table.sort();
    assert_eq!(gathered, table);
}

fn operator(epoch: u64) -> graph::Operator {
    graph::Operator {
        id: 3,
        name: "map".into(),
        address: vec![0, 1],
        scope: false,
        records_in: 0,
        records_out: 0,
        activations: 0,
        busy_seconds: 0.0,
        frontier: Frontier::At(epoch),
        arrangement: None,
        shut_down: false,
    }
}

#[test]
fn frontier_lag_is_that_of_the_slowest_at_the_time_of_reading() {
    let metrics = Metrics::with_clock("flow", Arc::new(Stopped(10_000)));
    let graph = metrics.worker_graph(3);
    let operators = vec![operator(9_900), operator(4_000), operator(9_800)];
    *lock(&graph) = WorkerGraph { worker: 3, operators, ..WorkerGraph::default() };
    let series = "tidewatch_operator_frontier_lag_seconds{operator=\"map\",worker=\"3\",dataflow=\"flow\"}";
    assert!(metrics.render().unwrap().contains(&format!("{series} 6\n")));
    lock(&graph).operators.iter_mut().for_each(|o| o.frontier = Frontier::Closed);
    assert!(metrics.render().unwrap().contains(&format!("{series} 0\n")));
}

#[test]
fn names_from_outside_are_escaped_in_labels() {
    let metrics = Metrics::new("flow");
    metrics.source("files", 0).partition("a\x1b[2J\n\"b\".log").read(1, 1);
    let text = metrics.render().unwrap();
    let series = "tidewatch_source_partition_records_total{partition=\"a\\\\u{1b}[2J\\\\n\\\"b\\\".log\",source=\"files\",dataflow=\"flow\"} 1\n";
    assert!(text.contains(series) && !text.contains('\x1b'), "{text}");
}

#[test]
fn partitions_beyond_the_limit_share_a_label() {
    let metrics = Metrics::new("flow");
    let source = metrics.source("files", 0);
    for n in 0..PARTITION_LABELS_MAX {
        source.partition(&n.to_string()).read(1, 1);
    }
    let (first, second) = (source.partition("beyond-1"), source.partition("beyond-2"));
    first.read(1, 1);
    second.read(1, 1);
    first.lag(5);
    second.lag(6);
    first.lag(2);
    let text = metrics.render().unwrap();
    let other = "partition=\"other\",source=\"files\",dataflow=\"flow\"";
    assert!(text.contains(&format!("tidewatch_source_partition_records_total{{{other}}} 2\n")));
    assert!(text.contains(&format!("tidewatch_source_partition_lag{{{other}}} 8\n")));
    assert!(!text.contains("beyond"));
    let last = PARTITION_LABELS_MAX - 1;
    assert!(text.contains(&format!("partition=\"{last}\"")), "the limit itself has a label of its own");
    assert_eq!(metrics.totals().sources["files"].read, PARTITION_LABELS_MAX as u64 + 2);
}

#[test]
fn the_ends_of_time_are_no_watermark() {
    let metrics = Metrics::new("flow");
    let source = metrics.source("s", 0);
    source.watermark(EventTime::MIN, 1_000);
    source.watermark(EventTime::MAX, 1_000);
    assert!(!metrics.render().unwrap().contains("tidewatch_source_watermark_seconds"));
    source.watermark(EventTime::from_millis(400), 1_000);
    source.watermark(EventTime::MAX, 2_000);
    let text = metrics.render().unwrap();
    let labels = "source=\"s\",worker=\"0\",dataflow=\"flow\"";
    assert!(text.contains(&format!("tidewatch_source_watermark_seconds{{{labels}}} 0.4\n")));
    assert!(text.contains(&format!("tidewatch_source_watermark_lag_seconds{{{labels}}} 0\n")));
}
