//! `bench` and `bench compare`, as a process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use self::process::{Ended, PATIENCE, Process, events, exists, files, run, signal, tidewatch};

/// `bench` with these arguments, whose temporary files are in a folder of the test.
fn bench(arguments: &[&str], folder: &Path) -> Command {
    let mut command = tidewatch(&[&["bench"], arguments].concat());
    command.env("TMPDIR", folder);
    command
}

fn end(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn of<'v>(value: &'v Value, path: &str) -> &'v Value {
    value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value:#}"))
}

#[test]
fn every_combination_is_measured_and_all_give_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["auth-windows", "--workers", "1,2", "--processes", "1,2", "--events", "3000", "--repeats", "2"];
    let ended = end(bench(&[&arguments[..], &["--json", "-"]].concat(), folder.path()));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let results: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(of(&results, "/dataflow"), "auth-windows");
    assert_eq!(of(&results, "/generated/0/records"), 3000);
    assert!(of(&results, "/machine/cores").as_u64().unwrap() >= 1);
    assert!(of(&results, "/build").as_str().unwrap().starts_with(of(&results, "/version").as_str().unwrap()));
    let combinations = of(&results, "/combinations").as_array().unwrap();
    let tried: Vec<_> =
        combinations.iter().map(|c| (of(c, "/processes").as_u64(), of(c, "/workers").as_u64())).collect();
    assert_eq!(tried, [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(p, w)| (Some(p), Some(w))));
    for combination in combinations {
        let runs = of(combination, "/runs").as_array().unwrap();
        assert_eq!(runs.len(), 2, "warm-ups do not count");
        for run in runs {
            assert_eq!(of(run, "/records/events"), 3000);
            assert!(of(run, "/rows/windows").as_u64().unwrap() > 1000);
            assert!(of(run, "/seconds").as_f64().unwrap() > 0.0 && of(run, "/cpu_seconds").as_f64().unwrap() > 0.0);
            assert!(of(run, "/memory_peak_bytes").as_u64().unwrap() > 1 << 20);
            assert!(of(run, "/latency").is_null(), "that of a full queue");
        }
    }
    // Two processes hold more memory than one.
    let memory = |combination: usize| of(&combinations[combination], "/runs/0/memory_peak_bytes").as_u64().unwrap();
    assert!(memory(2) as f64 > memory(0) as f64 * 1.5, "{} and {}", memory(2), memory(0));
    // In turn, and shown as it goes and as a table.
    let order: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with('[')).map(|line| &line[..13]).collect();
    let expected =
        ["1/3", "2/3", "3/3"].map(|round| ["1 × 1", "1 × 2", "2 × 1", "2 × 2"].map(|c| format!("[{round}] {c}:")));
    assert_eq!(order, expected.concat().iter().map(|line| &line[..13]).collect::<Vec<_>>(), "{}", ended.stderr);
    assert!(ended.stderr.contains("speed-up") && ended.stderr.contains("medians of 2 runs"), "{}", ended.stderr);
    assert!(files(folder.path()).is_empty(), "{:?} is left", files(folder.path()));
}

#[test]
fn rows_that_are_changes_may_differ_in_number() {
    let folder = tempfile::tempdir().unwrap();
    for dataflow in ["nexmark-q4", "nexmark-q6"] {
        let arguments = [dataflow, "--events", "20000", "--workers", "1,2", "--repeats", "1"];
        let ended = end(bench(&[&arguments[..], &["--set", "engine.tick=5ms", "--json", "-"]].concat(), folder.path()));
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        let results: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(of(&results, "/changes"), &Value::from(vec!["rows"]));
        assert!(of(&results, "/combinations/1/runs/0/rows/rows").as_u64().unwrap() > 0);
        // The warm-ups are looked at: what is measured writes nothing, as the dataflow has it.
        let [one, two] = [0, 1].map(|i| of(&results, &format!("/combinations/{i}/collections/0/rows")).clone());
        assert!(of(&one, "/rows").as_u64().unwrap() > 0);
        assert_eq!(one, two);
    }
    let arguments = ["auth-windows", "--events", "3000", "--repeats", "1", "--warmup", "0", "--changes", "windows"];
    let ended = end(bench(&arguments, folder.path()));
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.errors()[0].contains("sink \"windows\" are no changes"), "{}", ended.stderr);
}

