//! kill -9 of one process or of all, over files.

use std::fs;
use std::path::Path;

use super::check::Differences;
use super::input::{self, OUT_OF_ORDER_MS, Random};
use super::oracle::{self, Expected, FAILURES_MIN, letter, window_id};
use super::process::rows;
use super::rounds::{Rounds, seed_and_rounds};

/// Records in all: so many that the last kill still finds the cluster at work.
const RECORDS: usize = 200_000;

/// How many records a worker reads per epoch, and how often epochs end: slow enough to be killed in between.
const PACE: [&str; 2] = ["engine.records_per_epoch_max=1000", "engine.tick=50ms"];

/// Writes the partitions to files in `folder`, and says what `auth-windows` must come to.
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
        // Many files, so that kills find them being finished as well.
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

#[test]
fn each_row_comes_out_once_though_processes_are_killed() {
    let (seed, rounds) = seed_and_rounds(5);
    let folder = tempfile::tempdir().unwrap();
    let expected = prepare(folder.path(), RECORDS, seed);
    assert!(expected.windows.len() > 5_000 && expected.alerts.len() > 100 && expected.dead_letters.len() > 500);
    let mut settings = settings(folder.path());
    settings.extend(PACE.map(str::to_owned));
    let cluster = Rounds { state: folder.path().join("state"), settings, progress_bytes: 1_000 };
    cluster.survive(rounds, &mut Random(seed), |_| {});
    let wrong = wrong(folder.path(), &expected);
    assert!(wrong.is_empty(), "TIDEWATCH_SEED={seed} TIDEWATCH_ROUNDS={rounds}: {wrong:#?}");
}
