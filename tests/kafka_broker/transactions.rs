//! The sink in transactions, as a run with a state directory opens it.

use std::thread;
use std::time::{Duration, Instant};

use tidewatch::connectors::kafka::KafkaSink;
use tidewatch::connectors::sink::{Delivery, Generation, SinkConnector, SinkContext, SinkWriter};
use tidewatch::error::Result;

use super::broker::{Broker, PATIENCE, script};
use super::program::expect_same;

/// A state directory that no other test has.
fn state(broker_topic: &str) -> String {
    format!("state{broker_topic}")
}

fn open(sink: &KafkaSink, state: &str, generation: u64) -> Result<Box<dyn SinkWriter>> {
    let generation = Some(Generation { state: state.to_owned(), number: generation });
    sink.open(&SinkContext { name: "rows".into(), shard: 0, shards: 1, run_ms: 0, generation })
}

fn row(epoch: u64, number: u64) -> String {
    format!("{epoch}-{number}")
}

/// Gives an epoch of `rows` rows to the writer.
fn give(writer: &mut dyn SinkWriter, epoch: u64, rows: u64) {
    for number in 0..rows {
        writer.write(None, row(epoch, number).as_bytes()).expect("it takes rows");
    }
    writer.seal(epoch).expect("it takes epochs");
}

fn wait_for(writer: &mut dyn SinkWriter, epoch: u64) {
    let start = Instant::now();
    while writer.durable().expect("it commits") < Some(epoch) {
        assert!(start.elapsed() < PATIENCE, "epoch {epoch} is not committed");
        thread::sleep(Duration::from_millis(1));
    }
}

fn expected(epochs: impl Iterator<Item = u64>, rows: u64) -> Vec<String> {
    let mut expected: Vec<String> = epochs.flat_map(|epoch| (0..rows).map(move |number| row(epoch, number))).collect();
    expected.sort_unstable();
    expected
}

#[test]
fn what_is_committed_is_found_and_what_is_not_is_never_seen() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(3);
    let sink = KafkaSink::new(broker.connection(&topic));
    let state = state(&topic);
    assert_eq!(sink.delivery(), Delivery::ExactlyOnce);

    let mut first = open(&sink, &state, 1).unwrap();
    assert_eq!(first.committed(), None);
    give(&mut *first, 10, 5);
    wait_for(&mut *first, 10);
    first.seal(15).unwrap();
    assert_eq!(first.durable().unwrap(), Some(15), "an epoch without rows waits for nothing");

    // The next generation does not wait for the first to be gone.
    let mut second = open(&sink, &state, 2).unwrap();
    assert_eq!(second.committed(), Some(10));
    give(&mut *first, 20, 5);
    let start = Instant::now();
    let fenced = loop {
        match first.durable() {
            Ok(durable) => assert!(durable < Some(20) && start.elapsed() < PATIENCE, "{durable:?}"),
            Err(error) => break error.to_string(),
        }
        thread::sleep(Duration::from_millis(10));
    };
    assert!(fenced.contains("generation 2") && fenced.contains("this is 1"), "{fenced}");
    drop(first);
    give(&mut *second, 21, 5);
    wait_for(&mut *second, 21);
    second.finish().unwrap();

    assert_eq!(open(&sink, &state, 3).unwrap().committed(), Some(21));
    let zombie = open(&sink, &state, 2).err().expect("generation 3 was here").to_string();
    assert!(zombie.contains("generation 3"), "{zombie}");
    assert_eq!(open(&sink, "another-state", 1).unwrap().committed(), None);
    expect_same(&broker.foreign(&topic), &expected([10, 21].into_iter(), 5), "two epochs");
}

#[test]
fn without_a_state_directory_or_if_told_so_there_are_no_transactions() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(1);
    let sink = KafkaSink { delivery: Delivery::AtLeastOnce, ..KafkaSink::new(broker.connection(&topic)) };
    for _ in 0..2 {
        let mut writer = open(&sink, &state(&topic), 1).unwrap();
        assert_eq!(writer.committed(), None);
        give(&mut *writer, 10, 5);
        wait_for(&mut *writer, 10);
    }
    let mut twice = expected([10, 10].into_iter(), 5);
    twice.sort_unstable();
    expect_same(&broker.foreign(&topic), &twice, "both times");
}

#[test]
fn a_broker_that_is_killed_again_and_again_loses_and_repeats_nothing() {
    const EPOCHS: u64 = 300;
    const ROWS: u64 = 200;
    let Some(broker) = Broker::alone() else { return };
    let topic = broker.topic(4);
    let sink = KafkaSink { commit_interval: Duration::from_millis(5), ..KafkaSink::new(broker.connection(&topic)) };
    let mut writer = open(&sink, &state(&topic), 1).unwrap();
    let mut killing = None;
    for epoch in 1..=EPOCHS {
        give(&mut *writer, epoch, ROWS);
        match epoch % 100 {
            // It dies while epochs are being committed,
            40 => killing = Some(thread::spawn(|| script(&["stop", "--kill"]))),
            41..60 => thread::sleep(Duration::from_millis(10)),
            60 => drop(killing.take().expect("it is being killed").join().expect("it was killed")),
            // and stays away while more come.
            80 => {
                assert!(writer.durable().unwrap() < Some(epoch), "the broker was never away");
                script(&["up"]);
            }
            _ => {}
        }
    }
    wait_for(&mut *writer, EPOCHS);
    writer.finish().unwrap();
    expect_same(&broker.foreign(&topic), &expected(1..=EPOCHS, ROWS), "after three kills");
    assert_eq!(open(&sink, &state(&topic), 2).unwrap().committed(), Some(EPOCHS));
}

#[test]
fn a_row_that_no_broker_takes_is_an_error_that_names_the_topic() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(1);
    let sink = KafkaSink::new(broker.connection(&topic));
    let mut writer = open(&sink, &state(&topic), 1).unwrap();
    writer.write(None, &vec![b'x'; 2_000_000]).unwrap();
    writer.seal(1).unwrap();
    let start = Instant::now();
    let error = loop {
        match writer.durable() {
            Ok(durable) => assert!(durable.is_none() && start.elapsed() < PATIENCE),
            Err(error) => break error.to_string(),
        }
        thread::sleep(Duration::from_millis(10));
    };
    assert!(
        error.contains(&topic) && error.contains("2000000 bytes") && error.contains("message.max.bytes"),
        "{error}"
    );
}
