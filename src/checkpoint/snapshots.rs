//! The snapshots of one worker's operators: which there are, and how far the one that is being taken is.
//!
//! One is taken at a time. When a slot asks to begin the next one while another slot is still writing, the answer is no, and then that
//! snapshot comes to nothing: checkpoints are rarer than they should be then, and no less right.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keeper::KeeperHandle;
use super::restore::{Restored, unreadable};
use crate::error::{Error, ErrorKind};
use crate::state::snapshot::{Recorder, Schedule, Slot};
use crate::time::Epoch;

/// The slot of the positions of a source's partitions.
pub fn positions_of(source: &str) -> String {
    format!("{source}.positions")
}

/// The slot of how far a source's partitions are decoded and decided on.
pub fn admitted_of(source: &str) -> String {
    format!("{source}.admitted")
}

/// The slot of what the marks of a source's partitions came to.
pub fn marked_of(source: &str) -> String {
    format!("{source}.marked")
}

/// The slots of one worker's operators. Clones share them.
#[derive(Clone)]
pub struct Snapshots(Option<Rc<Worker>>);

/// What the snapshots of a worker have to do with.
pub struct SnapshotPlan {
    /// The worker.
    pub worker: usize,
    /// Workers in all processes.
    pub workers: usize,
    /// When they are due.
    pub schedule: Schedule,
    /// Who writes them.
    pub keeper: KeeperHandle,
    /// What the run goes on from.
    pub restored: Option<Arc<Restored>>,
    /// Told how long a worker was held up.
    pub paused: Box<dyn Fn(Duration)>,
    /// Told that what was kept cannot be read.
    pub fail: Box<dyn Fn(Error)>,
}

struct Worker {
    plan: SnapshotPlan,
    kept_at: Option<Epoch>,
    /// Dropped once every operator has what is its own.
    restored: RefCell<Option<Arc<Restored>>>,
    taking: RefCell<Taking>,
}

#[derive(Default)]
struct Taking {
    /// What each slot is of.
    names: Vec<String>,
    /// Why there is nothing to be taken.
    refusal: Option<String>,
    /// What is being taken.
    epoch: Option<Epoch>,
    /// What shall not be taken.
    refused: Epoch,
    progress: Vec<Progress>,
    /// Since when a slot holds the worker up.
    since: Option<Instant>,
}

#[derive(Clone, Default)]
struct Progress {
    writing: bool,
    /// The newest epoch whose snapshot it has written.
    written: Epoch,
    settled: Option<Settled>,
}

#[derive(Clone)]
struct Settled {
    /// Snapshots of later epochs have it.
    after: Epoch,
    entries: Vec<u8>,
    lasting: Vec<u8>,
}

impl Snapshots {
    /// Those of a dataflow that keeps nothing.
    pub fn off() -> Self {
        Snapshots(None)
    }

    /// Those of a dataflow that has a state directory.
    pub fn new(plan: SnapshotPlan) -> Self {
        let restored = plan.restored.clone();
        let kept_at = restored.as_ref().map(|restored| restored.name.epoch);
        Snapshots(Some(Rc::new(Worker { plan, kept_at, restored: RefCell::new(restored), taking: RefCell::default() })))
    }

    /// A slot for `what`, with what an earlier run kept of it. Slots are counted in the order in which they are asked for, which is the
    /// same on all workers and in all runs.
    pub fn slot(&self, what: &str) -> Slot {
        let Some(worker) = &self.0 else { return Slot::off() };
        let mut taking = worker.taking.borrow_mut();
        let index = u32::try_from(taking.names.len()).expect("there are few operators");
        taking.names.push(what.to_owned());
        taking.progress.push(Progress::default());
        let kept = worker.restored.borrow().as_ref().map(|restored| restored.pieces(index)).unwrap_or_default();
        let SnapshotPlan { worker: own, workers, schedule, .. } = worker.plan;
        Slot::new(index, (own, workers), schedule, Rc::clone(worker) as Rc<dyn Recorder>, kept)
    }

    /// There cannot be any, for the reason `why`.
    pub fn refuse(&self, why: &str) {
        if let Some(worker) = &self.0 {
            worker.taking.borrow_mut().refusal.get_or_insert_with(|| why.to_owned());
        }
    }

    /// The epoch of the checkpoint that the run goes on from.
    pub fn kept_at(&self) -> Option<Epoch> {
        self.0.as_ref()?.kept_at
    }

    /// Every sink has committed the epochs before `epoch`.
    pub fn committed(&self, epoch: Epoch) {
        if let Some(worker) = &self.0 {
            worker.plan.keeper.committed(epoch);
        }
    }

    /// All slots are given out.
    ///
    /// # Errors
    /// Of kind `State`, if the checkpoint that the run goes on from has others.
    pub fn built(&self) -> Result<(), Error> {
        let Some(worker) = &self.0 else { return Ok(()) };
        let taking = worker.taking.borrow();
        if let Some(why) = taking.refusal.as_ref().filter(|_| worker.plan.worker == 0) {
            tracing::warn!(why, "this dataflow has no checkpoints: after a failure all its epochs are made again");
        }
        match worker.restored.borrow_mut().take() {
            Some(restored) if restored.slots != taking.names => {
                let (name, was, is) = (restored.name, restored.slots.join(", "), taking.names.join(", "));
                let message = format!("checkpoint {name} is of a dataflow that keeps other things: {was}; now {is}");
                Err(Error::new(ErrorKind::State, message)
                    .hint("use the program that took it, or begin anew with --from-scratch"))
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
        self.plan.keeper.write(self.plan.worker, epoch, slot, lasting, entries);
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
        // What it has written of the one that is being taken stays.
        progress.settled = Some(Settled { after: progress.written, entries, lasting });
        self.complete(&mut taking);
    }

    fn has_room(&self) -> bool {
        self.plan.keeper.has_room()
    }

    fn oldest(&self) -> Epoch {
        self.plan.keeper.oldest()
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
    /// Hands on that the snapshot is complete, if it is.
    fn complete(&self, taking: &mut Taking) {
        let Some(epoch) = taking.epoch else { return };
        let has = |slot: &Progress| {
            slot.written == epoch || slot.settled.as_ref().is_some_and(|settled| settled.after < epoch)
        };
        if !taking.progress.iter().all(has) {
            return;
        }
        let keeper = &self.plan.keeper;
        for (slot, progress) in (0..).zip(&mut taking.progress) {
            if let Some(settled) = progress.settled.as_mut().filter(|settled| settled.after < epoch) {
                for (lasting, entries) in
                    [(false, settled.entries.clone()), (true, std::mem::take(&mut settled.lasting))]
                {
                    if !entries.is_empty() {
                        keeper.write(self.plan.worker, epoch, slot, lasting, entries);
                    }
                }
            }
        }
        keeper.done(self.plan.worker, epoch, taking.names.clone());
        taking.epoch = None;
        taking.refused = taking.refused.max(epoch);
    }
}
