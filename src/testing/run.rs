//! One run of a dataflow inside a test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::{ManualClock, RestlessClock, START};
use super::pace::{Pace, PacedScript};
use super::results::Results;
use super::step::{Action, Step};
use crate::config;
use crate::connectors::capture::Capture;
use crate::connectors::script::{self, Script};
use crate::connectors::source::SourceConnector;
use crate::error::{Error, ErrorKind, Result};
use crate::flow::launch::{self, run};
use crate::flow::{Cut, Dataflow, Environment};
use crate::record::{DeadLetter, Reason};
use crate::time::{Clock, EventTime};

/// Partitions of a source, and the steps of each.
type Partitions = Vec<Vec<Step>>;

/// How many epochs may be in flight in a test run: enough that sources never wait for sinks.
const EPOCHS_IN_FLIGHT: usize = 1_000_000;

/// Runs a dataflow inside a test: see the [module](super).
#[derive(Clone, Debug)]
#[must_use = "nothing runs until run() or everywhere() is called"]
pub struct TestRun {
    dataflow: Dataflow,
    pub(super) sources: BTreeMap<String, Partitions>,
    sets: Vec<String>,
    pub(super) workers: usize,
    pub(super) batch: usize,
    start: EventTime,
    allow_late: bool,
    pub(super) paced: bool,
    pub(super) changes: BTreeSet<String>,
}

impl TestRun {
    /// A run of `dataflow` with its default configuration, on one worker, one step per partition and epoch.
    pub fn new(dataflow: Dataflow) -> Self {
        TestRun {
            dataflow,
            sources: BTreeMap::new(),
            sets: Vec::new(),
            workers: 1,
            batch: 1,
            start: START,
            allow_late: false,
            paced: true,
            changes: BTreeSet::new(),
        }
    }

    /// Scripts the source `name` with one partition. Every source of the dataflow needs a script.
    pub fn source<S: Into<Step>>(self, name: &str, steps: impl IntoIterator<Item = S>) -> Self {
        self.partitions(name, [steps])
    }

    /// Scripts the source `name` with several partitions.
    pub fn partitions<S, P>(mut self, name: &str, partitions: impl IntoIterator<Item = P>) -> Self
    where
        S: Into<Step>,
        P: IntoIterator<Item = S>,
    {
        let partitions = partitions.into_iter().map(|steps| steps.into_iter().map(Into::into).collect());
        self.sources.insert(name.to_owned(), partitions.collect());
        self
    }

    /// Overrides one key of the configuration, as `--set` does: `.set("params.failures_min=3")`.
    pub fn set(mut self, assignment: impl Into<String>) -> Self {
        self.sets.push(assignment.into());
        self
    }

    /// How many workers run it; default 1. Partition *p* is read by worker *p* modulo workers.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// How many steps each partition takes per epoch, up to a [`pause`](super::pause); default 1.
    /// [`everywhere`](TestRun::everywhere) cuts no finer.
    pub fn batch(mut self, steps: usize) -> Self {
        self.batch = steps.max(1);
        self
    }

    /// What the clock shows when the run starts; default 2100-01-01. Events more than `future_max` after it are dead
    /// letters.
    pub fn start_at(mut self, time: EventTime) -> Self {
        self.start = time;
        self
    }

    /// Lets records be late that are not marked with [`late`](super::late), for scripts whose late records are not
    /// known in advance.
    pub fn allow_late(mut self) -> Self {
        self.allow_late = true;
        self
    }

    /// Lets workers read as fast as they can, on a clock that advances at every reading: which records share an epoch
    /// is then left to chance, as it is outside of tests. Results must not depend on it.
    pub fn unpaced(mut self) -> Self {
        self.paced = false;
        self
    }

    /// Declares the rows of `sink` to be [`Change`](crate::flow::Change)s: [`everywhere`](TestRun::everywhere) then
    /// compares what they add up to, since the steps on the way depend on the cut into epochs. Not needed where the
    /// output of [`with_collection`](crate::flow::Stream::with_collection) is written unchanged.
    pub fn changes(mut self, sink: &str) -> Self {
        self.changes.insert(sink.to_owned());
        self
    }

