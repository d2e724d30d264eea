//! `bench`: how fast a dataflow is, what it costs, and how long its records are under way.
//!
//! Every measurement is a fresh process, or cluster, of this very program. Combinations of processes and workers take turns
//! (A B A B …), so that what else the machine does falls on all of them, and every run must give the same answer.

mod args;
mod compare;
mod input;
mod machine;
mod measure;
mod replay;
mod results;
mod summary;
mod table;

use std::path::Path;
use std::process::ExitCode;

use self::args::BenchCommand;
pub(super) use self::args::{BenchArgs, MeasureArgs};
pub(super) use self::replay::Replay;
use self::results::{Combination, Generated, Machine, Measured, Results, Run};
use super::args::ConfigArgs;
use super::prepare::{Prepared, prepare};
use super::scratch::Scratch;
use super::{find, run, signals};
use crate::error::{Error, Result};
use crate::flow::{Dataflow, launch};
use crate::runtime::mesh::build_id;
use crate::runtime::supervise::StopRequests;
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
        eprintln!("generated {} records for source {}", input.records, input.source);
        config.replay.push(replay);
        generated.push(input);
    }
    let mut bench = Bench { config, folder, requests, results: Results::new(dataflow, args, generated)? };
    if !bench.run(args.repeats)? {
        return Ok(ExitCode::from(signals::EXIT_FORCED));
    }
    let results = bench.results;
    write(&results, args.json.as_deref())?;
    // After they were shown: whoever looks for a difference needs them.
    summary::agree(&results)?;
    Ok(ExitCode::SUCCESS)
}

/// The folder in the temporary one that a run writes to.
const RUN: &str = "run";

/// What is measured, and what was.
struct Bench {
    /// The configuration of every run.
    config: ConfigArgs,
    folder: Scratch,
    requests: StopRequests,
    results: Results,
}

impl Bench {
    /// Measures every combination `repeats` times, in turn; whether it came to the end.
    fn run(&mut self, repeats: u16) -> Result<bool> {
        let rounds = u32::from(self.results.warmup) + u32::from(repeats);
        for round in 0..rounds {
            for index in 0..self.results.combinations.len() {
                let Some(run) = self.measure(self.results.combinations[index].combination)? else { return Ok(false) };
                let warmup = round < u32::from(self.results.warmup);
                self.tell(index, round, rounds, warmup, &run);
                if !warmup {
                    self.results.combinations[index].runs.push(run);
                }
            }
        }
        Ok(true)
    }

    fn measure(&self, combination: Combination) -> Result<Option<Run>> {
        let folder = self.folder.path().join(RUN);
        std::fs::create_dir(&folder).map_err(no_room)?;
        let report = measure::measure(&self.results.dataflow, combination, &self.config, &folder, &self.requests)?;
        // What one run wrote must not be in the way of the next.
        std::fs::remove_dir_all(&folder).map_err(no_room)?;
        Ok(report.map(|report| Run::of(&report, self.results.rate.is_some())))
    }

    fn tell(&self, index: usize, round: u32, rounds: u32, warmup: bool, run: &Run) {
        let combination = self.results.combinations[index].combination;
        let figure = match run.latency {
            Some(latency) => format!("p99 {:.1} ms", latency.p99_ms),
            None => format!("{} events/s", table::thousands(run.events_per_second())),
        };
        eprintln!(
            "[{}/{rounds}] {combination}: {figure}, {:.2} CPU s{}",
            round + 1,
            run.cpu_seconds,
            if warmup { " (warm-up)" } else { "" }
        );
    }
}

impl Results {
    /// None yet.
    fn new(dataflow: &Dataflow, args: &MeasureArgs, generated: Vec<Generated>) -> Result<Self> {
        let began = i64::try_from(SystemClock.now_ms()).unwrap_or(i64::MAX);
        let of = |processes: &u16| {
            let processes = *processes;
            args.workers.iter().map(move |workers| Combination { processes, workers: *workers })
        };
        let combinations = args.processes.iter().flat_map(of);
        Ok(Results {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: build_id()?.to_owned(),
            began: EventTime::from_millis(began).to_string(),
            machine: Machine::this(),
            dataflow: dataflow.name().to_owned(),
            config: args.config.config.as_ref().map(|file| file.display().to_string()),
            set: args.config.set.clone(),
            generated,
            rate: args.rate,
            warmup: args.warmup,
            changes: args.changes.clone(),
            combinations: combinations.map(|combination| Measured { combination, runs: Vec::new() }).collect(),
        })
    }
}

/// What holds for a run unless the user wrote something else: rows go to files that nobody keeps, and nothing else is done.
fn defaults(prepared: &Prepared, sinks: &[String], folder: &Path) -> Vec<String> {
    let written = |path: &[&str]| prepared.environment.node(path).is_some_and(input::is_written);
    let file = |name: &str| {
        let path = toml::Value::from(folder.join(name).to_string_lossy().into_owned());
        format!("{{kind=\"file\", path={path}}}")
    };
    let mut set = Vec::new();
    // Rows that go nowhere by default need no file.
    let nowhere =
        |sink: &str| prepared.environment.node(&["sinks", sink]).is_some_and(|node| input::is_of(node, "null"));
    for sink in sinks.iter().filter(|sink| !written(&["sinks", sink]) && !nowhere(sink)) {
        set.push(format!("sinks.{sink}={}", file(sink)));
    }
    if prepared.environment.node(&["dead_letters"]).is_some() && !written(&["dead_letters"]) {
        set.push(format!("dead_letters={}", file("dead-letters")));
    }
    for (key, value) in [("admin", "off"), ("log", "error")] {
        if !written(&["engine", key]) {
            set.push(format!("engine.{key}={value}"));
        }
    }
    set
}

fn write(results: &Results, json: Option<&Path>) -> Result<()> {
    let table = table::render(results);
    let Some(file) = json else {
        print!("{table}");
        return Ok(());
    };
    let text = serde_json::to_string_pretty(results).expect("counts and names are JSON");
    if file == Path::new("-") {
        eprint!("{table}");
        println!("{text}");
        return Ok(());
    }
    print!("{table}");
    std::fs::write(file, text + "\n")
        .map_err(|why| Error::sink(format!("cannot write results to {file:?}")).because(why))
}

fn no_room(why: std::io::Error) -> Error {
    Error::sink("cannot use a temporary folder")
        .because(why)
        .hint("TMPDIR must name a folder with room for input and rows")
}
