//! What a run can resume from: which checkpoints there are, what happens if one is damaged, and what the command line
//! makes of them; and that every kind of operator resumes correctly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::kills::{prepare, settings, wrong};
use super::process::{Ended, PATIENCE, Process, rows, run, tidewatch};

/// A worker reads half a megabyte per epoch: slow enough to be killed in between.
const PACE: [&str; 2] = ["engine.records_per_epoch_max=100", "engine.tick=200ms"];

/// The folders of complete checkpoints, oldest first.
fn complete(state: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(state.join("checkpoints")) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("manifest").exists());
    folders.sort();
    folders
}

/// The command that runs `dataflow` on the state directory in `folder`, with a checkpoint several times a second.
fn command(folder: &Path, dataflow: &str, workers: usize, settings: &[String], more: &[&str]) -> std::process::Command {
    let (state, workers) = (folder.join("state"), workers.to_string());
    let mut command = tidewatch(&["run", dataflow, "--workers", &workers, "--state", state.to_str().unwrap()]);
    command.args([
        "--set",
        "engine.admin=off",
        "--set",
        "engine.checkpoint_interval=200ms",
        "--set",
        "engine.tick=50ms",
    ]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting])).args(more);
    command
}

/// Runs until there are `checkpoints` more, and kills it.
fn kill_after(mut command: std::process::Command, state: &Path, checkpoints: usize) {
    let (before, mut seen) = (complete(state), BTreeSet::new());
    let mut process = Process::start(&mut command);
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < checkpoints {
        seen.extend(complete(state).into_iter().filter(|folder| !before.contains(folder)));
        assert!(process.is_running(), "it ended before it was killed: {}", process.stderr());
        assert!(Instant::now() < deadline, "no checkpoint: {}", process.stderr());
        thread::sleep(Duration::from_millis(5));
    }
    // While the next one is being taken, perhaps.
    thread::sleep(Duration::from_millis(130));
    process.kill();
}

