//! `ssh-brute-force` over a real log of 25 days, against answers that an independent program gave.
//!
//! The log is not part of the repository. It is looked for beside it, in `../shared`, or in the folder that
//! `TIDEWATCH_SHARED` names; without it the test says so on standard error, past the capture of the test runner.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidewatch::prelude::*;
use tidewatch::testing::{TestRun, assert_same_rows, bytes};

use super::shipped::ssh_brute_force::ssh_brute_force;

fn shared() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("TIDEWATCH_SHARED").map_or_else(beside, PathBuf::from)
}

fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ms(seconds: &Value) -> i64 {
    seconds.as_i64().unwrap() * 1000
}

#[test]
fn ssh_brute_force_over_a_real_log_is_what_the_oracle_says() {
    let (log, expected) = (shared().join("data/auth/auth.log"), shared().join("expected/auth"));
    let Ok(log) = std::fs::read(&log) else {
        // A test that passes has its output hidden, and this one would pass in silence.
        let said = format!("\nLEFT OUT: real_data was not tested, since there is no {}\n", log.display());
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    };
    let defaults = include_str!("../../config/ssh-brute-force.toml");
    let lines: Vec<&[u8]> = log.strip_suffix(b"\n").unwrap_or(&log).split(|byte| *byte == b'\n').collect();
    // Fails if a record is late: none may be.
    let run = TestRun::new(dataflow("ssh-brute-force", ssh_brute_force).defaults(defaults))
        .set("sources.auth.year=2017")
        .source("auth", lines.iter().map(|line| bytes(*line)))
        .batch(500);
    for workers in [1, 2, 4] {
        let results = run.clone().workers(workers).run().unwrap();
        assert_eq!(results.totals().read(), lines.len() as u64);

        let failures = results.json("failures");
        let row = |r: Value| {
            let (first, last) = (ms(&r["first"]), ms(&r["last"]));
            json!({ "window_start": ms(&r["win"]), "source_ip": r["ip"], "failures": r["failures"],
                    "users": r["users"], "first": first, "last": last })
        };
        assert_same_rows(rows(&expected.join("failed_5m.jsonl")).into_iter().map(row), &failures);

        let row = |r: Value| json!({ "window_start": ms(&r["win"]), "source_ip": r["ip"], "users": r["users"], "failures": r["failures"] });
        assert_same_rows(rows(&expected.join("spray_1h.jsonl")).into_iter().map(row), results.json("spraying"));

        let mut rate: BTreeMap<i64, u64> = BTreeMap::new();
        for row in &failures {
            *rate.entry(row["window_start"].as_i64().unwrap()).or_default() += row["failures"].as_u64().unwrap();
        }
        let row = |r: Value| (ms(&r["win"]), r["failures"].as_u64().unwrap());
        assert_same_rows(rows(&expected.join("rate_5m.jsonl")).into_iter().map(row), rate);
    }
}
