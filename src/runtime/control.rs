//! What all workers of a process share: whether to stop, and why.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;

/// Stops a running dataflow, gently or because something failed. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    drain: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// Hears of failures, if workers that fail have to stand still.
    halted: Mutex<Option<Sender<bool>>>,
}

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

impl Control {
    /// Asks the sources to stop reading; what was read is still processed, written and committed.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
    }

    /// Whether the sources were asked to stop.
    pub fn stopping(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    /// Lets sources that are asked to stop count as ended, so that all windows close and their rows are written.
    pub fn drain_at_stop(&self) {
        self.0.drain.store(true, Ordering::Release);
    }

    /// Whether sources that are asked to stop count as ended.
    pub fn drains(&self) -> bool {
        self.0.drain.load(Ordering::Acquire)
    }

    /// Stops everything because of `error`. Only the first error is kept: the others tend to follow from it. In a run with
    /// other processes it does not return to a worker.
    pub fn fail(&self, error: Error) {
        let mut failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = Some(error);
        }
        drop(failure);
        self.0.failed.store(true, Ordering::Release);
        if let Some(halted) = &*self.0.halted.lock().unwrap_or_else(PoisonError::into_inner) {
            // Nobody listens any more after the first one.
            let _ = halted.send(true);
        } else {
            return;
        }
        while IS_WORKER.get() {
            std::thread::park();
        }
    }

    /// From now on a worker that fails stands still, and `halted` is told: if it went on for only a moment, the other processes would
    /// hear from timely that an epoch is complete of which records were dropped.
    pub(super) fn halt_on_failure(&self, halted: Sender<bool>) {
        *self.0.halted.lock().unwrap_or_else(PoisonError::into_inner) = Some(halted);
    }

    /// Says that this thread is a worker.
    pub(super) fn is_worker() {
        IS_WORKER.set(true);
    }

    /// Whether something failed.
    pub fn failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Takes the first error, if something failed.
    pub fn take_failure(&self) -> Option<Error> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
