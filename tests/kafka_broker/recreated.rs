//! A topic that is deleted and created again under the same name: whatever is in it, it is not the one that was read.

use std::path::Path;
use std::time::{Duration, Instant};

use tidewatch::connectors::kafka::{KafkaSource, OnGap, Until};

use super::broker::{Broker, PATIENCE};
use super::program::{Ended, Program};
use super::reading::Reading;

/// What was read before the topic was deleted, and what is in the next one: no records, fewer, as many, more, and some
/// where there were none.
const SIZES: [(u32, u32); 5] = [(100, 0), (100, 50), (100, 100), (100, 300), (0, 10)];

fn fill(broker: &Broker, topic: &str, records: u32) {
    broker.place(topic, (0..records).map(|number| (0, format!("record {number}"))));
}

fn recreate(broker: &Broker, topic: &str, partitions: u32, records: u32) {
    broker.delete(topic);
    broker.create(topic, partitions);
    fill(broker, topic, records);
}

#[test]
fn a_topic_recreated_while_it_is_read_stops_the_source_whatever_is_in_it() {
    let Some(broker) = Broker::shared() else { return };
    let mut readings = SIZES.map(|(before, _)| {
        let topic = broker.topic(1);
        fill(&broker, &topic, before);
        let mut reading = Reading::open(&KafkaSource::new(broker.connection(&topic)), 0, 1);
        reading.until(|seen| seen.count() == before as usize && !seen.caught_up.is_empty());
        (topic, reading)
    });
    for ((topic, reading), (before, after)) in readings.iter_mut().zip(SIZES) {
        recreate(&broker, topic, 1, after);
        let error = reading.failure();
        assert!(
            error.contains(topic.as_str()) && error.contains("was deleted and made anew while it was read"),
            "{error}"
        );
        // Not one of the other topic.
        assert_eq!(reading.seen.count(), before as usize);
    }
}

#[test]
fn one_recreated_in_the_middle_of_a_finite_source_stops_it_too() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(1);
    // More than the reader fetches before it is asked for the first.
    broker.place(&topic, (0..30).map(|_| (0, [b'x'; 300_000])));
    let mut connection = broker.connection(&topic);
    for (name, value) in [("queued.min.messages", "1"), ("fetch.message.max.bytes", "100")] {
        connection.properties.0.insert(name.into(), value.into());
    }
    let mut reading = Reading::open(&KafkaSource { until: Until::End, ..KafkaSource::new(connection) }, 0, 1);
    broker.delete(&topic);
    broker.create(&topic, 1);
    broker.place(&topic, (0..60).map(|_| (0, [b'y'; 300_000])));
    let error = reading.failure();
    assert!(error.contains("was deleted and made anew"), "{error}");
    assert!(!reading.seen.values().iter().any(|value| value.starts_with('y')));
}

#[test]
fn one_recreated_between_two_runs_stops_the_second_whatever_is_in_it() {
    let Some(broker) = Broker::shared() else { return };
    for (before, after) in SIZES {
        let topic = broker.topic(3);
        fill(&broker, &topic, before);
        let endless = KafkaSource::new(broker.connection(&topic));
        let finite = KafkaSource { until: Until::End, ..endless.clone() };
        let read = Reading::to_end(&finite);
        let sources = [endless.clone(), finite, KafkaSource { on_gap: OnGap::Skip, ..endless }];
        let refused = |words: &str| {
            for (source, ended) in sources.iter().flat_map(|source| [(source, false), (source, true)]) {
                let error = Reading::reopen(source, &read.known(ended)).err().expect("it is refused").to_string();
                assert!(
                    error.contains(words) && error.contains(&topic) && error.contains("hint: "),
                    "{words}: {error}"
                );
                // What a state directory of before knows nothing of.
                let mut without = read.known(ended);
                without.iter_mut().for_each(|known| known.identity = None);
                if after < before {
                    let error = Reading::reopen(source, &without).err().expect("it is refused").to_string();
                    assert!(error.contains("fewer records than were read") || error.contains("partitions"), "{error}");
                }
            }
        };
        Reading::reopen(&sources[0], &read.known(false)).expect("nothing has changed");
        recreate(&broker, &topic, 3, after);
        refused("was deleted and made anew since an earlier run read it");
        recreate(&broker, &topic, 1, after);
        refused("was deleted and made anew");
    }
}

#[test]
fn fewer_partitions_are_noticed_without_an_id() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(3);
    let read = Reading::to_end(&KafkaSource { until: Until::End, ..KafkaSource::new(broker.connection(&topic)) });
    let mut known = read.known(false);
    known.iter_mut().for_each(|known| known.identity = None);
    recreate(&broker, &topic, 1, 1);
    let error = Reading::reopen(&KafkaSource::new(broker.connection(&topic)), &known).err().expect("it is refused");
    assert!(error.to_string().contains("has 1 partitions, and earlier runs read 3"), "{error}");
}

fn run(broker: &Broker, topic: &str, state: &Path, more: &[&str]) -> Program {
    let mut settings = vec![
        format!("sources.events={{kind=\"kafka\", brokers=\"{}\", topic=\"{topic}\"}}", broker.address),
        format!("engine.state_dir={:?}", state.display().to_string()),
        "engine.checkpoint_interval=1s".to_owned(),
    ];
    settings.extend(["sinks.windows.kind=null", "sinks.alerts.kind=null", "dead_letters.kind=null"].map(str::to_owned));
    settings.extend(more.iter().map(|setting| (*setting).to_owned()));
    Program::start("auth-windows", 1, &settings)
}

fn refused(ended: &Ended) {
    assert_eq!(ended.code, Some(3), "{}", ended.said);
    assert!(ended.said.contains("was deleted and made anew since an earlier run read it"), "{}", ended.said);
}

#[test]
fn a_state_directory_remembers_the_topic_in_its_bindings_and_in_its_checkpoints() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Both at once: one ends before there is a checkpoint, the other one is asked to stop after a few.
    let (bound, kept) = (broker.topic(2), broker.topic(2));
    let (state_of_bound, state_of_kept) = (folder.path().join("bound"), folder.path().join("kept"));
    fill(&broker, &bound, 100);
    fill(&broker, &kept, 100);
    let endless = run(&broker, &kept, &state_of_kept, &[]);
    let ended = run(&broker, &bound, &state_of_bound, &["sources.events.until=end"]).ended();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let start = Instant::now();
    let checkpoints = || std::fs::read_dir(state_of_kept.join("checkpoints")).map_or(0, Iterator::count);
    while checkpoints() < 2 {
        assert!(start.elapsed() < PATIENCE, "{}", endless.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    endless.terminate();
    let ended = endless.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.said);

    recreate(&broker, &bound, 2, 300);
    recreate(&broker, &kept, 2, 300);
    refused(&run(&broker, &bound, &state_of_bound, &["sources.events.until=end"]).ended());
    refused(&run(&broker, &kept, &state_of_kept, &[]).ended());
}
