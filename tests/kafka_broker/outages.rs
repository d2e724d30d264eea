//! A broker that dies, and one that falls silent, under what runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::producer::Producer;
use tidewatch::connectors::kafka::{KafkaSink, KafkaSource};
use tidewatch::flow::{Environment, launch};
use tidewatch::prelude::*;
use tidewatch::settings::Node;

use super::broker::{Broker, PATIENCE, script, send};
use super::input::PARTITIONS;
use super::reading::Reading;

const ROUND: u32 = 2_000;

/// How long the broker is away: longer than its clients' pauses between two tries.
const OUTAGE: Duration = Duration::from_secs(3);

fn copy(flow: &Flow, _: &NoParams) -> Result<()> {
    flow.source::<Line>("in")?.map("copy", |line| line).sink("out")
}

/// Waits until the foreign client finds `count` rows in a topic; more are an error.
fn wait_for_rows(broker: &Broker, topic: &str, count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let rows = broker.foreign(topic);
        assert!(rows.len() <= count, "{} rows, expected {count}", rows.len());
        if rows.len() == count {
            return rows;
        }
        assert!(start.elapsed() < PATIENCE, "{} rows, expected {count}", rows.len());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn all_records_arrive_once_though_the_broker_is_killed_and_started_again() {
    let Some(broker) = Broker::alone() else { return };
    let (from, to) = (broker.topic(PARTITIONS), broker.topic(PARTITIONS));
    let mut environment = Environment::new("copy", Node::empty());
    let source = KafkaSource { discover_after: Duration::from_secs(1), ..KafkaSource::new(broker.connection(&from)) };
    environment.sources.insert("in".into(), Arc::new(source));
    environment.sinks.insert("out".into(), Arc::new(KafkaSink::new(broker.connection(&to))));
    let control = environment.control.clone();
    let run = thread::spawn(move || launch::run(&dataflow("copy", copy), environment, 2, None));

    let producer = broker.producer(&[("enable.idempotence", "true"), ("reconnect.backoff.max.ms", "500")]);
    let produce = |round: u32| {
        (0..ROUND).for_each(|i| send(&producer, &from, i % PARTITIONS, format!("{round} {i}").as_bytes(), None));
    };
    produce(0);
    producer.flush(PATIENCE).unwrap();
    wait_for_rows(&broker, &to, ROUND as usize);

    // Rows that the dataflow has read, or is about to read, when the broker dies.
    produce(1);
    producer.poll(Duration::from_millis(20));
    script(&["stop", "--kill"]);
    produce(2);
    thread::sleep(OUTAGE);
    assert!(!run.is_finished(), "the dataflow rides out the outage");
    script(&["up"]);
    producer.flush(PATIENCE).unwrap();
    produce(3);
    producer.flush(PATIENCE).unwrap();
    let rows = wait_for_rows(&broker, &to, 4 * ROUND as usize);
    control.stop();
    run.join().expect("no panic").expect("the dataflow ends well");

    let mut expected: Vec<String> =
        (0..4).flat_map(|round| (0..ROUND).map(move |i| format!("{{\"text\":\"{round} {i}\"}}"))).collect();
    expected.sort_unstable();
    assert_eq!(rows, expected);
    assert_eq!(broker.foreign(&to).len(), rows.len(), "nothing was written while it stopped");
}

/// A silent broker may hold records: its partitions are not empty, and the watermark must not go on without them.
#[test]
fn partitions_of_a_silent_broker_do_not_count_as_empty() {
    let Some(broker) = Broker::alone() else { return };
    let topic = broker.topic(2);
    broker.place(&topic, [(0, "a"), (1, "b")]);
    let mut reading = Reading::open(&KafkaSource::new(broker.connection(&topic)), 0, 1);
    let caught_up = |seen: &BTreeMap<u32, usize>| seen.values().sum::<usize>();
    reading.until(|seen| seen.count() == 2 && seen.caught_up.values().all(|times| *times >= 3));

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
