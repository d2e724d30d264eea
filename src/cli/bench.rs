//! `bench`: how fast a dataflow is, what it costs, and how long its records are in flight.
//!
//! Every measurement is a fresh process, or cluster, of this program. Combinations of processes and workers take turns
//! (A B A B …), so that other load on the machine affects all of them, and every run must give the same results.

mod args;
mod collection;
mod compare;
mod input;
mod machine;
mod measure;
mod replay;
mod results;
mod summary;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use self::args::BenchCommand;
pub(super) use self::args::{BenchArgs, MeasureArgs};
use self::collection::Collection;
pub(super) use self::replay::Replay;
use self::results::{BenchResults, Combination, Generated, Machine, Measured, MeasuredRun};
use super::args::ConfigArgs;
use super::prepare::{Prepared, prepare};
use super::scratch::Scratch;
use super::{find, run, signals};
use crate::error::{Error, Result};
use crate::flow::{Cut, Dataflow, launch};
use crate::runtime::mesh::build_id;
use crate::runtime::supervise::StopRequests;
use crate::settings::path;
use crate::telemetry::IoThread;
use crate::time::{Clock, EventTime, SystemClock};

pub(super) fn bench(dataflows: &[Dataflow], args: &BenchArgs) -> Result<ExitCode> {
    if let Some(BenchCommand::Compare(files)) = &args.command {
        compare::compare(files)?;
        return Ok(ExitCode::SUCCESS);
    }
    let args = &args.measure;
    let dataflow = find(dataflows, args.dataflow.as_deref().unwrap_or_default())?;
    let prepared = prepare(dataflow, &args.config)?;
    run::log(&prepared.engine, None)?;
    let io = IoThread::start()?;
    let requests = signals::count(&io)?;
    let folder = Scratch::new("bench-").map_err(no_room)?;

    let parts = launch::parts(dataflow, &prepared.environment);
    if let Some(name) = args.changes.iter().find(|name| !parts.sinks.contains(name)) {
        let hint = format!("{:?} has: {}", dataflow.name(), parts.sinks.join(", "));
        return Err(Error::config(format!("--changes: there is no sink {name:?}")).hint(hint));
    }
    let mut config = args.config.clone();
    config.set.extend(defaults(&prepared, &parts.sinks, &folder.path().join(RUN)));
    let mut generated = Vec::new();
    for (replay, input) in input::make(&prepared, &parts.sources, args, folder.path())? {
        note!("generated {} records for source {}", input.records, input.source);
        config.replay.push(replay);
        generated.push(input);
    }
    // The dataflow knows for most sinks itself whether their rows are changes.
    let named = args.changes.iter().map(String::as_str);
    let changes: BTreeSet<String> = parts.sinks_with(Cut::Changes).chain(named.clone()).map(str::to_owned).collect();
    let varying = parts.sinks_with(Cut::Changes).chain(parts.sinks_with(Cut::OfChanges)).chain(named);
    let varying: BTreeSet<String> = varying.map(str::to_owned).collect();
    let results = BenchResults::new(dataflow, args, varying.into_iter().collect(), generated)?;
    let nowhere = changes.iter().filter(|sink| !is_written(&prepared, &["sinks", sink]) && is_nowhere(&prepared, sink));
    let looked_at = nowhere.map(|sink| file_sink(sink, &folder.path().join(RUN))).collect();
    let mut bench = Bench { config, folder, requests, changes, looked_at, results };
    if !bench.run(args.repeats)? {
        return Ok(ExitCode::from(signals::EXIT_FORCED));
    }
    let results = bench.results;
    write(&results, args.json.as_deref())?;
    // After they were shown, since they help to find the difference.
    summary::agree(&results)?;
    Ok(ExitCode::SUCCESS)
}

/// The folder in the temporary one that a run writes to.
const RUN: &str = "run";

/// What is measured, and the results.
struct Bench {
    /// The configuration of every run.
    config: ConfigArgs,
    folder: Scratch,
    requests: StopRequests,
    /// Sinks whose rows are changes, which are compared by what they add up to.
    changes: BTreeSet<String>,
    /// Settings by which a warm-up writes the changes to files of sinks whose rows are dropped by default.
    looked_at: Vec<String>,
    results: BenchResults,
}

impl Bench {
    /// Measures every combination `repeats` times, in turn; returns false if it was interrupted.
    fn run(&mut self, repeats: u16) -> Result<bool> {
        let rounds = u32::from(self.results.warmup) + u32::from(repeats);
        for round in 0..rounds {
            for index in 0..self.results.combinations.len() {
                let warmup = round < u32::from(self.results.warmup);
                let Some(run) = self.measure(index, warmup)? else { return Ok(false) };
                self.tell(index, round, rounds, warmup, &run);
                if !warmup {
                    self.results.combinations[index].runs.push(run);
                }
            }
        }
        Ok(true)
    }

