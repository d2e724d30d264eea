//! The thread of a process that writes the checkpoint entries of its workers. That of the first process also completes
//! checkpoints, and deletes old ones.
//!
//! A worker's part of a checkpoint is some objects and then a list of them; once every worker's list is there and every
//! sink has committed the epoch, the manifest is written. A failure costs only the checkpoint that was being written.

mod worker_part;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use self::worker_part::WorkerParts;
use super::bindings;
use super::identity::Fingerprint;
use super::manifest::{CheckpointName, FORMAT, Manifest, ObjectRef, WorkerDone, read_frame};
use super::prune::prune;
use super::store::CheckpointStore;
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Epoch, Ticker};

/// How many bytes may wait to be written before operators have to wait.
const UNWRITTEN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How often the first process checks whether a checkpoint can be completed.
const POLL: Duration = Duration::from_millis(20);

/// Receives what the writer reports.
pub trait CheckpointObserver: Send {
    /// A checkpoint of `bytes` bytes is complete; its first entry was written `took` ago.
    fn completed(&self, epoch: Epoch, bytes: u64, took: Duration);

    /// A checkpoint cannot be written. The run continues, and the next one may succeed.
    fn failed(&self, error: Error);
}

/// What is written, where, and for which run.
pub struct CheckpointWriterPlan {
    /// The store.
    pub store: CheckpointStore,
    /// The state directory, whose bindings need not reach back beyond the oldest checkpoint.
    pub directory: PathBuf,
    /// The identity of the state directory.
    pub state: String,
    /// The generation of this run.
    pub generation: u64,
    /// The dataflow.
    pub fingerprint: Fingerprint,
    /// Workers in all processes.
    pub workers: usize,
    /// Whether this is the process that completes checkpoints.
    pub completes: bool,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// The time of day.
    pub ticker: Ticker,
    /// The objects that the restored checkpoint shares with later ones, each with the worker that owns it now.
    pub lasting: Vec<(usize, ObjectRef)>,
}

/// Hands entries to the writer of a process, which ends when the last handle is dropped.
#[derive(Clone)]
pub struct CheckpointWriterHandle {
    sender: Sender<Message>,
    unwritten: Arc<AtomicUsize>,
    committed: Arc<AtomicU64>,
    oldest: Arc<AtomicU64>,
}

enum Message {
    Entries { worker: usize, epoch: Epoch, slot: u32, lasting: bool, entries: Vec<u8> },
    Done { worker: usize, epoch: Epoch, slots: Vec<String> },
}

