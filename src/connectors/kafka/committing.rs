//! A thread that commits the epochs of one shard of a sink, and the worker's end of it.
//!
//! Committing an epoch takes round trips to the brokers, and a worker must not block. What is in flight is bounded by
//! the epochs that the sources may have in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::time::Epoch;

/// The worker's end. Dropping it ends the thread, after it has processed what was submitted.
#[derive(Debug)]
pub(super) struct Committing<T> {
    tasks: Option<Sender<T>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// The last epoch sealed, with rows or without.
    sealed: Option<Epoch>,
    /// The last epoch with rows that was sealed.
    submitted: Option<Epoch>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The newest committed epoch plus one, or 0.
    committed: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl<T: Send + 'static> Committing<T> {
    /// Starts the thread. `work` returns when nothing more can be submitted, and reports which epochs are committed.
    ///
    /// # Errors
    /// If the operating system gives us no thread for the sink `sink`.
    pub(super) fn start(
        sink: &str,
        name: &str,
        work: impl FnOnce(&Receiver<T>, &dyn Fn(Epoch)) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let (tasks, told) = channel();
        let telling = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if let Err(error) = work(&told, &|epoch| telling.committed.store(epoch + 1, Ordering::Release)) {
                    *telling.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            })
            .map_err(|why| Error::sink(format!("sink {sink:?} cannot start a thread")).because(why))?;
        Ok(Committing { tasks: Some(tasks), thread: Some(thread), shared, sealed: None, submitted: None })
    }

    /// Submits something to the thread. One that has failed accepts nothing more; its error is returned by the other
    /// functions.
    pub(super) fn tell(&self, task: T) {
        if let Some(tasks) = &self.tasks {
            let _ = tasks.send(task);
        }
    }

    /// An epoch without rows is sealed.
    pub(super) fn sealed(&mut self, epoch: Epoch) {
        self.sealed = Some(epoch);
    }

    /// An epoch with rows is sealed, and was submitted.
    pub(super) fn submitted(&mut self, epoch: Epoch) {
        self.sealed = Some(epoch);
        self.submitted = Some(epoch);
    }

    /// The newest sealed epoch up to which everything is committed.
    ///
    /// # Errors
    /// With the thread's error, once.
    pub(super) fn durable(&self) -> Result<Option<Epoch>> {
        self.failure()?;
        let committed = self.shared.committed.load(Ordering::Acquire).checked_sub(1);
        Ok(if committed >= self.submitted { self.sealed } else { committed })
    }

    /// Waits until the thread has processed everything submitted.
    ///
    /// # Errors
    /// With the thread's error, unless it was returned before.
    pub(super) fn end(&mut self) -> Result<()> {
        self.tasks = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        self.failure()
    }
}

impl<T> Committing<T> {
    fn failure(&self) -> Result<()> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl<T> Drop for Committing<T> {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_durable_once_all_with_rows_up_to_it_are_committed() {
        let (go, wait) = channel();
        let work = move |tasks: &Receiver<Epoch>, committed: &dyn Fn(Epoch)| {
            while let Ok(epoch) = tasks.recv() {
                wait.recv().unwrap();
                committed(epoch);
            }
            Ok(())
        };
        let mut committing = Committing::start("rows", "test", work).unwrap();
        assert_eq!(committing.durable().unwrap(), None);
        committing.sealed(3);
        assert_eq!(committing.durable().unwrap(), Some(3));
        committing.tell(5);
        committing.submitted(5);
        committing.sealed(7);
        assert_eq!(committing.durable().unwrap(), None);
        go.send(()).unwrap();
        committing.end().unwrap();
        assert_eq!(committing.durable().unwrap(), Some(7));
    }

    #[test]
    fn what_the_thread_fails_with_is_told_once() {
        let mut committing = Committing::<()>::start("rows", "test", |_, _| Err(Error::sink("broken"))).unwrap();
        assert_eq!(committing.end().unwrap_err().to_string(), "broken");
        assert!(committing.end().is_ok());
    }
}
