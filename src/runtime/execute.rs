//! Runs one dataflow on the workers of this process: builds it, steps it until the sinks are done, and reports what failed.
//!
//! Every worker builds the same operators in the same order, whatever it owns; what differs between workers is inside the
//! operators. A failure stops all workers of the process; with peers in other processes the process ends, and they with it.

use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks};
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

use super::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// How long a worker sleeps at most when nothing happens: bounds how late it notices a stop.
const PARK_MAX: Duration = Duration::from_millis(20);

/// How often a worker publishes its operators' figures.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);

/// The place of this process among its peers.
pub struct Peers {
    /// Connections in process order, `None` at our own place.
    pub sockets: Vec<Option<TcpStream>>,
    /// Our place.
    pub index: usize,
}

/// Publishes a worker's figures; made on the worker's thread before the dataflow is built.
pub type Publisher = Box<dyn FnMut()>;

/// What a run is made of, besides the dataflow.
pub struct Plan {
    /// Worker threads in this process; the same in all processes.
    pub workers: usize,
    /// The other processes, if there are any.
    pub peers: Option<Peers>,
    /// Stops the run, and holds the first error.
    pub control: Control,
}

/// Runs `build` on every worker and steps until what it built is done.
///
/// `observe` is called first on each worker, to attach logging.
///
/// # Errors
/// The first error of a source, a sink or an operator, or of `build` itself.
pub fn execute<B, O>(plan: Plan, observe: O, build: B) -> Result<()>
where
    B: Fn(&mut Worker) -> Result<ProbeHandle<Epoch>> + Send + Sync + 'static,
    O: Fn(&mut Worker) -> Publisher + Send + Sync + 'static,
{
    let Plan { workers, peers, control } = plan;
    let alone = peers.is_none();
    let (builders, guard) = allocators(workers, peers)?;
    let control = Arc::new(control);
    let shared = Arc::clone(&control);
    let guards = timely::execute::execute_from(builders, guard, WorkerConfig::default(), move |worker| {
        telling_panics(&shared, || {
            let mut publish = observe(worker);
            match build(worker) {
                Ok(probe) => step(worker, &probe, &shared, &mut publish),
                Err(error) => shared.fail(error),
            }
            publish();
        });
        if shared.failed() {
            if !alone {
                exit(&shared);
            }
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
        }
    })
    .map_err(|why| Error::new(ErrorKind::Internal, format!("the workers cannot start: {why}")))?;
    // All are joined first, since only then every failure is known; a panic is among the failures, with its message.
    let panicked = guards.join().into_iter().find_map(Result::<(), String>::err);
    let why = |why: String| Error::new(ErrorKind::Internal, format!("a worker panicked: {why}"));
    control.take_failure().or(panicked.map(why)).map_or(Ok(()), Err)
}

/// Works, and tells the other workers if that panics: this one will never make progress again, so they would wait for ever.
fn telling_panics(control: &Control, work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        let said = payload.downcast_ref::<&str>().copied();
        let said = said.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
        control.fail(Error::new(ErrorKind::Internal, format!("a worker panicked: {said}")));
        resume_unwind(payload);
    }
}

fn step(worker: &mut Worker, probe: &ProbeHandle<Epoch>, control: &Control, publish: &mut Publisher) {
    let mut published = Instant::now();
    while !probe.done() && !control.failed() {
        worker.step_or_park(Some(PARK_MAX));
        if published.elapsed() >= PUBLISH_EVERY {
            publish();
            published = Instant::now();
        }
    }
}

/// Peers in other processes cannot be told to stop: they notice that we are gone.
fn exit(control: &Control) -> ! {
    let error = control.take_failure();
    let code = error.as_ref().map_or(ErrorKind::Internal.exit_code(), |e| e.kind().exit_code());
    if let Some(error) = error {
        tracing::error!("{error}");
        std::process::exit(i32::from(code));
    }
    // Another worker took the error and is about to end the process.
    loop {
        std::thread::park();
    }
}

fn allocators(workers: usize, peers: Option<Peers>) -> Result<(Vec<AllocatorBuilder>, Box<dyn std::any::Any + Send>)> {
    let failed = |why: String| Error::new(ErrorKind::Mesh, format!("the workers cannot be connected: {why}"));
    let Some(Peers { sockets, index }) = peers else {
        let config = if workers == 1 { CommunicationConfig::Thread } else { CommunicationConfig::Process(workers) };
        return config.try_build().map_err(failed);
    };
    let hooks = Hooks::default();
    let local = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
    let (builders, guard) = initialize_networking_from_sockets(local, sockets, index, workers, hooks)
        .map_err(|why| failed(why.to_string()))?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
}
