//! `run`: one process of a dataflow, alone or as one of several.

#[cfg(feature = "kafka")]
use std::net::SocketAddr;
use std::process::ExitCode;
#[cfg(feature = "kafka")]
use std::time::Duration;
use std::time::Instant;

use super::args::{MeshArgs, RecoveryArgs, RunArgs};
use super::prepare::{Prepared, prepare, warn};
use super::signals::{self, Stopping};
use super::{report, summary};
use crate::checkpoint::directory::StateDirectory;
use crate::config::EngineConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::flow::{Dataflow, Environment, launch};
use crate::runtime::control::Control;
use crate::runtime::durability::{Durability, Share};
use crate::runtime::execute::Peers;
use crate::runtime::mesh::{self, Identity, MeshConfig};
use crate::runtime::panic;
use crate::runtime::supervise::{Finished, Link, Report};
use crate::telemetry::{Admin, AdminLimits, AdminOptions, IoThread, LogOptions, Readiness, Usage, init_log};

pub(super) fn run(dataflow: &Dataflow, args: &RunArgs) -> Result<ExitCode> {
    let Some(socket) = &args.mesh.supervisor else {
        let (name, outcome) = run_linked(dataflow, args, None)?;
        summary::print(&name, &outcome.finished, outcome.stopped);
        outcome.result?;
        report::write(args.report.as_deref(), outcome.finished, outcome.stopped)?;
        return Ok(ExitCode::SUCCESS);
    };
    let link = Link::connect(socket, args.mesh.process.unwrap_or(0))?;
    let outcome = run_linked(dataflow, args, Some(&link))
        .and_then(|(_, outcome)| outcome.result.map(|()| Report::Finished(outcome.finished)));
    match outcome {
        Ok(finished) if link.tell(&finished) => Ok(ExitCode::SUCCESS),
        Ok(_) => {
            Err(Error::new(ErrorKind::Mesh, "the supervisor is gone: it does not know that the dataflow has finished"))
        }
        Err(error) => {
            let code = error.kind().exit_code();
            // The supervisor reports it, once for all processes.
            let told = link.tell(&Report::Failed { code, message: error.to_string() });
            if told { Ok(ExitCode::from(code)) } else { Err(error) }
        }
    }
}

/// Runs with or without a supervisor.
fn run_linked(dataflow: &Dataflow, args: &RunArgs, link: Option<&Link>) -> Result<(String, RunOutcome)> {
    let mut prepared = prepare(dataflow, &args.config)?;
    // A supervisor starts local processes only.
    prepared.environment.one_machine = link.is_some();
    let workers = usize::from(args.workers);
    let place = OwnPosition::read(&args.mesh)?;
    let process = place.as_ref().map(|place| place.index);
    let mut session = RunSession::start(&prepared, process, link)?;
    if link.is_none() {
        // A supervisor has reported it, once for all processes.
        warn(&prepared);
    }
    prepared.environment.durability =
        durability(&prepared, args, place.as_ref().map_or(1, |place| place.addresses.len()), link.is_some())?;
    let addresses = place.as_ref().map(|place| place.addresses.clone()).unwrap_or_default();
    match link.cloned() {
        None => panic::install(addresses),
        Some(link) => panic::install_with(addresses, move |words| {
            let message = words.text.clone();
            link.tell(&if words.lost { Report::Lost { message } } else { Report::Failed { code: words.code, message } })
        }),
    }
    let peers = match &place {
        Some(place) => Some(place.join(&prepared, workers, args.mesh.generation, args.mesh.insecure_mesh)?),
        None => None,
    };
    let outcome = session.run(prepared, workers, peers);
    Ok((session.dataflow.clone(), outcome))
}

/// Opens the state directory, if there is one: as a run of its own, or joining the generation that a cluster began.
fn durability(prepared: &Prepared, args: &RunArgs, processes: usize, supervised: bool) -> Result<Option<Durability>> {
    let Some(path) = &prepared.engine.state_dir else {
        return args.recovery.needs_state().map(|()| None);
    };
    let threads = usize::from(args.workers);
    let purpose = prepared.purpose(threads);
    let directory = match args.mesh.process {
        None if args.recovery.from_scratch => StateDirectory::begin_from_scratch(path, &purpose)?,
        None => StateDirectory::begin(path, &purpose)?,
        Some(_) if supervised => StateDirectory::join(path, &purpose, args.mesh.generation)?,
        Some(_) => {
            let message = "engine.state_dir: processes that are started one by one cannot share a state directory yet";
            return Err(Error::config(message).hint("`tidewatch cluster` starts several on this machine that can"));
        }
    };
    let Environment { control, metrics, ticker, .. } = &prepared.environment;
    let share = Share {
        process: args.mesh.process.unwrap_or(0),
        threads,
        workers: processes * threads,
        sources: launch::parts(&prepared.dataflow, &prepared.environment).sources.len(),
    };
    let (rules, from) = (prepared.engine.checkpoints(), args.recovery.from.unwrap_or_default());
    Durability::begin(directory, share, &rules, &purpose, from, (control, metrics, ticker)).map(Some)
}

