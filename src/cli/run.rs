//! `run`: one process of a dataflow, alone or as one of several.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::args::{MeshArgs, RunArgs};
use super::prepare::{Prepared, prepare};
use super::{signals, summary};
use crate::config::LogFormat as Format;
use crate::error::{Error, Result};
use crate::flow::{Dataflow, launch};
use crate::runtime::execute::Peers;
use crate::runtime::mesh::{self, Identity, MeshConfig};
use crate::runtime::panic;
use crate::telemetry::{
    Admin, AdminLimits, AdminOptions, IoThread, LogFormat, LogOptions, Readiness, Totals, init_log,
};

pub(super) fn run(dataflow: &Dataflow, args: &RunArgs) -> Result<()> {
    let prepared = prepare(dataflow, &args.config)?;
    let workers = usize::from(args.workers);
    let place = Place::read(&args.mesh)?;
    let mut session = Session::start(&prepared, place.as_ref().map(|place| place.index))?;
    let peers = match &place {
        Some(place) => Some(place.join(&prepared, workers, args.mesh.generation, args.mesh.insecure_mesh)?),
        None => {
            panic::install(Vec::new());
            None
        }
    };
    let run = session.run(prepared, workers, peers);
    summary::print(&session.dataflow, &run.totals, run.elapsed, run.windows_open, session.stopped());
    run.result
}

/// This process among those of a host file.
struct Place {
    addresses: Vec<String>,
    index: usize,
    secret: Option<mesh::Secret>,
}

impl Place {
    fn read(args: &MeshArgs) -> Result<Option<Place>> {
        let (Some(file), Some(index)) = (&args.hosts, args.process) else { return Ok(None) };
        let text = std::fs::read_to_string(file)
            .map_err(|why| Error::config(format!("cannot read host file {file:?}")).because(why))?;
        let addresses = mesh::hosts::parse(&text)?;
        if index >= addresses.len() {
            let message = format!("--process {index} is not in host file {file:?}, which has {}", addresses.len());
            return Err(Error::config(message).hint("processes are counted from 0"));
        }
        let secret = args.secret_file.as_ref().map(mesh::Secret::from_file).transpose()?;
        Ok(Some(Place { addresses, index, secret }))
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
        tracing::info!(processes = self.addresses.len(), "the mesh has formed");
        panic::install(self.addresses.clone());
        Ok(Peers { sockets, index: self.index })
    }
}

/// What surrounds a run: logs, signals, the admin server.
pub(super) struct Session {
    pub dataflow: String,
    pub admin: Option<SocketAddr>,
    readiness: Readiness,
    control: crate::runtime::control::Control,
    _admin: Option<Admin>,
    _io: IoThread,
}

/// What a run came to.
pub(super) struct Outcome {
    pub result: Result<()>,
    pub totals: Totals,
    pub elapsed: Duration,
    pub windows_open: u64,
}

impl Session {
    /// Starts logging, the admin server and the handling of signals.
    pub(super) fn start(prepared: &Prepared, process: Option<usize>) -> Result<Session> {
        let engine = &prepared.engine;
        let format = if engine.log_format == Format::Json { LogFormat::Json } else { LogFormat::Text };
        init_log(&LogOptions { format, filter: engine.log.clone(), process })?;
        let io = IoThread::start()?;
        let readiness = Readiness::default();
        let metrics = prepared.environment.metrics.clone();
        let admin = match engine.admin.address {
            None => None,
            Some(mut address) => {
                // Processes of one host file may share a host and a configuration.
                let port = address.port().saturating_add(u16::try_from(process.unwrap_or(0)).unwrap_or(u16::MAX));
                address.set_port(if address.port() == 0 { 0 } else { port });
                let explicit = engine.admin.explicit;
                let options = AdminOptions { address, explicit, limits: AdminLimits::default() };
                Some(Admin::start(&io, options, metrics, readiness.clone())?)
            }
        };
        let control = prepared.environment.control.clone();
        signals::watch(&io, control.clone(), readiness.clone(), engine.shutdown_grace)?;
        Ok(Session {
            dataflow: prepared.dataflow.name().to_owned(),
            admin: admin.as_ref().map(Admin::address),
            readiness,
            control,
            _admin: admin,
            _io: io,
        })
    }

    /// Waits for a signal.
    #[cfg(feature = "kafka")]
    pub(super) fn wait(&self) {
        while !self.stopped() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether a signal ended the run.
    pub(super) fn stopped(&self) -> bool {
        self.control.stopping()
    }

    /// Runs the dataflow to its end.
    pub(super) fn run(&mut self, prepared: Prepared, workers: usize, peers: Option<Peers>) -> Outcome {
        let metrics = prepared.environment.metrics.clone();
        tracing::info!(dataflow = self.dataflow, workers, "running");
        self.readiness.running();
        let started = Instant::now();
        let result = launch::run(&prepared.dataflow, prepared.environment, workers, peers);
        let elapsed = started.elapsed();
        self.readiness.stopping();
        Outcome { result, totals: metrics.totals(), elapsed, windows_open: 0 }
    }
}
