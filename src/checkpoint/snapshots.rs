//! The snapshots of one worker's operators: its slots, and the progress of the snapshot that is being taken.
//!
//! One is taken at a time. A slot that asks to start the next one while another slot is still writing is refused, and
//! that snapshot is abandoned: checkpoints are rarer than they should be then, and still correct.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::restore::{Restored, unreadable};
use super::writer::CheckpointWriterHandle;
use crate::error::{Error, ErrorKind};
use crate::state::snapshot::{Recorder, Schedule, Slot};
use crate::time::Epoch;

/// The slot of the positions of a source's partitions.
pub fn positions_of(source: &str) -> String {
    format!("{source}.positions")
}

/// The slot of the admission states of a source's partitions.
pub fn admitted_of(source: &str) -> String {
    format!("{source}.admitted")
}

/// The slot of the fold of a source's watermark updates.
pub fn watermark_of(source: &str) -> String {
    format!("{source}.marked")
}

/// The slots of one worker's operators. Clones share them.
#[derive(Clone)]
pub struct Snapshots(Option<Rc<Worker>>);

/// What the snapshots of a worker need.
pub struct SnapshotPlan {
    /// The worker.
    pub worker: usize,
    /// Workers in all processes.
    pub workers: usize,
    /// When they are due.
    pub schedule: Schedule,
    /// What writes them.
    pub writer: CheckpointWriterHandle,
    /// The checkpoint that the run resumes from.
    pub restored: Option<Arc<Restored>>,
    /// Called with how long a worker was blocked.
    pub paused: Box<dyn Fn(Duration)>,
    /// Called when restored state cannot be read.
    pub fail: Box<dyn Fn(Error)>,
}

struct Worker {
    plan: SnapshotPlan,
    kept_at: Option<Epoch>,
    /// Dropped once every operator has its part of it.
    restored: RefCell<Option<Arc<Restored>>>,
    taking: RefCell<SnapshotInProgress>,
}

#[derive(Default)]
struct SnapshotInProgress {
    /// The name of each slot.
    names: Vec<String>,
    /// Why this dataflow can have no snapshots.
    refusal: Option<String>,
    /// The epoch of the snapshot that is being taken.
    epoch: Option<Epoch>,
    /// The newest epoch whose snapshot was refused.
    refused: Epoch,
    progress: Vec<SlotProgress>,
    /// Since when a slot blocks the worker.
    since: Option<Instant>,
}

#[derive(Clone, Default)]
struct SlotProgress {
    writing: bool,
    /// The newest epoch whose snapshot it has written.
    written: Epoch,
    settled: Option<Settled>,
}

#[derive(Clone)]
struct Settled {
    /// Snapshots of later epochs include it.
    after: Epoch,
    entries: Vec<u8>,
    lasting: Vec<u8>,
}

impl Snapshots {
    /// The snapshots of a dataflow without state directory: none.
    pub fn off() -> Self {
        Snapshots(None)
    }

    /// The snapshots of a dataflow with a state directory.
    pub fn new(plan: SnapshotPlan) -> Self {
        let restored = plan.restored.clone();
        let kept_at = restored.as_ref().map(|restored| restored.name.epoch);
        Snapshots(Some(Rc::new(Worker { plan, kept_at, restored: RefCell::new(restored), taking: RefCell::default() })))
    }

    /// A slot named `what`, with its entries from an earlier run. Slots are numbered in the order in which they are
    /// requested, which is the same on all workers and in all runs.
    pub fn slot(&self, what: &str) -> Slot {
        let Some(worker) = &self.0 else { return Slot::off() };
        let mut taking = worker.taking.borrow_mut();
        let index = u32::try_from(taking.names.len()).expect("there are few operators");
        taking.names.push(what.to_owned());
        taking.progress.push(SlotProgress::default());
        let kept = worker.restored.borrow().as_ref().map(|restored| restored.pieces(index)).unwrap_or_default();
        let SnapshotPlan { worker: own, workers, schedule, .. } = worker.plan;
        Slot::new(index, (own, workers), schedule, Rc::clone(worker) as Rc<dyn Recorder>, kept)
    }

    /// Takes no snapshots from now on; `why` is logged once the dataflow is built.
    pub fn refuse(&self, why: &str) {
        if let Some(worker) = &self.0 {
            worker.taking.borrow_mut().refusal.get_or_insert_with(|| why.to_owned());
        }
    }

    /// The epoch of the checkpoint that the run resumes from.
    pub fn kept_at(&self) -> Option<Epoch> {
        self.0.as_ref()?.kept_at
    }

