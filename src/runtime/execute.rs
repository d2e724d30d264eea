//! Runs one dataflow on the workers of this process: builds it, steps it until the sinks are done, and reports what
//! failed.
//!
//! Every worker builds the same operators in the same order, whatever it owns; what differs between workers is inside
//! the operators. A failure stops all workers of the process. Peers in other processes cannot be told to stop: they
//! notice that the connections break when this process ends, so the connections must not be closed cleanly before that.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::time::Duration;

use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks};
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

use super::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::{Metrics, WorkerLog};
use crate::time::Epoch;

/// How long a worker sleeps at most when nothing happens: bounds how late it notices a stop.
const PARK_MAX: Duration = Duration::from_millis(20);

/// The position of this process among its peers.
pub struct Peers {
    /// Connections in process order, `None` for this process.
    pub sockets: Vec<Option<TcpStream>>,
    /// The index of this process.
    pub index: usize,
}

/// The parts of a run besides the dataflow.
pub struct RunPlan {
    /// Worker threads in this process; the same in all processes.
    pub workers: usize,
    /// The other processes, if there are any.
    pub peers: Option<Peers>,
    /// Stops the run, and holds the first error.
    pub control: Control,
    /// Where the workers publish their operators' metrics.
    pub metrics: Metrics,
}

/// Runs `build` on every worker and steps until what it built is done.
///
/// After an error in a run with peers the process has to end: workers and connections are left as they are.
///
/// # Errors
/// The first error of a source, a sink or an operator, or of `build` itself.
pub fn execute<B>(plan: RunPlan, build: B) -> Result<()>
where
    B: Fn(&mut Worker) -> Result<ProbeHandle<Epoch>> + Send + Sync + 'static,
{
    let RunPlan { workers, peers, control, metrics } = plan;
    let alone = peers.is_none();
    let (builders, connections) = allocators(workers, peers)?;
    let (ended, endings) = mpsc::channel();
    let shared = control.clone();
    if !alone {
        control.halt_on_failure(ended.clone());
    }
    let guards = timely::execute::execute_from(builders, Box::new(()), WorkerConfig::default(), move |worker| {
        Control::is_worker();
        telling_panics(&shared, || {
            let mut log = WorkerLog::register(worker, &metrics);
            match build(worker) {
                Ok(probe) => step(worker, &probe, &shared, &mut log),
                Err(error) => shared.fail(error),
            }
            log.publish();
        });
        let failed = shared.failed();
        // Nobody listens any more once another worker has failed.
        let _ = ended.send(failed);
        if failed && !alone {
            // Returning here would tell the peers that the run ended cleanly.
            loop {
                std::thread::park();
            }
        }
        if failed {
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
        }
    })
    .map_err(|why| Error::new(ErrorKind::Internal, format!("the workers cannot start: {why}")))?;

    let (guards, connections) = (ManuallyDrop::new(guards), ManuallyDrop::new(connections));
    if !alone && endings.iter().take(workers).any(|failed| failed) {
        return Err(control.take_failure().expect("whoever fails says why"));
    }
    // All are joined first, since only then every failure is known; panics are among the failures, with their messages.
    let panicked = ManuallyDrop::into_inner(guards).join().into_iter().find_map(Result::<(), String>::err);
    let why = |why: String| Error::new(ErrorKind::Internal, format!("a worker panicked: {why}"));
    control.take_failure().or(panicked.map(why)).map_or(Ok(()), Err)?;
    drop(ManuallyDrop::into_inner(connections));
    Ok(())
}

/// Runs `work`, and reports a panic to the other workers: they would wait for ever, since a worker that panicked makes
/// no progress.
fn telling_panics(control: &Control, work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        let said = payload.downcast_ref::<&str>().copied();
        let said = said.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
        control.fail(Error::new(ErrorKind::Internal, format!("a worker panicked: {said}")));
        resume_unwind(payload);
    }
}

fn step(worker: &mut Worker, probe: &ProbeHandle<Epoch>, control: &Control, log: &mut WorkerLog) {
    while !probe.done() && !control.failed() {
        worker.step_or_park(Some(PARK_MAX));
        log.tick();
    }
}

fn allocators(workers: usize, peers: Option<Peers>) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>)> {
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