#[test]
fn a_rate_is_kept_and_latency_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("rate.json");
    let arguments =
        ["auth-windows", "--events", "5000", "--rate", "10000", "--repeats", "1", "--warmup", "0", "--json"];
    let ended = end(bench(&[&arguments[..], &[json.to_str().unwrap()]].concat(), folder.path()));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("p99.9 ms") && ended.stdout.contains("10.0 k events/s offered"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("speed-up"), "{}", ended.stdout);
    let results: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let run = of(&results, "/combinations/0/runs/0");
    assert!(of(run, "/seconds").as_f64().unwrap() >= 0.49, "{run:#}");
    let ms = |of_all: &str| of(run, &format!("/latency/{of_all}_ms")).as_f64().unwrap();
    let in_order = [0.0, ms("p50"), ms("p99"), ms("p99_9"), ms("max")];
    assert!(in_order.is_sorted(), "{in_order:?}");
    // A record waits half a tick of 100 ms on the average, and the first of a tick all of it.
    assert!(ms("p50") > 20.0 && ms("max") > 70.0, "{in_order:?}");
}

#[test]
fn runs_that_disagree_fail_after_they_were_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.jsonl"), events(500)).unwrap();
    // More input comes all the while.
    let (input, ended) = (format!("sources.events.path={}/*.jsonl", folder.path().display()), AtomicBool::new(false));
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0.. {
                if ended.load(Ordering::Acquire) {
                    break;
                }
                let file = folder.path().join(format!("{i}"));
                fs::write(&file, events(1)).unwrap();
                fs::rename(&file, file.with_extension("jsonl")).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        });
        let measured = end(bench(&["auth-windows", "--repeats", "2", "--set", &input], folder.path()));
        ended.store(true, Ordering::Release);
        measured
    });
    assert_eq!(ended.code(), Some(70), "{}", ended.stderr);
    assert!(
        ended.errors()[0].contains("disagree: ") && ended.errors()[0].contains("of source \"events\""),
        "{}",
        ended.stderr
    );
    assert!(ended.stdout.contains("events/s"), "{}", ended.stdout);
}

#[test]
fn a_run_that_fails_says_why_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    for how in [&["--workers", "1"], &["--processes", "2"]] {
        let arguments = [&["auth-windows", "--set", "sources.events.path=none.jsonl"], &how[..]].concat();
        let ended = end(bench(&arguments, folder.path()));
        assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
        assert!(ended.errors()[0].contains("none.jsonl"), "{}", ended.stderr);
    }
    for wrong in [
        &["no-such-flow"][..],
        &["auth-windows", "--set", "bench.sources.events.keyz=1"],
        &["auth-windows", "--workers", "0"],
        &["auth-windows", "--changes", "windos"],
        &[],
    ] {
        let ended = end(bench(wrong, folder.path()));
        assert_eq!(ended.code(), Some(2), "{wrong:?}: {}", ended.stderr);
    }
    assert!(files(folder.path()).is_empty(), "{:?} is left", files(folder.path()));
}

#[test]
fn a_signal_ends_the_measurement_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["auth-windows", "--events", "2000", "--rate", "100", "--processes", "2", "--warmup", "0"];
    let mut process = Process::start(&mut bench(&arguments, folder.path()));
    process.wait_for("generated 2000 records", 1);
    let members = || {
        let child = |pid: &str| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let supervisor = child(&process.pid().to_string());
        let members = child(supervisor.trim());
        [supervisor, members].concat().split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    while members().len() < 3 {
        thread::sleep(Duration::from_millis(20));
    }
    let started = members();
    signal("TERM", &process.pid().to_string());
    let ended = process.end_within(PATIENCE);
    assert_eq!(ended.code(), Some(130), "{}", ended.stderr);
    assert!(started.iter().all(|pid| !exists(*pid)), "{started:?}");
    assert!(files(folder.path()).is_empty(), "{:?} is left", files(folder.path()));
}

#[test]
fn results_are_compared_and_what_is_no_result_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, garbage) = (file("a.json"), file("garbage.json"));
    let arguments = ["ssh-brute-force", "--events", "500", "--repeats", "1", "--warmup", "0", "--json", &json];
    let ended = end(bench(&arguments, folder.path()));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let ended = run(&["bench", "compare", &json, &json]);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let rates = ended.stdout.lines().find(|line| line.contains("events/s")).unwrap();
    assert!(
        rates.contains("1 × 1") && rates.contains("1.000") && rates.contains("within the spread"),
        "{}",
        ended.stdout
    );
    fs::write(&garbage, "{}").unwrap();
    for wrong in [&garbage, &file("none.json")] {
        let ended = run(&["bench", "compare", &json, wrong]);
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        assert!(
            ended.errors()[0].contains("cannot read results") && ended.stderr.contains("hint:"),
            "{}",
            ended.stderr
        );
    }
}
