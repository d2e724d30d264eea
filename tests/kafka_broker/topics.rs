//! What a topic can hold and what can become of it, as a reader of ours sees it: transactions, time stamps, new
//! partitions, deletion, retention.

use std::time::{Duration, Instant};

use rdkafka::producer::Producer;
use tidewatch::connectors::kafka::{Connection, KafkaSource, OnGap, Start, Until};
use tidewatch::time::EventTime;

use super::broker::{Broker, PATIENCE, send};
use super::input::PARTITIONS;
use super::program::Program;
use super::reading::Reading;

fn finite(connection: &Connection) -> KafkaSource {
    KafkaSource { until: Until::End, ..KafkaSource::new(connection.clone()) }
}

#[test]
fn only_committed_records_are_read_and_an_open_transaction_holds_back() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(4);
    let source = finite(&broker.connection(&topic));
    let producer = broker.producer(&[("transactional.id", &topic)]);
    producer.init_transactions(PATIENCE).unwrap();
    let begin_with = |values: &[(u32, &str)]| {
        producer.begin_transaction().unwrap();
        values.iter().for_each(|(partition, value)| send(&producer, &topic, *partition, value.as_bytes(), None));
        producer.flush(PATIENCE).unwrap();
    };
    begin_with(&[(0, "committed 0"), (1, "committed 1")]);
    producer.commit_transaction(PATIENCE).unwrap();
    begin_with(&[(0, "aborted"), (2, "aborted")]);
    producer.abort_transaction(PATIENCE).unwrap();

    // The control records at the end of three partitions do not keep a finite source from ending.
    let reading = Reading::to_end(&source);
    assert_eq!(reading.seen.values(), ["committed 0", "committed 1"]);
    assert_eq!(reading.seen.ended.len(), 4);

    // Nor an endless one from being caught up, again and again, and without lag.
    let mut endless = Reading::open(&KafkaSource::new(broker.connection(&topic)), 0, 1);
    endless.until(|seen| (0..4).all(|partition| seen.caught_up.get(&partition).is_some_and(|times| *times >= 3)));
    assert_eq!(endless.seen.lag.values().sum::<u64>(), 0);

    begin_with(&[(3, "open")]);
    assert_eq!(Reading::to_end(&source).seen.count(), 2);
    let times = endless.seen.caught_up[&3];
    endless.until(|seen| seen.caught_up[&3] > times + 1);
    assert_eq!(endless.seen.count(), 2, "read before it was committed");
    producer.commit_transaction(PATIENCE).unwrap();
    endless.until(|seen| seen.count() == 3 && seen.lag[&3] == 0);
    assert_eq!(endless.seen.values(), ["committed 0", "committed 1", "open"]);
}

#[test]
fn reading_starts_at_a_time() {
    const FIRST_MS: i64 = 1_700_000_000_000;
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(2);
    let producer = broker.producer(&[]);
    for i in 0..10 {
        let value = i.to_string();
        send(&producer, &topic, i % 2, value.as_bytes(), Some(FIRST_MS + i64::from(i) * 1000));
    }
    producer.flush(PATIENCE).unwrap();
    for (ms, expected) in [
        (FIRST_MS, 10),
        (FIRST_MS + 4_500, 5),
        (FIRST_MS + 9_000, 1),
        // After the last record, and before time began.
        (FIRST_MS + 100_000_000, 0),
        (-5, 10),
    ] {
        let start = Start::At(EventTime::from_millis(ms));
        let reading = Reading::to_end(&KafkaSource { start, ..finite(&broker.connection(&topic)) });
        assert_eq!(reading.seen.count(), expected, "from {ms}");
    }
}

#[test]
fn new_partitions_are_read_from_their_beginning_by_the_worker_they_belong_to() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(2);
    broker.place(&topic, [(0, "before"), (1, "before")]);
    let source = KafkaSource {
        start: Start::Latest,
        discover_after: Duration::from_secs(1),
        ..KafkaSource::new(broker.connection(&topic))
    };
    let mut workers = [0, 1].map(|worker| Reading::open(&source, worker, 2));
    for reading in &mut workers {
        reading.until(|seen| !seen.caught_up.is_empty());
    }

    broker.extend(&topic, 5);
    broker.place(&topic, [0, 1, 2, 3, 4].map(|partition| (partition, format!("in {partition}"))));
    workers[0].until(|seen| seen.count() == 3);
    workers[1].until(|seen| seen.count() == 2);
    assert_eq!(workers[0].seen.values(), ["in 0", "in 2", "in 4"]);
    assert_eq!(workers[1].seen.values(), ["in 1", "in 3"]);
    assert_eq!(workers.map(|reading| reading.seen.partitions()), [vec![0, 2, 4], vec![1, 3]]);
}

