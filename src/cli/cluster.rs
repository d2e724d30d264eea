//! `cluster`: several local processes of this program under a supervisor.
//!
//! Addresses, secret and the supervisor's socket are in a folder that only this user can enter, and that is deleted
//! with the cluster, or when the next one starts if this one is killed. Standard input belongs to process 0. With a
//! state directory the loss or failure of a process is followed by a new generation of all of them.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use super::args::ClusterArgs;
use super::child::{option, path_option, this_program};
use super::prepare::{Prepared, prepare, warn};
use super::run::log;
use super::scratch::Scratch;
use super::{report, signals, summary};
use crate::checkpoint::directory::{Purpose, StateDirectory};
use crate::error::{Error, ErrorKind, Result};
use crate::flow::Dataflow;
use crate::runtime::durability::From;
use crate::runtime::mesh::{Secret, free_loopback_addresses};
use crate::runtime::supervise::{Ending, Restarts, StopRequests, Supervisor};
use crate::telemetry::IoThread;

pub(super) fn cluster(dataflow: &Dataflow, args: &ClusterArgs) -> Result<ExitCode> {
    let prepared = prepare(dataflow, &args.config)?;
    log(&prepared.engine, None)?;
    warn(&prepared);
    let io = IoThread::start()?;
    let requests = signals::count(&io)?;
    let workers = usize::from(args.workers) * usize::from(args.processes);
    let purpose = prepared.purpose(workers);
    let mut state = match &prepared.engine.state_dir {
        None => args.recovery.needs_state().map(|()| None)?,
        Some(path) if args.recovery.from_scratch => Some(StateDirectory::begin_from_scratch(path, &purpose)?),
        Some(path) => Some(StateDirectory::begin(path, &purpose)?),
    };
    let mut from = args.recovery.from.unwrap_or_default();
    let mut restarts = Restarts::default();
    loop {
        let generation = state.as_ref().map_or(prepared.environment.run_ms, StateDirectory::generation);
        // All processes resume from the same checkpoint, so it is chosen here.
        let chosen = match &state {
            Some(state) => choose(&prepared, state, &purpose, from)?,
            None => None,
        };
        let error = match generation_of_processes(args, generation, chosen, &requests) {
            Ok(Ending::Finished(finished, stopped)) => {
                summary::print(dataflow.name(), &finished, stopped);
                report::write(args.report.as_deref(), finished, stopped)?;
                return Ok(ExitCode::SUCCESS);
            }
            Ok(Ending::Forced) => return Ok(ExitCode::from(signals::EXIT_FORCED)),
            Err(error) => error,
        };
        // Without a state directory nobody knows what was written and what was not.
        let Some(state) = &mut state else { return Err(error) };
        let mut begun = Err(error);
        while let Err(error) = begun {
            let wait = restarts.after(error)?;
            if !signals::wait(&requests, wait) {
                return Ok(ExitCode::SUCCESS);
            }
            begun = state.begin_next();
        }
        from = From::Newest;
    }
}

/// The checkpoint that all processes of a generation resume from.
fn choose(prepared: &Prepared, state: &StateDirectory, purpose: &Purpose, from: From) -> Result<Option<From>> {
    let restored = prepared.engine.checkpoints().restore(state, purpose, from)?;
    Ok(Some(restored.map_or(From::Bindings, |restored| From::Checkpoint(restored.name))))
}

/// Runs every process once, until all have ended.
fn generation_of_processes(
    args: &ClusterArgs,
    generation: u64,
    from: Option<From>,
    requests: &StopRequests,
) -> Result<Ending> {
    let folder = Folder::prepare(args.processes)?;
    let commands =
        (0..args.processes).map(|process| folder.command(process, args, generation, from)).collect::<Result<_>>()?;
    Supervisor::start(&folder.socket(), commands)?.run(requests)
}

/// What the processes of a cluster share.
struct Folder(Scratch);

impl Folder {
    fn prepare(processes: u16) -> Result<Self> {
        let failed = |why| Error::new(ErrorKind::Mesh, "cannot prepare a folder for the cluster").because(why);
        let folder = Folder(Scratch::new("").map_err(failed)?);
        Secret::generate()?.save(folder.secret())?;
        let addresses = free_loopback_addresses(usize::from(processes))?;
        std::fs::write(folder.hosts(), addresses.join("\n")).map_err(failed)?;
        Ok(folder)
    }

    fn hosts(&self) -> PathBuf {
        self.0.file("hosts")
    }

    fn secret(&self) -> PathBuf {
        self.0.file("secret")
    }

    fn socket(&self) -> PathBuf {
        self.0.file("supervisor")
    }

    /// The command that runs one process.
    fn command(&self, process: u16, args: &ClusterArgs, generation: u64, from: Option<From>) -> Result<Command> {
        let mut command = this_program()?;
        command.arg("run").arg(&args.dataflow);
        command.arg("--process").arg(process.to_string()).arg("--workers").arg(args.workers.to_string());
        command.arg("--generation").arg(generation.to_string());
        command.arg(path_option("--hosts", self.hosts())).arg(path_option("--secret-file", self.secret()));
        command.arg(option("--supervisor", self.socket()));
        args.config.pass_on(&mut command);
        match from {
            None | Some(From::Newest) => {}
            Some(From::Bindings) => drop(command.args(["--from", "none"])),
            Some(From::Checkpoint(name)) => drop(command.arg("--from").arg(name.to_string())),
        }
        command.stdin(if process == 0 { Stdio::inherit() } else { Stdio::null() });
        Ok(command)
    }
}
