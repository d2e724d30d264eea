//! The same run in every way that must not make a difference.

use std::collections::BTreeSet;

use serde_json::Value;

use super::results::Results;
use super::rows::difference;
use super::run::TestRun;
use crate::error::{Error, ErrorKind, Result};
use crate::record::DeadLetter;
use crate::telemetry::Totals;

/// Numbers of workers that are tried.
const WORKERS: [usize; 3] = [1, 2, 4];

/// Steps per partition and epoch that are tried.
const BATCHES: [usize; 3] = [1, 7, 1_000];

impl TestRun {
    /// Runs the dataflow on 1, 2 and 4 workers, with records cut into epochs in different ways and once at random, and holds
    /// the results to each other: same rows in every sink, same dead letters, same counts. Returns the results.
    ///
    /// Of a sink of [`changes`](TestRun::changes) the collection is compared that they come to. How many there are differs
    /// then, so of the counts only those of sources are compared.
    ///
    /// Where a script has [`pause`](super::pause) or [`stop`](super::stop), what is read when makes a difference, so that
    /// only the number of workers varies.
    ///
    /// # Errors
    /// As for [`run`](TestRun::run), and every difference that was found.
    pub fn everywhere(&self) -> Result<Results> {
        let first = self.clone().workers(1).run()?;
        let mut differences = Vec::new();
        for (name, run) in self.ways() {
            let other = run.run().map_err(|why| Error::new(why.kind(), name.clone()).because(why))?;
            differences
                .extend(compare(&first, &other, &self.changes).map(|difference| format!("{name}: {difference}")));
        }
        if differences.is_empty() {
            return Ok(first);
        }
        let message = format!("results differ from those on 1 worker:\n{}", differences.join("\n"));
        Err(Error::new(ErrorKind::Internal, message)
            .hint("closures and aggregates of a dataflow must not depend on order, time, chance or anything outside"))
    }

    /// The ways to run, by name.
    fn ways(&self) -> Vec<(String, TestRun)> {
        let mut ways = Vec::new();
        for workers in WORKERS {
            if self.depends_on_time() {
                ways.push((format!("{workers} workers"), self.clone().workers(workers)));
                continue;
            }
            for batch in BATCHES {
                let name = format!("{workers} workers, {batch} steps per epoch");
                ways.push((name, self.clone().workers(workers).batch(batch)));
            }
            ways.push((format!("{workers} workers, unpaced"), self.clone().workers(workers).batch(7).unpaced()));
        }
        ways
    }
}

fn compare(first: &Results, other: &Results, changes: &BTreeSet<String>) -> Option<String> {
    let letters = |results: &Results| results.dead_letters().into_iter().map(without_detail).collect::<Vec<_>>();
    let sinks = first.sink_names().filter_map(|sink| {
        let rows = |results: &Results| match changes.contains(sink) {
            true => results.collection::<Value>(sink),
            false => results.json(sink),
        };
        difference(rows(first), rows(other)).map(|difference| format!("sink {sink:?}: {difference}"))
    });
    let counts = |results| counts(results, changes.is_empty());
    sinks
        .chain(difference(letters(first), letters(other)).map(|difference| format!("dead letters: {difference}")))
        .chain(difference([counts(first)], [counts(other)]).map(|difference| format!("counts: {difference}")))
        .next()
}

/// The counts of sources, and if `all` every count but those of open windows, where a key's window is counted on every worker
/// that has records of it.
fn counts(results: &Results, all: bool) -> Totals {
    let mut totals = results.totals().clone();
    totals.stages.values_mut().for_each(|stage| stage.windows_open = 0);
    match all {
        true => totals,
        false => Totals { sources: totals.sources, ..Totals::default() },
    }
}

/// The detail may name the epoch.
fn without_detail(letter: DeadLetter) -> DeadLetter {
    DeadLetter { detail: String::new(), ..letter }
}
