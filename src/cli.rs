//! The command line: `tidewatch list | check | run | cluster | checkpoint | bench | demo`.
//!
//! A user's own binary gets all of it: `tidewatch::main([dataflow("mine", mine)])`. Rows may go to standard output, so
//! everything that is for people (logs, progress, the summary) goes to standard error.

#[macro_use]
mod out;

mod args;
mod bench;
mod check;
mod checkpoint;
mod child;
mod cluster;
#[cfg(feature = "kafka")]
mod demo;
mod descriptors;
mod list;
mod prepare;
mod report;
mod run;
mod scratch;
mod signals;
mod summary;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Command};
use crate::error::{Error, Result};
use crate::flow::Dataflow;

/// Runs the command line over `dataflows` and returns the process's exit code.
///
/// Exit codes: 0 success, 2 configuration or command line, 3 source, 4 sink, 5 state, 6 mesh, 70 a defect, 130 ended by a
/// second signal.
///
/// ```no_run
/// use tidewatch::prelude::*;
///
/// /// Greets every line of standard input.
/// fn hello(flow: &Flow, _: &NoParams) -> Result<()> {
///     let names = flow.source::<Line>("names")?;
///     names.map("greet", |line| format!("hello, {}", line.text)).sink("greetings")
/// }
///
/// fn main() -> ExitCode {
///     tidewatch::main([dataflow("hello", hello)])
/// }
/// ```
pub fn main(dataflows: impl IntoIterator<Item = Dataflow>) -> ExitCode {
    let dataflows: Vec<Dataflow> = dataflows.into_iter().collect();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Printing fails only where nobody reads.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    descriptors::raise_limit();
    match dispatch(&dataflows, args).and_then(|code| out::checked().map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            note!("error: {error}");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn dispatch(dataflows: &[Dataflow], args: Args) -> Result<ExitCode> {
    match args.command {
        Command::List => list::list(dataflows),
        Command::Check(args) => check::check(find(dataflows, &args.dataflow)?, &args.config)?,
        Command::Run(args) => return run::run(find(dataflows, &args.dataflow)?, &args),
        Command::Cluster(args) => return cluster::cluster(find(dataflows, &args.dataflow)?, &args),
        Command::Checkpoint(command) => return checkpoint::checkpoint(&command),
        Command::Bench(args) => return bench::bench(dataflows, &args),
        #[cfg(feature = "kafka")]
        Command::Demo(args) => demo::demo(find(dataflows, demo::DATAFLOW)?, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'d>(dataflows: &'d [Dataflow], name: &str) -> Result<&'d Dataflow> {
    dataflows.iter().find(|dataflow| dataflow.name() == name).ok_or_else(|| {
        let names: Vec<&str> = dataflows.iter().map(Dataflow::name).collect();
        Error::config(format!("there is no dataflow {name:?}")).hint(format!("this program has: {}", names.join(", ")))
    })
}
