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

/// Steps per partition and epoch that are tried, in multiples of the finest cut.
const BATCHES: [usize; 3] = [1, 7, 1_000];

/// The most epochs into which [`everywhere`](TestRun::everywhere) cuts a script without pauses, in any one of its runs. An epoch
/// costs a few milliseconds in a test build, whatever is in it: with a longer script each has more steps.
pub const EPOCHS_MAX: usize = 500;

impl TestRun {
    /// Runs the dataflow on 1, 2 and 4 workers, with records cut into epochs in different ways and once at random, and holds
    /// the results to each other: same rows in every sink, same dead letters, same counts. Returns the results.
    ///
    /// That is 13 runs over all records. The finest cut has as many steps per partition and epoch as [`batch`](TestRun::batch)
    /// says, or more where that would be more than [`EPOCHS_MAX`] epochs; the others have 7 and 1 000 times as many. So a real
    /// log of some thousand lines takes seconds, and a script of up to 500 steps is cut between any two of them.
    ///
    /// Of a sink of changes the collection that they add up to is compared: of those that
    /// [`with_collection`](crate::flow::Stream::with_collection) made, and those that [`changes`](TestRun::changes) names. How many
    /// changes there are differs then, so of the counts only those of sources are compared.
    ///
    /// Where a script has [`pause`](super::pause) or [`stop`](super::stop), what is read when makes a difference, so that
    /// only the number of workers varies.
    ///
    /// # Errors
    /// As for [`run`](TestRun::run), and every difference that was found.
    pub fn everywhere(&self) -> Result<Results> {
        let first = self.clone().workers(1).batch(self.finest()).run()?;
        let changes: BTreeSet<String> = self.changes.iter().chain(first.changes()).cloned().collect();
        let mut differences = Vec::new();
        for (name, run) in self.ways() {
            let other = run.run().map_err(|why| Error::new(why.kind(), name.clone()).because(why))?;
            differences.extend(compare(&first, &other, &changes).map(|difference| format!("{name}: {difference}")));
        }
        if differences.is_empty() {
            return Ok(first);
        }
        let message = format!("results differ from those on 1 worker:\n{}", differences.join("\n"));
        Err(Error::new(ErrorKind::Internal, message)
            .hint("closures and aggregates of a dataflow must not depend on order, time, chance or anything outside"))
    }

    /// Steps per partition and epoch of the finest cut: what is read when matters where a script has pauses, and is left alone.
    fn finest(&self) -> usize {
        if self.depends_on_time() {
            return self.batch;
        }
        let longest = self.sources.values().flatten().map(Vec::len).max().unwrap_or(0);
        self.batch.max(longest.div_ceil(EPOCHS_MAX))
    }

    /// The ways to run, by name.
    fn ways(&self) -> Vec<(String, TestRun)> {
        let finest = self.finest();
        let mut ways = Vec::new();
        for workers in WORKERS {
            if self.depends_on_time() {
                ways.push((format!("{workers} workers"), self.clone().workers(workers)));
                continue;
            }
            for batch in BATCHES.map(|times| finest.saturating_mul(times)) {
                let name = format!("{workers} workers, {batch} steps per epoch");
                ways.push((name, self.clone().workers(workers).batch(batch)));
            }
            ways.push((
                format!("{workers} workers, unpaced"),
                self.clone().workers(workers).batch(finest.saturating_mul(7)).unpaced(),
            ));
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

#[cfg(test)]
mod tests {
    use super::super::{line, pause};
    use super::*;
    use crate::flow::{Dataflow, Flow, NoParams, dataflow};
    use crate::prelude::Line;

    fn passes() -> Dataflow {
        dataflow("passes", |flow: &Flow<'_>, _: &NoParams| {
            flow.source::<Line>("lines")?.map("text", |line| line.text).sink("out")
        })
    }

    fn batches(run: &TestRun) -> Vec<usize> {
        let paced = run.ways().into_iter().map(|(_, way)| way).filter(|way| way.paced);
        let mut batches: Vec<usize> = paced.map(|way| way.batch).collect();
        batches.dedup();
        batches.truncate(3);
        batches
    }

    #[test]
    fn the_cut_is_as_fine_as_asked_for_within_the_limit() {
        let of = |lines: usize| TestRun::new(passes()).source("lines", (0..lines).map(|i| i.to_string()));
        assert_eq!(batches(&of(3)), [1, 7, 1_000]);
        assert_eq!(batches(&of(EPOCHS_MAX)), [1, 7, 1_000]);
        assert_eq!(batches(&of(EPOCHS_MAX + 1)), [2, 14, 2_000]);
        assert_eq!(batches(&of(3).batch(5)), [5, 35, 5_000]);
        assert_eq!(batches(&of(10 * EPOCHS_MAX).batch(4)), [10, 70, 10_000]);
        assert_eq!(batches(&of(10 * EPOCHS_MAX).batch(40)), [40, 280, 40_000]);
        // Of several partitions the longest counts, since they take their steps together.
        let partitions = TestRun::new(passes()).partitions("lines", [vec!["a"; 3], vec!["b"; EPOCHS_MAX + 1]]);
        assert_eq!(batches(&partitions), [2, 14, 2_000]);
    }

    #[test]
    fn a_script_with_pauses_is_left_as_it_is() {
        let steps = || (0..2 * EPOCHS_MAX).map(|i| line(i.to_string())).chain([pause()]);
        let run = TestRun::new(passes()).source("lines", steps()).batch(3);
        assert!(run.ways().iter().all(|(_, way)| way.batch == 3));
    }
}
