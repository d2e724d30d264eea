//! Processing a record costs no allocation: neither where it is decoded, nor in its windows, nor between workers.
//!
//! This program is the command line itself, under an allocator that counts. As a test it runs itself over two inputs
//! with the same keys, one with more records, so that the cost of a run, a key or a window cancels out in the
//! difference.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it has no test harness, and speaks for itself")]

use std::alloc::System;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tidewatch::prelude::*;

#[path = "../dataflows/auth_windows.rs"]
mod auth_windows;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Records between the two inputs.
const MORE: usize = 200_000;
/// What a batch of some hundred records may allocate, spread over its records, and some more.
const PER_RECORD_MAX: f64 = 0.05;

const EVENTS: &str = include_str!("../config/auth-windows.toml");

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("run") {
        let code = tidewatch::main([
            dataflow("auth-windows", auth_windows::auth_windows).defaults(EVENTS),
            dataflow("strings", strings),
        ]);
        let counts = COUNTED.stats();
        eprintln!("allocated={}", counts.allocations + counts.reallocations);
        return code;
    }
    let folder = tempfile::tempdir().unwrap();
    let [fewer, more] = [MORE / 2, MORE / 2 + MORE].map(|events| {
        let path = folder.path().join(format!("{events}.jsonl"));
        std::fs::write(&path, input(events)).unwrap();
        path
    });
    let per_record = |dataflow: &str, workers: usize| {
        let counts = [&fewer, &more].map(|input| allocated(dataflow, workers, input));
        let per_record = (counts[1] - counts[0]) / MORE as f64;
        println!("{dataflow}, {workers} workers: {per_record:.4} allocations per record");
        per_record
    };
    for workers in [1, 2, 4] {
        let found = per_record("auth-windows", workers);
        assert!(found < PER_RECORD_MAX, "{found} allocations per record at {workers} workers");
    }
    // The count sees an allocation where there is one.
    let found = per_record("strings", 1);
    assert!((1.0..1.0 + PER_RECORD_MAX).contains(&found), "{found} allocations per record with a string in it");
    ExitCode::SUCCESS
}

/// How many allocations a run over `input` makes.
fn allocated(dataflow: &str, workers: usize, input: &Path) -> f64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["run", dataflow, "--workers", &workers.to_string()]);
    let input = format!("sources.events.path={}", input.display());
    let mut settings = vec!["engine.admin=off", "sources.events.kind=file", &input, "sinks.windows.kind=null"];
    settings.extend((dataflow == "auth-windows").then_some("sinks.alerts.kind=null"));
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    said.lines().find_map(|line| line.strip_prefix("allocated=")).unwrap().parse().unwrap()
}

/// Events of few addresses and users, so that most records meet a key and a user that are known.
fn input(events: usize) -> String {
    let mut lines = String::new();
    for i in 0..events {
        let (address, user, outcome) = (i % 40, i % 7, ["success", "failure"][i % 2]);
        let ts = 1_700_000_000_000 + i / 5;
        writeln!(
            lines,
            r#"{{"ts":{ts},"host":"host-{user}","src_ip":"10.0.0.{address}","user":"user-{user}","action":"login","outcome":"{outcome}","bytes":{i},"message":"event {i} of {events}, \"as it came\""}}"#,
        )
        .unwrap();
    }
    lines
}

#[derive(Event)]
struct OwnedUser {
    #[event(time)]
    ts: EventTime,
    src_ip: Text,
    user: String,
}

/// As auth-windows, with a field that cannot do without an allocation.
fn strings(flow: &Flow, _: &NoParams) -> Result<()> {
    let minute = Tumbling::of(Duration::from_secs(60));
    let longest = Max::of(|event: &OwnedUser| event.user.len() as u64);
    flow.source::<OwnedUser>("events")?
        .key_by(|event| event.src_ip.clone())
        .window("per-address", minute)
        .aggregate(longest)
        .sink("windows")
}