fn finish(mut command: std::process::Command) -> Ended {
    let ended = Process::start(&mut command).end_within(2 * PATIENCE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    ended
}

/// The checkpoint that a run resumed from, according to the log.
fn from(ended: &Ended) -> Option<&str> {
    let line = ended.stderr.lines().find(|line| line.contains("state directory state_dir="))?;
    Some(line.split_once("from=")?.1.split_whitespace().next().unwrap())
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn checkpoints_are_shown_and_checked_and_a_damaged_one_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let at = state.to_str().unwrap();
    let expected = prepare(folder.path(), 300_000, 1);
    let mut paced = settings(folder.path());
    paced.extend(PACE.map(str::to_owned));
    kill_after(command(folder.path(), "auth-windows", 2, &paced, &[]), &state, 5);

    let there = complete(&state);
    assert_eq!(there.len(), 3, "{there:?}");
    let listed = run(&["checkpoint", "list", "--state", at]);
    assert!(there.iter().all(|folder| listed.stdout.contains(&name(folder))), "{}", listed.stdout);
    let inspected = run(&["checkpoint", "inspect", "--state", at]);
    assert!(
        inspected.stdout.contains(&name(&there[2])) && inspected.stdout.contains("per-address"),
        "{}",
        inspected.stdout
    );
    assert!(inspected.stdout.contains("in.0.jsonl"), "{}", inspected.stdout);
    let verified = run(&["checkpoint", "verify", "--state", at]);
    assert_eq!((verified.code(), verified.stdout.matches("is whole").count()), (Some(0), 3), "{}", verified.stdout);

    // One bit of the newest.
    let part = fs::read_dir(&there[2]).unwrap().map(|entry| entry.unwrap().path());
    let part = part
        .filter(|path| path.extension().is_some_and(|e| e == "part"))
        .max_by_key(|path| path.metadata().unwrap().len());
    let part = part.unwrap();
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&part, bytes).unwrap();
    let verified = run(&["checkpoint", "verify", "--state", at]);
    assert_eq!(verified.code(), Some(5), "{}", verified.stdout);
    assert!(verified.stdout.contains("its checksum does not match"), "{}", verified.stdout);
    assert!(verified.errors()[0].contains("1 of 3 checkpoints cannot be restored"), "{}", verified.stderr);
    let chosen = run(&["run", "auth-windows", "--state", at, "--from", &name(&there[2])]);
    assert_eq!(chosen.code(), Some(5), "another dataflow's settings, or a damaged checkpoint: {}", chosen.stderr);

    let oldest = name(&there[0]);
    kill_after(command(folder.path(), "auth-windows", 1, &paced, &["--from", &oldest]), &state, 1);
    fs::remove_file(there[2].join("manifest")).unwrap_or_default();
    let ended = finish(command(folder.path(), "auth-windows", 3, &settings(folder.path()), &[]));
    assert!(from(&ended).is_some(), "{}", ended.stderr);
    let wrong = wrong(folder.path(), &expected);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn without_its_checkpoints_a_run_says_what_to_do_and_from_scratch_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let expected = prepare(folder.path(), 150_000, 2);
    let mut paced = settings(folder.path());
    paced.extend(PACE.map(str::to_owned));
    kill_after(command(folder.path(), "auth-windows", 2, &paced, &[]), &state, 6);
    let pruned = run(&["checkpoint", "prune", "--keep", "1", "--state", state.to_str().unwrap()]);
    assert_eq!(pruned.code(), Some(0), "{}", pruned.stderr);
    assert_eq!(complete(&state).len(), 1);

    let refused = Process::start(&mut command(folder.path(), "auth-windows", 2, &paced, &["--from", "none"]));
    let refused = refused.end_within(PATIENCE);
    assert_eq!(refused.code(), Some(5), "{}", refused.stderr);
    assert!(refused.stderr.contains("start over with --from-scratch"), "{}", refused.stderr);

    fs::remove_dir_all(folder.path().join("out")).unwrap();
    let ended = finish(command(folder.path(), "auth-windows", 2, &settings(folder.path()), &["--from-scratch"]));
    assert_eq!(from(&ended), None, "{}", ended.stderr);
    assert!(state.join("discarded/000001/identity.json").exists());
    let wrong = wrong(folder.path(), &expected);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_to_resume_from_needs_a_state_directory_and_a_name() {
    let without = run(&["run", "auth-windows", "--from", "none"]);
    assert_eq!(without.code(), Some(2), "{}", without.stderr);
    assert!(without.errors()[0].contains("are for runs with a state directory"), "{}", without.stderr);
    let unnamed = run(&["run", "auth-windows", "--state", "s", "--from", "yesterday"]);
    assert_eq!(unnamed.code(), Some(2));
    assert!(unnamed.stderr.contains("is no name of a checkpoint; they look like"), "{}", unnamed.stderr);
    let nowhere = run(&["checkpoint", "list", "--state", "no-such-folder"]);
    assert_eq!(nowhere.code(), Some(2), "{}", nowhere.stderr);
}

/// The rows of a sink, and how often each is there; of a sink of changes, those of the final collection.
fn standing(folder: &Path) -> BTreeMap<String, i64> {
    let mut standing = BTreeMap::new();
    for row in rows(folder) {
        let value: Value = serde_json::from_str(&row).unwrap();
        let (row, by) = match value["by"].as_i64() {
            Some(by) => (value["row"].to_string(), by),
            None => (row, 1),
        };
        *standing.entry(row).or_default() += by;
    }
    standing.retain(|_, times| *times != 0);
    standing
}

/// Runs a dataflow without interruption, and again killed twice on other numbers of workers; the rows of each sink must
/// be the same.
fn survives(dataflow: &str, sinks: &[&str], settings: &[&str], pace: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let set = |out: &str, more: &[&str]| -> Vec<String> {
        let path = |sink: &&str| format!("sinks.{sink}.path={}", folder.path().join(out).join(sink).display());
        let kind = |sink: &&str| format!("sinks.{sink}.kind=file");
        let texts = settings.iter().chain(more).map(|setting| (*setting).to_owned());
        texts.chain(sinks.iter().map(kind)).chain(sinks.iter().map(path)).collect()
    };
    let mut undisturbed = tidewatch(&["run", dataflow, "--set", "engine.admin=off"]);
    undisturbed.args(set("undisturbed", &[]).iter().flat_map(|setting| ["--set", setting]));
    finish(undisturbed);
    let state = folder.path().join("state");
    for workers in [1, 3] {
        kill_after(command(folder.path(), dataflow, workers, &set("killed", pace), &[]), &state, 2);
    }
    let ended = finish(command(folder.path(), dataflow, 2, &set("killed", &[]), &[]));
    assert!(from(&ended).is_some(), "{}", ended.stderr);
    for sink in sinks {
        let (expected, found) = (
            standing(&folder.path().join("undisturbed").join(sink)),
            standing(&folder.path().join("killed").join(sink)),
        );
        assert!(expected.len() > 3, "{dataflow}: {sink} has {} rows", expected.len());
        assert!(expected == found, "{dataflow}: {sink} has {} rows of {} and differs", found.len(), expected.len());
    }
}

#[test]
fn windows_of_windows_and_merged_streams_are_resumed() {
    let generated = [
        "sources.auth.kind=generator",
        "sources.auth.profile=openssh",
        "sources.auth.events=500000",
        "sources.auth.partitions=3",
    ];
    survives("ssh-brute-force", &["failures", "spraying", "alerts"], &generated, &PACE);
}

#[test]
fn collections_and_joins_in_windows_are_resumed() {
    let generated =
        ["sources.events.events=150000", "sources.events.partitions=3", "sources.events.events_per_second=500.0"];
    for dataflow in ["nexmark-q3", "nexmark-q4", "nexmark-q5", "nexmark-q6", "nexmark-q7", "nexmark-q8"] {
        survives(dataflow, &["rows"], &generated, &PACE);
    }
}
