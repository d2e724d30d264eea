//! A broker that dies, and one that falls silent, under what runs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidewatch::connectors::kafka::{KafkaSink, KafkaSource};
use tidewatch::flow::{Environment, launch};
use tidewatch::prelude::*;
use tidewatch::settings::Node;

use super::broker::{Broker, PATIENCE, script};
use super::input::PARTITIONS;
use super::program::expect_same;
use super::reading::Reading;

/// Records that wait when the dataflow starts: so many that it is still busy with them when the broker is gone.
const BACKLOG: u32 = 400_000;

/// Records that come after the outage.
const LATER: u32 = 10_000;

/// How long the broker is away: longer than its clients' pauses between two tries.
const OUTAGE: Duration = Duration::from_secs(3);

fn copy(flow: &Flow, _: &NoParams) -> Result<()> {
    flow.source::<Line>("in")?.map("copy", |line| line).sink("out")
}

#[test]
fn all_records_arrive_once_though_the_broker_is_killed_and_started_again() {
    let Some(broker) = Broker::alone() else { return };
    let (from, to) = (broker.topic(PARTITIONS), broker.topic(PARTITIONS));
    let mut environment = Environment::new("copy", Node::empty());
    let source = KafkaSource { discover_after: Duration::from_secs(1), ..KafkaSource::new(broker.connection(&from)) };
    environment.sources.insert("in".into(), Arc::new(source));
    environment.sinks.insert("out".into(), Arc::new(KafkaSink::new(broker.connection(&to))));
    let (control, metrics) = (environment.control.clone(), environment.metrics.clone());
    let written = || metrics.totals().sinks.get("out").map_or(0, |sink| sink.records);

    let records = |numbers: Range<u32>| numbers.map(|i| (i % PARTITIONS, format!("record {i}")));
    broker.place(&from, records(0..BACKLOG));
    let mut run = Some(thread::spawn(move || launch::run(&dataflow("copy", copy), environment, 2, None)));
    let mut wait_for = |rows: u32| {
        let start = Instant::now();
        while written() < u64::from(rows) {
            if run.as_ref().is_some_and(JoinHandle::is_finished) {
                panic!("it ended after {} rows: {:?}", written(), run.take().map(JoinHandle::join));
            }
            assert!(start.elapsed() < PATIENCE, "{} rows, expected {rows}", written());
            thread::sleep(Duration::from_millis(1));
        }
    };
    wait_for(1);
    script(&["stop", "--kill"]);
    assert!(written() < u64::from(BACKLOG), "the broker died too late: nothing was left to be written");
    thread::sleep(OUTAGE);
    script(&["up"]);
    broker.place(&from, records(BACKLOG..BACKLOG + LATER));
    wait_for(BACKLOG + LATER);
    control.stop();
    let run = run.expect("it was not taken");
    run.join().expect("no panic").expect("the dataflow ends well");

    let row = |(_, text)| format!("{{\"text\":\"{text}\"}}");
    let mut expected: Vec<String> = records(0..BACKLOG + LATER).map(row).collect();
    expected.sort_unstable();
    expect_same(&broker.foreign(&to), &expected, "after the outage");
}

/// A silent broker may hold records: its partitions are not empty, and the watermark must not go on without them.
#[test]
fn partitions_of_a_silent_broker_do_not_count_as_empty() {
    let Some(broker) = Broker::alone() else { return };
    let topic = broker.topic(2);
    broker.place(&topic, [(0, "a"), (1, "b")]);
    let mut reading = Reading::open(&KafkaSource::new(broker.connection(&topic)), 0, 1);
    let caught_up = |seen: &BTreeMap<u32, usize>| seen.values().sum::<usize>();
    reading.until(|seen| seen.count() == 2 && [0, 1].iter().all(|p| seen.caught_up.get(p).is_some_and(|t| *t >= 3)));

    script(&["pause"]);
    let start = Instant::now();
    let mut settled = None;
    while start.elapsed() < Duration::from_secs(7) {
        reading.poll().expect("silence is no failure");
        // Until the silence is noticed, the last answer counts.
        if start.elapsed() > Duration::from_secs(4) {
            settled.get_or_insert(caught_up(&reading.seen.caught_up));
        }
    }
    let silent = caught_up(&reading.seen.caught_up);
    script(&["resume"]);
    assert_eq!(Some(silent), settled);
    reading.until(|seen| caught_up(&seen.caught_up) > silent + 2);
    broker.place(&topic, [(0, "c"), (1, "d")]);
    reading.until(|seen| seen.count() == 4);
    assert_eq!(reading.seen.values(), ["a", "c", "b", "d"]);
}
