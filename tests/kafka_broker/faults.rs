//! Whole runs from Kafka to Kafka, killed and gone on with, and the broker killed under them.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

#[path = "../faults/check.rs"]
mod check;
#[path = "../faults/input.rs"]
mod input;
#[path = "../faults/oracle.rs"]
mod oracle;
#[path = "../support/process.rs"]
mod process;
#[path = "../faults/rounds.rs"]
mod rounds;

use serde_json::Value;

use self::check::Differences;
use self::input::{OUT_OF_ORDER_MS, PARTITIONS, Random};
use self::oracle::{FAILURES_MIN, letter, window_id};
use self::rounds::{Rounds, records, seed_and_rounds};
use super::broker::{Broker, script};

#[test]
fn each_row_comes_out_once_though_processes_and_the_broker_are_killed() {
    let Some(broker) = Broker::alone() else { return };
    let (seed, rounds) = seed_and_rounds(5);
    let folder = tempfile::tempdir().unwrap();
    let from = broker.topic(PARTITIONS as u32);
    let mut known = Vec::new();
    for (partition, lines) in input::partitions(records(rounds), seed).into_iter().enumerate() {
        broker.place(&from, lines.iter().map(|line| (partition as u32, line)));
        known.push((partition.to_string(), (0..).zip(lines).collect()));
    }
    let expected = oracle::expected(&known);

    let mut settings: Vec<String> =
        ["kind=kafka", "until=end"].map(|setting| format!("sources.events.{setting}")).to_vec();
    settings.push(format!("sources.events.brokers={}", broker.address));
    settings.push(format!("sources.events.topic={from}"));
    settings.push(format!("sources.events.out_of_order={OUT_OF_ORDER_MS}ms"));
    settings.push(format!("params.failures_min={FAILURES_MIN}"));
    settings.extend(
        ["engine.records_per_epoch_max=1000", "engine.tick=250ms", "engine.checkpoint_interval=300ms"]
            .map(str::to_owned),
    );
    let sinks = ["sinks.windows", "sinks.alerts", "dead_letters"].map(|sink| (sink, broker.topic(2)));
    for (sink, topic) in &sinks {
        settings.push(format!("{sink}.kind=kafka"));
        settings.push(format!("{sink}.brokers={}", broker.address));
        settings.push(format!("{sink}.topic={topic}"));
    }

    let cluster = Rounds { state: folder.path().join("state"), settings, progress: 10_000 };
    cluster.survive(rounds, &mut Random(seed), |round| {
        if round % 10 == 2 {
            script(&["stop", "--kill"]);
            script(&["up"]);
        }
    });

    let came = |number: usize| {
        let rows = broker.foreign(&sinks[number].1);
        rows.into_iter().map(|row| serde_json::from_str::<Value>(&row).unwrap()).collect::<Vec<_>>()
    };
    let by_window = |number| came(number).into_iter().map(|row| (window_id(&row), row));
    let wrong: Vec<String> = [
        Differences::between(&expected.windows, by_window(0)),
        Differences::between(&expected.alerts, by_window(1)),
        Differences::between(&expected.dead_letters, came(2).iter().map(letter)),
    ]
    .into_iter()
    .filter(|differences| !differences.is_none())
    .map(|differences| differences.to_string())
    .collect();
    assert!(wrong.is_empty(), "TIDEWATCH_SEED={seed} TIDEWATCH_ROUNDS={rounds}: {wrong:#?}");
}