    /// Measures one run, and adds what the changes in its sinks add up to.
    fn measure(&mut self, index: usize, warmup: bool) -> Result<Option<MeasuredRun>> {
        let folder = self.folder.path().join(RUN);
        std::fs::create_dir(&folder).map_err(no_room)?;
        let mut config = self.config.clone();
        if warmup {
            config.set.extend(self.looked_at.iter().cloned());
        }
        let combination = self.results.combinations[index].combination;
        let report = measure::measure(&self.results.dataflow, combination, &config, &folder, &self.requests)?;
        if report.is_some() {
            let collections = self.collections(&folder)?;
            self.results.combinations[index].collections.extend((!collections.is_empty()).then_some(collections));
        }
        // One run's output must not affect the next.
        std::fs::remove_dir_all(&folder).map_err(no_room)?;
        Ok(report.map(|report| MeasuredRun::of(&report, self.results.rate.is_some())))
    }

    /// The collections in the sinks that the run wrote here; for those that the user has configured elsewhere they are
    /// unknown.
    fn collections(&self, folder: &Path) -> Result<BTreeMap<String, Collection>> {
        let mut collections = BTreeMap::new();
        for sink in self.changes.iter().filter(|sink| folder.join(sink).is_dir()) {
            let collection = collection::of(&folder.join(sink)).map_err(|why| {
                Error::config(format!("the rows of sink {sink:?} are no changes of a collection"))
                    .because(why)
                    .hint("--changes is for sinks of a stream that with_collection made")
            })?;
            collections.insert(sink.clone(), collection);
        }
        Ok(collections)
    }

    fn tell(&self, index: usize, round: u32, rounds: u32, warmup: bool, run: &MeasuredRun) {
        let combination = self.results.combinations[index].combination;
        let figure = match run.latency {
            Some(latency) => format!("p99 {:.1} ms", latency.p99_ms),
            None => format!("{} events/s", table::thousands(run.events_per_second())),
        };
        note!(
            "[{}/{rounds}] {combination}: {figure}, {:.2} CPU s{}",
            round + 1,
            run.cpu_seconds,
            if warmup { " (warm-up)" } else { "" }
        );
    }
}

impl BenchResults {
    /// Without results.
    fn new(dataflow: &Dataflow, args: &MeasureArgs, changes: Vec<String>, generated: Vec<Generated>) -> Result<Self> {
        let began = i64::try_from(SystemClock.now_ms()).unwrap_or(i64::MAX);
        let of = |processes: &u16| {
            let processes = *processes;
            args.workers.iter().map(move |workers| Combination { processes, workers: *workers })
        };
        let combinations = args.processes.iter().flat_map(of);
        Ok(BenchResults {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: build_id()?.to_owned(),
            profile: env!("TIDEWATCH_PROFILE").to_owned(),
            began: EventTime::from_millis(began).to_string(),
            machine: Machine::this(),
            dataflow: dataflow.name().to_owned(),
            config: args.config.config.as_ref().map(|file| file.display().to_string()),
            set: args.config.set.clone(),
            generated,
            rate: args.rate,
            warmup: args.warmup,
            changes,
            combinations: combinations
                .map(|combination| Measured { combination, runs: Vec::new(), collections: Vec::new() })
                .collect(),
        })
    }
}

/// The settings of a run unless the user has configured them: rows go to temporary files, and nothing else is done.
fn defaults(prepared: &Prepared, sinks: &[String], folder: &Path) -> Vec<String> {
    let mut set = Vec::new();
    // Rows that are dropped by default need no file.
    for sink in sinks.iter().filter(|sink| !is_written(prepared, &["sinks", sink]) && !is_nowhere(prepared, sink)) {
        set.push(file_sink(sink, folder));
    }
    if prepared.environment.node(&["dead_letters"]).is_some() && !is_written(prepared, &["dead_letters"]) {
        set.push(format!("dead_letters={}", file("dead-letters", folder)));
    }
    for (key, value) in [("admin", "off"), ("log", "error")] {
        if !is_written(prepared, &["engine", key]) {
            set.push(format!("engine.{key}={value}"));
        }
    }
    set
}

/// Whether the user configured anything under these keys.
fn is_written(prepared: &Prepared, path: &[&str]) -> bool {
    prepared.environment.node(path).is_some_and(input::is_written)
}

/// Whether the rows of a sink are dropped.
fn is_nowhere(prepared: &Prepared, sink: &str) -> bool {
    prepared.environment.node(&["sinks", sink]).is_some_and(|node| input::is_of(node, "null"))
}

/// The setting that writes a sink to files in `folder`.
fn file_sink(sink: &str, folder: &Path) -> String {
    format!("sinks.{sink}={}", file(sink, folder))
}

fn file(name: &str, folder: &Path) -> String {
    let path = folder.join(name);
    let path = toml::Value::from(path::literal(&path).unwrap_or_else(|| path.to_string_lossy().into_owned()));
    format!("{{kind=\"file\", path={path}}}")
}

fn write(results: &BenchResults, json: Option<&Path>) -> Result<()> {
    let table = table::render(results);
    let Some(file) = json else {
        show!("{}", table.trim_end());
        return Ok(());
    };
    let text = serde_json::to_string_pretty(results).expect("counts and names are JSON");
    if file == Path::new("-") {
        note!("{}", table.trim_end());
        show!("{text}");
        return Ok(());
    }
    show!("{}", table.trim_end());
    std::fs::write(file, text + "\n")
        .map_err(|why| Error::sink(format!("cannot write results to {file:?}")).because(why))
}

fn no_room(why: std::io::Error) -> Error {
    Error::sink("cannot use a temporary folder")
        .because(why)
        .hint("TMPDIR must name a folder with room for input and rows")
}