#[test]
fn records_that_retention_deleted_are_an_error_that_names_the_offsets() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(2);
    // One record per batch, each more than one of the reader's 16 batches holds, and a client that fetches little
    // ahead: it has to come back for what is deleted.
    let producer = broker.producer(&[("linger.ms", "0")]);
    for _ in 0..50 {
        send(&producer, &topic, 1, &[b'x'; 150_000], None);
        producer.flush(PATIENCE).unwrap();
    }
    let mut connection = broker.connection(&topic);
    for (name, value) in [("queued.min.messages", "1"), ("fetch.message.max.bytes", "100")] {
        connection.properties.0.insert(name.into(), value.into());
    }
    let mut reading = Reading::open(&KafkaSource::new(connection), 0, 1);
    // Its first fetches are on their way when the records go.
    std::thread::sleep(Duration::from_secs(1));
    broker.delete_before(&topic, 1, 40);
    let error = reading.failure();
    assert!(reading.seen.count() < 40);
    let (wanted, available) = (format!("{topic}[1]: wanted offset"), "available are 40 to 50");
    assert!(error.contains(&wanted) && error.contains(available), "{error}");
}

#[test]
fn what_was_deleted_unnoticed_stops_the_source_or_is_skipped() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(4);
    let producer = broker.producer(&[]);
    for partition in 0..4 {
        for number in 0..50 {
            send(&producer, &topic, partition, number.to_string().as_bytes(), None);
        }
    }
    producer.flush(PATIENCE).unwrap();
    for (partition, before) in [(1, 40), (2, 30), (3, 50)] {
        broker.delete_before(&topic, partition, before);
    }
    let source = finite(&broker.connection(&topic));
    let error = Reading::resume(&source, 15).failure();
    assert!(error.contains(&format!("{topic}[1]: wanted offset 15, available are 40 to 50")), "{error}");
    assert!(error.contains("source \"logins\"") && error.contains("on_gap"), "{error}");

    // Several partitions at once, of which one has nothing left.
    let mut reading = Reading::resume(&KafkaSource { on_gap: OnGap::Skip, ..source.clone() }, 15);
    assert!(reading.until(|_| false), "the source ends");
    let numbers = |from: u32| (from..50).map(|number| number.to_string());
    let expected: Vec<String> = numbers(15).chain(numbers(40)).chain(numbers(30)).collect();
    assert_eq!(reading.seen.values(), expected);
    assert_eq!(reading.seen.gone, [(1, 25), (2, 15), (3, 35)].into());
}

#[test]
fn a_topic_deleted_under_a_dataflow_ends_it_with_an_error_that_names_it() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic(PARTITIONS);
    broker.place(&topic, [(0, "no event")]);
    let program = Program::start(
        "auth-windows",
        2,
        &[
            format!(
                "sources.events={{kind=\"kafka\", brokers=\"{}\", topic=\"{topic}\", discover_after=\"1s\"}}",
                broker.address
            ),
            format!("sinks.windows.path={:?}", folder.path().join("windows").display().to_string()),
            format!("sinks.alerts.path={:?}", folder.path().join("alerts").display().to_string()),
        ],
    );
    // It runs: the record became a dead letter, which is in the log.
    let start = Instant::now();
    while !program.said().contains("dead letter") {
        assert!(start.elapsed() < PATIENCE, "{}", program.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    broker.delete(&topic);
    let ended = program.ended();
    assert_eq!(ended.code, Some(3), "{}", ended.said);
    assert!(ended.said.contains("was deleted while it was read"), "{}", ended.said);
    assert!(ended.said.contains(&format!("error: topic \"{topic}\" at")), "{}", ended.said);
}
