//! Dataflows over Kafka give the answers that they give over files, and those of an oracle that is not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::broker::{Broker, left_out, script};
use super::input::{Input, PARTITIONS, Place, YEAR, shared};
use super::program::{Program, expect_same, parsed, rows, to_file};

/// The setting of a source that reads a topic to its end.
fn from_topic(source: &str, broker: &Broker, topic: &str, more: &str) -> String {
    let address = &broker.address;
    format!("sources.{source}={{kind=\"kafka\", brokers=\"{address}\", topic=\"{topic}\", until=\"end\", {more}}}")
}

/// The setting of a sink that writes to a topic and to files.
fn to_topic_and_file(sink: &str, broker: &Broker, topic: &str, folder: &Path) -> String {
    let kafka = format!("{{kind=\"kafka\", brokers=\"{}\", topic=\"{topic}\"}}", broker.address);
    let file = format!("{{kind=\"file\", path={:?}}}", folder.display().to_string());
    format!("{sink}=[{kafka}, {file}]")
}

/// Where the dead letters in a folder came from.
fn dead_letter_places(folder: &Path) -> BTreeSet<Place> {
    let letters = parsed(&rows(folder));
    let count = letters.len();
    let places: BTreeSet<Place> = letters
        .iter()
        .map(|letter| {
            (letter["partition"].as_str().expect("text").to_owned(), letter["offset"].as_u64().expect("number"))
        })
        .collect();
    assert_eq!(places.len(), count, "no place has two dead letters");
    places
}

#[test]
fn alerts_in_a_topic_are_those_in_files_whoever_reads_them() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (input, malformed) = Input::openssh();
    assert!(malformed.len() > 100);
    let lines = broker.topic(PARTITIONS);
    broker.place(&lines, input.lines.iter().map(|(partition, line)| (*partition, line)));

    let sinks = |run: &Path| ["failures", "spraying"].map(|sink| to_file(&format!("sinks.{sink}"), &run.join(sink)));
    let from_files = folder.path().join("files");
    let mut settings = sinks(&from_files).to_vec();
    settings.push(format!(
        "sources.auth={{kind=\"file\", path={:?}, year={YEAR}, out_of_order=\"60s\"}}",
        input.files(folder.path())
    ));
    settings.push(to_file("sinks.alerts", &from_files.join("alerts")));
    Program::run("ssh-brute-force", 2, &settings);
    let expected = rows(&from_files.join("alerts"));
    assert!(expected.len() >= 8, "the planted attacks raise alerts");

    for workers in [1, 2, 4] {
        let run = folder.path().join(format!("workers-{workers}"));
        let alerts = broker.topic(3);
        let mut settings = sinks(&run).to_vec();
        settings.push(from_topic("auth", &broker, &lines, &format!("year={YEAR}, out_of_order=\"60s\"")));
        settings.push(to_topic_and_file("sinks.alerts", &broker, &alerts, &run.join("alerts")));
        settings.push(to_file("dead_letters", &run.join("dead")));
        let ended = Program::run("ssh-brute-force", workers, &settings);

        // From what was read to what was written, so that the first difference is where it went wrong.
        let (read, dead) = (input.lines.len() as u64, malformed.len() as u64);
        assert_eq!(ended.counts(), (read, read - dead, dead), "{workers} workers:\n{}", ended.said);
        assert_eq!(dead_letter_places(&run.join("dead")), malformed, "{workers} workers");
        for sink in ["failures", "spraying", "alerts"] {
            let (ours, expected) = (rows(&run.join(sink)), rows(&from_files.join(sink)));
            expect_same(&ours, &expected, &format!("{workers} workers, {sink}:\n{}", ended.said));
        }
        let what = format!("{workers} workers, the topic:\n{}", ended.said);
        expect_same(&broker.foreign(&alerts), &expected, &what);
    }
}