impl CheckpointWriterHandle {
    /// A writer, and the handle to it.
    pub fn new(plan: CheckpointWriterPlan, observer: impl CheckpointObserver + 'static) -> (Self, CheckpointWriter) {
        let (sender, messages) = channel();
        let (unwritten, committed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let oldest = Arc::default();
        let handle = CheckpointWriterHandle {
            sender,
            unwritten: Arc::clone(&unwritten),
            committed: Arc::clone(&committed),
            oldest: Arc::clone(&oldest),
        };
        let (parts, observer) = (WorkerParts::new(&plan), Box::new(observer));
        (handle, CheckpointWriter { messages, parts, plan, observer, unwritten, committed, oldest, taken: None })
    }

    /// Entries of the checkpoint of `epoch`, or, if they are `lasting`, of this and all later ones.
    pub fn write(&self, worker: usize, epoch: Epoch, slot: u32, lasting: bool, entries: Vec<u8>) {
        self.unwritten.fetch_add(entries.len(), Ordering::AcqRel);
        // The writer only ends with its handles.
        let _ = self.sender.send(Message::Entries { worker, epoch, slot, lasting, entries });
    }

    /// A worker has handed over all of its part; its slots are `slots`.
    pub fn done(&self, worker: usize, epoch: Epoch, slots: Vec<String>) {
        let _ = self.sender.send(Message::Done { worker, epoch, slots });
    }

    /// Whether more can be handed over without holding too much in memory.
    pub fn has_room(&self) -> bool {
        self.unwritten.load(Ordering::Acquire) < UNWRITTEN_BYTES_MAX
    }

    /// The oldest epoch whose checkpoint a run can still resume from; 0 where that is not known, as in processes that
    /// do not complete checkpoints.
    pub fn oldest(&self) -> Epoch {
        self.oldest.load(Ordering::Acquire)
    }

    /// Every sink has committed the epochs before `epoch`.
    pub fn committed(&self, epoch: Epoch) {
        self.committed.fetch_max(epoch, Ordering::AcqRel);
    }
}

/// Writes what its handles give it.
pub struct CheckpointWriter {
    messages: Receiver<Message>,
    plan: CheckpointWriterPlan,
    observer: Box<dyn CheckpointObserver>,
    unwritten: Arc<AtomicUsize>,
    committed: Arc<AtomicU64>,
    oldest: Arc<AtomicU64>,
    parts: WorkerParts,
    /// The checkpoint that worker 0 has handed over and that is not complete.
    taken: Option<UnfinishedCheckpoint>,
}

struct UnfinishedCheckpoint {
    epoch: Epoch,
    since: Instant,
    slots: Option<Vec<String>>,
}

impl CheckpointWriter {
    /// Runs in a thread of its own, until all handles are dropped.
    ///
    /// # Errors
    /// Of kind `State`, if the thread cannot be started.
    pub fn start(mut self) -> Result<()> {
        let work = move || {
            loop {
                match self.messages.recv_timeout(POLL) {
                    Ok(message) => self.step(Some(message)),
                    Err(RecvTimeoutError::Timeout) => self.step(None),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(work);
        let cannot = |why| Error::new(ErrorKind::State, "cannot start the thread of checkpoints").because(why);
        thread.map(drop).map_err(cannot)
    }

    /// Does the next piece of work, without waiting for anything: for tests that control the timing.
    #[doc(hidden)]
    pub fn turn(&mut self) {
        let message = self.messages.try_recv().ok();
        self.step(message);
    }

    fn step(&mut self, message: Option<Message>) {
        let done = message.map_or(Ok(()), |message| self.handle(message));
        if let Err(error) = done.and_then(|()| self.complete()) {
            self.taken = None;
            self.observer.failed(error);
        }
    }

    fn handle(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Entries { worker, epoch, slot, lasting, entries } => {
                self.begun(worker, epoch);
                self.unwritten.fetch_sub(entries.len(), Ordering::AcqRel);
                self.parts.write(&self.plan, worker, epoch, slot, lasting, &entries)
            }
            Message::Done { worker, epoch, slots } => {
                self.begun(worker, epoch);
                self.parts.done(&self.plan, worker, epoch)?;
                if let Some(taken) = self.taken.as_mut().filter(|taken| worker == 0 && taken.epoch == epoch) {
                    taken.slots = Some(slots);
                }
                Ok(())
            }
        }
    }

    fn begun(&mut self, worker: usize, epoch: Epoch) {
        if worker == 0 && self.taken.as_ref().is_none_or(|taken| taken.epoch < epoch) {
            self.taken = Some(UnfinishedCheckpoint { epoch, since: Instant::now(), slots: None });
        }
    }

    /// Completes the unfinished checkpoint, if that is possible now.
    fn complete(&mut self) -> Result<()> {
        let plan = &self.plan;
        let Some(UnfinishedCheckpoint { epoch, since, slots: Some(slots) }) = &self.taken else { return Ok(()) };
        if !plan.completes || self.committed.load(Ordering::Acquire) <= *epoch {
            return Ok(());
        }
        let name = CheckpointName { epoch: *epoch, generation: plan.generation };
        let there = plan.store.list(&name.to_string())?.1;
        let lists: Vec<String> = (0..plan.workers).map(worker_part::list_name).collect();
        if !lists.iter().all(|list| there.binary_search(list).is_ok()) {
            return Ok(());
        }
        let mut together = WorkerDone::default();
        for list in &lists {
            let done: WorkerDone = read_frame(&plan.store, &format!("{name}/{list}"))?;
            together.objects.extend(done.objects);
            together.lasting.extend(done.lasting);
        }
        let manifest = Manifest {
            format: FORMAT,
            state: plan.state.clone(),
            name,
            completed_ms: plan.ticker.now_ms(),
            workers: plan.workers,
            fingerprint: plan.fingerprint.clone(),
            slots: slots.clone(),
            objects: together.objects,
            lasting: together.lasting,
        };
        manifest.write(&plan.store)?;
        let (took, bytes) = (since.elapsed(), manifest.bytes());
        self.taken = None;
        tracing::info!(checkpoint = %name, bytes, ?took, "checkpoint");
        self.observer.completed(name.epoch, bytes, took);
        let pruned = prune(&plan.store, plan.keep, plan.generation)?;
        match pruned.oldest {
            Some(oldest) => {
                self.oldest.store(oldest, Ordering::Release);
                bindings::prune(&plan.directory, oldest, plan.generation)
            }
            None => Ok(()),
        }
    }
}