    /// Every sink has committed the epochs before `epoch`.
    pub fn committed(&self, epoch: Epoch) {
        if let Some(worker) = &self.0 {
            worker.plan.writer.committed(epoch);
        }
    }

    /// All slots were requested.
    ///
    /// # Errors
    /// Of kind `State`, if the checkpoint that the run resumes from has other slots.
    pub fn built(&self) -> Result<(), Error> {
        let Some(worker) = &self.0 else { return Ok(()) };
        let taking = worker.taking.borrow();
        if let Some(why) = taking.refusal.as_ref().filter(|_| worker.plan.worker == 0) {
            tracing::warn!(why, "this dataflow has no checkpoints: after a failure all its epochs are replayed");
        }
        match worker.restored.borrow_mut().take() {
            Some(restored) if restored.slots != taking.names => {
                let (name, was, is) = (restored.name, restored.slots.join(", "), taking.names.join(", "));
                let message = format!(
                    "checkpoint {name} belongs to a dataflow with other stages that keep state: {was}; now {is}"
                );
                Err(Error::new(ErrorKind::State, message)
                    .hint("use the program that took it, or start over with --from-scratch"))
            }
            _ => Ok(()),
        }
    }
}

impl Recorder for Worker {
    fn begin(&self, slot: u32, epoch: Epoch) -> bool {
        let mut taking = self.taking.borrow_mut();
        if taking.refusal.is_some() || epoch <= taking.refused {
            return false;
        }
        if taking.epoch != Some(epoch) {
            if taking.epoch > Some(epoch) {
                return false;
            }
            if taking.progress.iter().any(|slot| slot.writing) {
                taking.refused = epoch;
                return false;
            }
            taking.epoch = Some(epoch);
        }
        taking.progress[slot as usize].writing = true;
        true
    }

    fn write(&self, slot: u32, lasting: bool, entries: Vec<u8>) {
        let epoch = self.taking.borrow().epoch.unwrap_or(0);
        self.plan.writer.write(self.plan.worker, epoch, slot, lasting, entries);
    }

    fn end(&self, slot: u32) {
        let mut taking = self.taking.borrow_mut();
        let Some(epoch) = taking.epoch else { return };
        let progress = &mut taking.progress[slot as usize];
        progress.writing = false;
        progress.written = epoch;
        self.complete(&mut taking);
    }

    fn settle(&self, slot: u32, entries: Vec<u8>, lasting: Vec<u8>) {
        let mut taking = self.taking.borrow_mut();
        let progress = &mut taking.progress[slot as usize];
        // What it has written of the current snapshot stays.
        progress.settled = Some(Settled { after: progress.written, entries, lasting });
        self.complete(&mut taking);
    }

    fn has_room(&self) -> bool {
        self.plan.writer.has_room()
    }

    fn oldest(&self) -> Epoch {
        self.plan.writer.oldest()
    }

    fn resumed(&self) {
        self.taking.borrow_mut().since = Some(Instant::now());
    }

    fn paused(&self) {
        if let Some(since) = self.taking.borrow_mut().since.take() {
            (self.plan.paused)(since.elapsed());
        }
    }

    fn unreadable(&self, slot: u32, why: &str) {
        let restored = self.restored.borrow();
        let Some(restored) = restored.as_ref() else { return };
        let name = restored.slots.get(slot as usize).map_or("a stage that it does not have", String::as_str);
        (self.plan.fail)(unreadable(restored.name, name, why));
    }
}

impl Worker {
    /// Reports that the snapshot is complete, if it is.
    fn complete(&self, taking: &mut SnapshotInProgress) {
        let Some(epoch) = taking.epoch else { return };
        let has = |slot: &SlotProgress| {
            slot.written == epoch || slot.settled.as_ref().is_some_and(|settled| settled.after < epoch)
        };
        if !taking.progress.iter().all(has) {
            return;
        }
        let writer = &self.plan.writer;
        for (slot, progress) in (0..).zip(&mut taking.progress) {
            if let Some(settled) = progress.settled.as_mut().filter(|settled| settled.after < epoch) {
                for (lasting, entries) in
                    [(false, settled.entries.clone()), (true, std::mem::take(&mut settled.lasting))]
                {
                    if !entries.is_empty() {
                        writer.write(self.plan.worker, epoch, slot, lasting, entries);
                    }
                }
            }
        }
        writer.done(self.plan.worker, epoch, taking.names.clone());
        taking.epoch = None;
        taking.refused = taking.refused.max(epoch);
    }
}