#[test]
fn windows_over_four_partitions_are_those_of_files_and_what_is_refused_names_its_place() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let input = Input::auth_events(20_000, 100.0);
    let malformed = input.no_auth_events();
    assert!(malformed.len() > 100);
    let events = broker.topic(PARTITIONS);
    broker.place(&events, input.lines.iter().map(|(partition, line)| (*partition, line)));

    let from_files = folder.path().join("files");
    let settings = [
        format!("sources.events.path={:?}", input.files(folder.path())),
        "params.failures_min=20".to_owned(),
        to_file("sinks.windows", &from_files.join("windows")),
        to_file("sinks.alerts", &from_files.join("alerts")),
    ];
    Program::run("auth-windows", 1, &settings);
    let expected = ["windows", "alerts"].map(|sink| rows(&from_files.join(sink)));
    assert!(expected[0].len() > 1000 && !expected[1].is_empty());

    for workers in [1, 2, 4] {
        let run = folder.path().join(format!("workers-{workers}"));
        let (windows, alerts) = (broker.topic(PARTITIONS), broker.topic(1));
        let settings = [
            from_topic("events", &broker, &events, "out_of_order=\"5s\""),
            "params.failures_min=20".to_owned(),
            to_topic_and_file("sinks.windows", &broker, &windows, &run.join("windows")),
            to_topic_and_file("sinks.alerts", &broker, &alerts, &run.join("alerts")),
            to_file("dead_letters", &run.join("dead")),
        ];
        let ended = Program::run("auth-windows", workers, &settings);

        for ((sink, topic), expected) in [("windows", &windows), ("alerts", &alerts)].into_iter().zip(&expected) {
            expect_same(&rows(&run.join(sink)), expected, &format!("{workers} workers, {sink}, the files"));
            expect_same(&broker.foreign(topic), expected, &format!("{workers} workers, {sink}, the topic"));
        }
        assert_eq!(dead_letter_places(&run.join("dead")), malformed, "{workers} workers");
        let (read, dead) = (input.lines.len() as u64, malformed.len() as u64);
        assert_eq!(ended.counts(), (read, read - dead, dead), "{workers} workers:\n{}", ended.said);
        let counted: u64 = parsed(&expected[0]).iter().map(|row| row["count"].as_u64().expect("a number")).sum();
        assert_eq!(counted, read - dead, "every event is in one window");
    }
}

#[test]
fn a_real_log_through_kafka_gives_the_answers_of_its_oracle() {
    let Some(broker) = Broker::shared() else { return };
    let (Some(log), Some(expected)) = (shared("data/auth/auth.log"), shared("expected/auth")) else {
        left_out("there is no data/auth/auth.log in TIDEWATCH_SHARED or ../shared");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // One partition: the log is one sequence, and its years follow from its order.
    let topic = broker.topic(1);
    script(&["produce", &topic, log.to_str().unwrap(), "--partition", "0"]);
    let settings = [
        from_topic("auth", &broker, &topic, "year=2017, out_of_order=\"60s\""),
        to_file("sinks.failures", &folder.path().join("failures")),
        to_file("sinks.spraying", &folder.path().join("spraying")),
        to_file("sinks.alerts", &folder.path().join("alerts")),
    ];
    let ended = Program::run("ssh-brute-force", 2, &settings);
    let lines = fs::read(&log).unwrap().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
    assert_eq!(ended.counts().0, lines, "{}", ended.said);

    let failures = parsed(&rows(&folder.path().join("failures")));
    let spraying = parsed(&rows(&folder.path().join("spraying")));
    let seconds = |row: &Value, name: &str| {
        let ms = row[name].as_i64().expect("a time");
        assert_eq!(ms % 1000, 0, "the log has whole seconds");
        ms / 1000
    };
    let failed_5m = failures.iter().map(|row| {
        json!({"win": seconds(row, "window_start"), "ip": row["source_ip"], "failures": row["failures"],
               "users": row["users"], "first": seconds(row, "first"), "last": seconds(row, "last")})
    });
    let spray_1h = spraying.iter().map(|row| {
        json!({"win": seconds(row, "window_start"), "ip": row["source_ip"], "users": row["users"],
               "failures": row["failures"]})
    });
    let mut per_window: BTreeMap<i64, u64> = BTreeMap::new();
    for row in &failures {
        *per_window.entry(seconds(row, "window_start")).or_default() += row["failures"].as_u64().expect("a number");
    }
    let rate_5m = per_window.into_iter().map(|(win, failures)| json!({"win": win, "failures": failures}));

    for (name, mut ours) in
        [("failed_5m", failed_5m.collect::<Vec<_>>()), ("spray_1h", spray_1h.collect()), ("rate_5m", rate_5m.collect())]
    {
        let text = fs::read_to_string(expected.join(format!("{name}.jsonl"))).unwrap();
        let mut theirs = parsed(&text.lines().collect::<Vec<_>>());
        assert!(!theirs.is_empty());
        theirs.sort_by_key(Value::to_string);
        ours.sort_by_key(Value::to_string);
        assert_eq!(ours, theirs, "{name}");
    }
}