impl RecoveryArgs {
    /// Refuses options that need a state directory without one.
    pub(super) fn needs_state(&self) -> Result<()> {
        if self.from.is_none() && !self.from_scratch {
            return Ok(());
        }
        let message = "--from and --from-scratch are for runs with a state directory, and this one has none";
        Err(Error::config(message).hint("give it with --state or as engine.state_dir"))
    }
}

/// This process among those of a host file.
struct OwnPosition {
    addresses: Vec<String>,
    index: usize,
    secret: Option<mesh::Secret>,
}

impl OwnPosition {
    fn read(args: &MeshArgs) -> Result<Option<OwnPosition>> {
        let (Some(file), Some(index)) = (&args.hosts, args.process) else { return Ok(None) };
        let addresses = mesh::hosts::read(file)?;
        if index >= addresses.len() {
            let message = format!("--process {index} is not in host file {file:?}, which has {}", addresses.len());
            return Err(Error::config(message).hint("processes are counted from 0"));
        }
        let secret = args.secret_file.as_ref().map(mesh::Secret::from_file).transpose()?;
        Ok(Some(OwnPosition { addresses, index, secret }))
    }

    fn join(&self, prepared: &Prepared, workers: usize, generation: u64, insecure: bool) -> Result<Peers> {
        let identity = Identity {
            cluster: prepared.dataflow.name().to_owned(),
            build: mesh::build_id()?.to_owned(),
            config: prepared.fingerprint.clone(),
            generation,
        };
        let mut config = MeshConfig::new(self.addresses.clone(), self.index, workers, identity);
        config.secret = self.secret.clone();
        config.insecure = insecure;
        let sockets = mesh::form(&config)?;
        Ok(Peers { sockets, index: self.index })
    }
}

/// What surrounds a run: logs, signals, the admin server.
pub(super) struct RunSession {
    pub dataflow: String,
    readiness: Readiness,
    control: Control,
    #[cfg_attr(
        not(feature = "kafka"),
        allow(dead_code, reason = "it serves until it is dropped; only the demo asks it")
    )]
    admin: Option<Admin>,
    _io: IoThread,
}

/// The outcome of a run.
pub(super) struct RunOutcome {
    pub result: Result<()>,
    pub finished: Finished,
    /// Whether it was stopped.
    pub stopped: bool,
}

/// Starts to log, as process `process` of several or as the only one.
pub(super) fn log(engine: &EngineConfig, process: Option<usize>) -> Result<()> {
    init_log(&LogOptions { format: engine.log_format, filter: engine.log.clone(), process }).map(drop)
}

impl RunSession {
    /// Starts logging, the admin server and the handling of signals.
    pub(super) fn start(prepared: &Prepared, process: Option<usize>, link: Option<&Link>) -> Result<RunSession> {
        let engine = &prepared.engine;
        log(engine, process)?;
        let io = IoThread::start()?;
        let readiness = Readiness::default();
        let metrics = prepared.environment.metrics.clone();
        let control = prepared.environment.control.clone();
        let stopping =
            Stopping { control: control.clone(), readiness: readiness.clone(), grace: engine.shutdown_grace };
        match link {
            None => signals::watch(&io, stopping)?,
            Some(link) => signals::watch_supervised(&io, &stopping, link)?,
        }
        let admin = match engine.admin.address {
            None => None,
            Some(mut address) => {
                // Processes of one host file may share a host and a configuration.
                let port = address.port().saturating_add(u16::try_from(process.unwrap_or(0)).unwrap_or(u16::MAX));
                address.set_port(if address.port() == 0 { 0 } else { port });
                let explicit = engine.admin.explicit;
                let hosts = engine.admin_hosts.clone();
                let options = AdminOptions { address, explicit, hosts, limits: AdminLimits::default() };
                Some(Admin::start(&io, options, metrics, readiness.clone())?)
            }
        };
        let dataflow = prepared.dataflow.name().to_owned();
        Ok(RunSession { dataflow, readiness, control, admin, _io: io })
    }

    /// The address of the admin server, if it runs.
    #[cfg(feature = "kafka")]
    pub(super) fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Waits for a signal.
    #[cfg(feature = "kafka")]
    pub(super) fn wait(&self) {
        while !self.stopped() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether a signal ended the run.
    #[cfg(feature = "kafka")]
    pub(super) fn stopped(&self) -> bool {
        self.control.stopping()
    }

    /// Runs the dataflow to its end.
    pub(super) fn run(&mut self, prepared: Prepared, workers: usize, peers: Option<Peers>) -> RunOutcome {
        let metrics = prepared.environment.metrics.clone();
        tracing::info!(dataflow = self.dataflow, workers, "running");
        self.readiness.running();
        let started = Instant::now();
        let result = launch::run(&prepared.dataflow, prepared.environment, workers, peers);
        let seconds = started.elapsed().as_secs_f64();
        self.readiness.stopping();
        let (totals, latency) = (metrics.totals(), metrics.latency());
        let finished = Finished { totals, seconds, latency, usage: Usage::of_this_process() };
        RunOutcome { result, finished, stopped: self.control.stopping() }
    }
}
