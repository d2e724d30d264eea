//! A dataflow that exchanges records as they lie in memory, on several workers and on several processes.
//!
//! This program is its command line itself, since a cluster is several processes of one program.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]
#![allow(clippy::print_stdout, reason = "it has no test harness, and speaks for itself")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::json;
use tidewatch::prelude::*;
use tidewatch::testing::{TestRun, assert_same_rows, item};

#[path = "../examples/abomonated.rs"]
#[allow(dead_code, reason = "its main function is not part of the test")]
mod example;

const USERS: usize = 500;
const LOGINS: usize = 20_000;

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        return tidewatch::main([dataflow("first-seen", example::first_seen).defaults(example::DEFAULTS)]);
    }
    on_workers();
    on_processes();
    println!("users are seen once, on 1, 2 and 4 workers and on 2 processes");
    ExitCode::SUCCESS
}

/// Names of all lengths: what a row owns lies at any address.
fn user(i: usize) -> String {
    let i = i % USERS;
    format!("{}{i}", "u".repeat(i % 40))
}

fn users() -> BTreeSet<String> {
    (0..LOGINS).map(user).collect()
}

fn on_workers() {
    let login = |i: usize| item(json!({ "at": 1_700_000_000_000 + i, "user": user(i), "host": "h" }));
    let partitions = (0..3).map(|p| (p..LOGINS / 20).step_by(3).map(login).collect::<Vec<_>>());
    let run = TestRun::new(dataflow("first-seen", example::first_seen)).partitions("logins", partitions);
    let expected: BTreeSet<_> = (0..LOGINS / 20).map(user).collect();
    assert_same_rows(expected, run.everywhere().unwrap().json("users"));
}

fn on_processes() {
    let folder = tempfile::tempdir().unwrap();
    for (p, path) in ["a", "b"].map(|name| folder.path().join(name).with_extension("jsonl")).iter().enumerate() {
        let mut lines = String::new();
        for i in (p..LOGINS).step_by(2) {
            writeln!(lines, r#"{{"at":{},"user":"{}","host":"h{p}"}}"#, 1_700_000_000_000 + i, user(i)).unwrap();
        }
        fs::write(path, lines).unwrap();
    }
    let out = folder.path().join("users");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["cluster", "first-seen", "--processes", "2", "--workers", "2", "--set", "engine.admin=off"]);
    command.args(["--set", &format!("sources.logins.path={}/*.jsonl", folder.path().display())]);
    command.args(["--set", &format!("sinks.users.path={}", out.display())]);
    let run = command.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let (rows, by_both) = rows(&out);
    assert_same_rows(users(), rows);
    assert!(by_both, "both processes have users of their own");
}

/// The rows in a folder, and whether more than one worker wrote some.
fn rows(folder: &Path) -> (Vec<serde_json::Value>, bool) {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let lines =
        files.iter().flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    (lines.map(|line| serde_json::from_str(&line).unwrap()).collect(), files.len() > 1)
}
