//! What fails inside a dataflow: one worker's source or sink ends the whole run with its error; a panic in the
//! dataflow's own code ends the process and names the stage.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tidewatch::connectors::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use tidewatch::connectors::source::{SourceConnector, SourceContext, SourceReader};
use tidewatch::error::{Error, ErrorKind, Result};
use tidewatch::flow::{Dataflow, Environment, launch};
use tidewatch::prelude::*;
use tidewatch::settings::Node;
use tidewatch::time::Epoch;

/// Which worker fails.
const WORKER: usize = 1;

/// A source that cannot be opened on one worker, and is endless on the others.
struct Unreadable;

impl SourceConnector for Unreadable {
    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        if context.worker == WORKER {
            return Err(Error::source(format!("source {:?} is out of reach", context.name)));
        }
        generator().open(context)
    }
}

/// A sink whose writing fails on one worker.
struct Unwritable;

struct Writer {
    fails: bool,
    sealed: Option<Epoch>,
}

impl SinkConnector for Unwritable {
    fn open(&self, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(Writer { fails: context.shard == WORKER, sealed: None }))
    }

    fn delivery(&self) -> Delivery {
        Delivery::None
    }
}

impl SinkWriter for Writer {
    fn write(&mut self, _: Option<&[u8]>, _: &[u8]) -> Result<()> {
        if self.fails { Err(Error::sink("the disk is full")) } else { Ok(()) }
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.sealed = Some(epoch);
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        Ok(self.sealed)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// An endless source of events, a partition for each of 4 workers.
fn generator() -> tidewatch::connectors::generator::Generator {
    use tidewatch::connectors::generator::{Generator, GeneratorConfig};
    Generator::new(&GeneratorConfig {
        partitions: 4,
        rate: Some(50_000.0),
        malformed: 0.0,
        ..GeneratorConfig::default()
    })
}

/// One authentication event.
#[derive(Event)]
struct Login {
    #[event(time)]
    ts: EventTime,
    host: Ignored<Text>,
    src_ip: Text,
    user: Text,
    action: Text,
    outcome: Text,
    bytes: u32,
    message: Ignored<Text>,
}

fn environment(source: Arc<dyn SourceConnector>, sink: Arc<dyn SinkConnector>) -> Environment {
    let mut environment = Environment::new("test", Node::empty());
    environment.sources.insert("logins".to_owned(), source);
    environment.sinks.insert("out".to_owned(), sink);
    environment
}

fn passes(flow: &Flow, _: &NoParams) -> Result<()> {
    flow.source::<Login>("logins")?.map("user", |login| login.user).sink("out")
}

/// Runs on 3 workers; the test fails if that does not end.
fn run(flow: Dataflow, environment: Environment) -> Error {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(launch::run(&flow, environment, 3, None)).unwrap());
    result.recv_timeout(Duration::from_secs(60)).expect("the run ends").unwrap_err()
}

#[test]
fn a_source_that_cannot_be_opened_on_one_worker_ends_the_run() {
    let error = run(dataflow("test", passes), environment(Arc::new(Unreadable), Arc::new(Unwritable)));
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Source, "source \"logins\" is out of reach".to_owned()));
}

#[test]
fn a_sink_that_fails_on_one_worker_ends_the_run() {
    let error = run(dataflow("test", passes), environment(Arc::new(generator()), Arc::new(Unwritable)));
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Sink, "the disk is full".to_owned()));
}

/// An aggregate with a defect.
struct Defective;

impl Aggregate<Login> for Defective {
    type State = u64;
    type Output = u64;

    fn add(&self, _: &mut u64, _: &Login) {
        panic!("a defect");
    }

    fn merge(&self, _: &mut u64, _: u64) {}

    fn result(&self, state: u64) -> u64 {
        state
    }
}

const CASE: &str = "TIDEWATCH_TEST_FAILURE";

const CASES: [&str; 8] = ["logins", "keeps", "maps", "maps-flat", "per-key", "adds", "scores", "many"];

/// A dataflow with a defect in the stage `case`.
fn defective(flow: &Flow, case: &str) -> Result<()> {
    let case = case.to_owned();
    let at = move |stage: &str| assert!(case != stage, "a defect");
    let minute = Tumbling::of(Duration::from_secs(1));
    let check = at.clone();
    let logins = flow.source::<Login>("logins")?.validate(move |_| {
        check("logins");
        Ok(())
    });
    let (keep, map, flat, key, measure, least) = (at.clone(), at.clone(), at.clone(), at.clone(), at.clone(), at);
    let logins = logins
        .filter("keeps", move |_| {
            keep("keeps");
            true
        })
        .map("maps", move |login| {
            map("maps");
            login
        })
        .flat_map("maps-flat", move |login| {
            flat("maps-flat");
            Some(login)
        });
    let windows = logins
        .key_by(move |login| {
            key("per-key");
            login.user.clone()
        })
        .window("per-key", minute)
        .aggregate(Count);
    let baseline = Baseline { warm_up: 1, ..Baseline::default() };
    let measure = move |_: &Window<Text, u64>| {
        measure("scores");
        1.0
    };
    windows.baseline("scores", measure, baseline).map("key", |scored| scored.window.key).sink("scored")?;
    windows
        .threshold(
            "many",
            move |window| {
                least("many");
                window.value
            },
            1,
        )
        .map("row", |window| window.key)
        .sink("out")
}

/// One of these dataflows, in a process of its own; nothing in an ordinary run.
#[test]
fn in_child() {
    let Ok(case) = std::env::var(CASE) else { return };
    tidewatch::runtime::panic::install(Vec::new());
    let scored = case != "adds";
    let flow = move |flow: &Flow, _: &NoParams| {
        if case == "adds" {
            let logins = flow.source::<Login>("logins")?;
            let windows =
                logins.key_by(|login| login.user.clone()).window("adds", Tumbling::of(Duration::from_secs(1)));
            return windows.aggregate(Defective).map("row", |window| window.key).sink("out");
        }
        defective(flow, &case)
    };
    let mut environment = environment(Arc::new(generator()), Arc::new(Unwritable));
    environment.sinks.insert("out".to_owned(), Arc::new(tidewatch::connectors::null::NullSink));
    if scored {
        environment.sinks.insert("scored".to_owned(), Arc::new(tidewatch::connectors::null::NullSink));
    }
    launch::run(&dataflow("test", flow), environment, 3, None).unwrap();
    unreachable!("the dataflow has a defect, and no end");
}

#[test]
fn a_panic_in_a_dataflow_names_its_stage() {
    for case in CASES {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "in_child", "--nocapture", "--test-threads=1"])
            .env(CASE, case)
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(70), "{case}: {stderr}");
        let start = format!("panicked in stage {case:?} at ");
        assert!(stderr.starts_with("error: thread \"timely:work-") && stderr.contains(&start), "{case}: {stderr}");
        assert!(stderr.trim_end().ends_with(": a defect"), "{case}: {stderr}");
    }
}
