//! kill -9 of one process or of all, over files.

use std::fs;
use std::path::Path;

use super::check::Differences;
use super::input::{self, OUT_OF_ORDER_MS, Random};
use super::oracle::{self, Expected, FAILURES_MIN, letter, window_id};
use super::process::{PATIENCE, rows};
use super::rounds::{Rounds, records, seed_and_rounds};

/// A worker reads half a megabyte per epoch, and then waits for the next one: slow enough to be killed in between.
const PACE: [&str; 2] = ["engine.records_per_epoch_max=1000", "engine.tick=250ms"];

/// Writes the partitions to files in `folder`, and returns the expected results of `auth-windows`.
pub(crate) fn prepare(folder: &Path, records: usize, seed: u64) -> Expected {
    let mut known = Vec::new();
    for (number, lines) in input::partitions(records, seed).into_iter().enumerate() {
        let path = folder.join(format!("in.{number}.jsonl"));
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        let mut offset = 0;
        let placed = lines.into_iter().map(|line| {
            let at = offset;
            offset += line.len() as u64 + 1;
            (at, line)
        });
        known.push((path.to_str().unwrap().to_owned(), placed.collect()));
    }
    oracle::expected(&known)
}

/// The settings of `auth-windows` from the files in `folder` to `folder/out`.
pub(crate) fn settings(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let mut settings = vec![
        format!("sources.events.path={folder}/in.*.jsonl"),
        format!("sources.events.out_of_order={OUT_OF_ORDER_MS}ms"),
        format!("params.failures_min={FAILURES_MIN}"),
        "dead_letters.kind=file".to_owned(),
        format!("dead_letters.path={folder}/out/dead_letters"),
    ];
    for sink in ["windows", "alerts"] {
        settings.push(format!("sinks.{sink}.path={folder}/out/{sink}"));
        // Many files, so that kills also find them being finished.
        settings.push(format!("sinks.{sink}.roll_bytes=100kB"));
    }
    settings
}

/// What is wrong with the finished files in `folder/out`, one line per sink.
pub(crate) fn wrong(folder: &Path, expected: &Expected) -> Vec<String> {
    let parsed =
        |sink: &str| rows(&folder.join("out").join(sink)).into_iter().map(|row| serde_json::from_str(&row).unwrap());
    let by_window = |sink| parsed(sink).map(|row| (window_id(&row), row)).collect::<Vec<_>>();
    [
        ("windows", Differences::between(&expected.windows, by_window("windows"))),
        ("alerts", Differences::between(&expected.alerts, by_window("alerts"))),
        ("dead_letters", Differences::between(&expected.dead_letters, parsed("dead_letters").map(|row| letter(&row)))),
    ]
    .into_iter()
    .filter(|(_, differences)| !differences.is_none())
    .map(|(sink, differences)| format!("{sink}: {differences}"))
    .collect()
}

/// A cluster over the files in `folder`.
pub(crate) fn cluster(folder: &Path) -> Rounds {
    let mut settings = settings(folder);
    settings.extend(PACE.map(str::to_owned));
    // So often that kills find them being taken.
    settings.push("engine.checkpoint_interval=300ms".to_owned());
    Rounds { state: folder.join("state"), settings, progress: 2_000_000 }
}

#[test]
fn a_process_that_is_stopped_for_good_is_done_without() {
    let (seed, _) = seed_and_rounds(1);
    let folder = tempfile::tempdir().unwrap();
    let expected = prepare(folder.path(), 60_000, seed);
    cluster(folder.path()).survive_a_stop(&mut Random(seed));
    let wrong = wrong(folder.path(), &expected);
    assert!(wrong.is_empty(), "TIDEWATCH_SEED={seed}: {wrong:#?}");
}

#[test]
fn a_second_run_on_the_same_state_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), 50_000, 1);
    let mut rounds = cluster(folder.path());
    // So slow that it still runs when the second one gives up.
    rounds.settings.push("engine.tick=5s".to_owned());
    let mut first = rounds.start(&mut Random(1));
    first.wait_for("running", 1);
    let second = rounds.start(&mut Random(2)).end_within(PATIENCE);
    assert_eq!(second.code(), Some(5), "{}", second.stderr);
    assert!(second.errors()[0].contains("is in use by another run"), "{}", second.stderr);
}

#[test]
fn each_row_comes_out_once_though_processes_are_killed() {
    let (seed, rounds) = seed_and_rounds(5);
    let folder = tempfile::tempdir().unwrap();
    let expected = prepare(folder.path(), records(rounds), seed);
    assert!(expected.windows.len() > 5_000 && expected.alerts.len() > 100 && expected.dead_letters.len() > 500);
    cluster(folder.path()).survive(rounds, &mut Random(seed), |_| {});
    let wrong = wrong(folder.path(), &expected);
    assert!(wrong.is_empty(), "TIDEWATCH_SEED={seed} TIDEWATCH_ROUNDS={rounds}: {wrong:#?}");
}