    /// Runs the dataflow to its end.
    ///
    /// # Errors
    /// A fault of the configuration or the dataflow, the first failure of the run, records that were late and not
    /// marked so, or that were marked and not late.
    pub fn run(&self) -> Result<Results> {
        if !self.paced && self.depends_on_time() {
            return Err(Error::config("a script with pause() or stop() cannot run unpaced"));
        }
        let clock = ManualClock::at(self.start);
        let shown: Arc<dyn Clock> = match self.paced {
            true => Arc::new(clock.clone()),
            false => Arc::new(RestlessClock::new(clock.clone(), Duration::from_millis(7))),
        };
        let captures: Arc<Mutex<BTreeMap<String, Capture>>> = Arc::default();
        let by_name = Arc::clone(&captures);
        let layers = |defaults| self.sets.iter().fold(defaults, |layers: config::Layers, set| layers.set(set));
        let prepared = config::prepare(&self.dataflow, layers, shown, |environment| {
            environment.flow_control.epochs_in_flight_max = EPOCHS_IN_FLIGHT;
            environment.sources_wired_only = true;
            environment.sources = self.connectors(&clock, environment);
            environment.sinks_by_default = Some(Arc::new(move |name: &str| {
                let mut captures = by_name.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::new(captures.entry(name.to_owned()).or_default().clone())
            }));
        })?;
        let metrics = prepared.environment.metrics.clone();
        let parts = launch::parts(&prepared.dataflow, &prepared.environment);
        let changes = parts.sinks_with(Cut::Changes).map(str::to_owned).collect();
        run(&prepared.dataflow, prepared.environment, self.workers, None)?;
        let captures = captures.lock().unwrap_or_else(PoisonError::into_inner);
        let results = Results::new(&captures, metrics.totals(), changes);
        self.check_late(&results.dead_letters())?;
        Ok(results)
    }

    fn connectors(&self, clock: &ManualClock, environment: &Environment) -> BTreeMap<String, Arc<dyn SourceConnector>> {
        let tick = environment.ticker.tick();
        let readers = self.sources.len() * self.workers;
        let pace = Pace::new(clock.clone(), tick, readers, self.stop_after(), environment.control.clone());
        let connector = |partitions: &Partitions| -> Arc<dyn SourceConnector> {
            let script = Script::new(partitions.iter().map(|steps| script_of(steps)).collect());
            match self.paced {
                true => Arc::new(PacedScript { script: script.batch_each(self.batch), pace: pace.clone() }),
                false => Arc::new(script.batch(self.batch)),
            }
        };
        self.sources.iter().map(|(name, partitions)| (name.clone(), connector(partitions))).collect()
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.sources.values().flatten().flatten()
    }

    /// Whether the results depend on what is read when.
    pub(super) fn depends_on_time(&self) -> bool {
        self.steps().any(|step| matches!(step.action, Action::Pause | Action::Stop))
    }

    /// The round at whose end the first stop of all scripts happens.
    fn stop_after(&self) -> Option<u64> {
        self.sources.values().flatten().filter_map(|steps| self.stop_of(steps)).min()
    }

    fn stop_of(&self, steps: &[Step]) -> Option<u64> {
        let (mut round, mut in_round) = (0, 0);
        for step in steps {
            // It takes no step itself: the run stops with the step before it.
            if step.action == Action::Stop {
                return Some(round);
            }
            if in_round == self.batch {
                (round, in_round) = (round + 1, 0);
            }
            match step.action {
                // A pause ends the round.
                Action::Pause => in_round = self.batch,
                Action::Eof => return None,
                _ => in_round += 1,
            }
        }
        None
    }

    /// Compares the late records with those that are marked so.
    fn check_late(&self, letters: &[DeadLetter]) -> Result<()> {
        let mut marked = BTreeSet::new();
        for (source, partitions) in &self.sources {
            for (partition, steps) in partitions.iter().enumerate() {
                let records = steps.iter().filter(|step| matches!(step.action, Action::Record(_)));
                let late = records.zip(0..).filter(|(step, _)| step.late);
                marked.extend(late.map(|(_, offset)| (source.clone(), partition.to_string(), offset)));
            }
        }
        let late = letters.iter().filter(|letter| matches!(letter.reason, Reason::Late | Reason::LateAfterIdle));
        let mut faults = Vec::new();
        for letter in late {
            let DeadLetter { source, partition, offset, detail, .. } = letter;
            if !marked.remove(&(source.clone(), partition.clone(), *offset)) && !self.allow_late {
                faults.push(format!("{source:?}, partition {partition:?}, record {offset} was late: {detail}"));
            }
        }
        let on_time = |(source, partition, offset): (String, String, u64)| {
            format!("{source:?}, partition {partition:?}, record {offset} is marked late(..) and was not late")
        };
        faults.extend(marked.into_iter().map(on_time));
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Source, format!("late records differ:\n  {}", faults.join("\n  ")))
                .hint("mark the records that must be late with late(..), or let any be late with allow_late()")),
        }
    }
}

/// The steps of a partition for its connector.
fn script_of(steps: &[Step]) -> Vec<script::ScriptStep> {
    let mut script: Vec<script::ScriptStep> = steps.iter().map_while(Step::script).collect();
    // A partition that waits to be stopped stays open.
    if script.len() == steps.len() {
        script.push(script::ScriptStep::Eof);
    }
    script
}
