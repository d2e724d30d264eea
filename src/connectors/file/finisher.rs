//! Finishes files on a thread of its own: flushing 128 MiB to a disk takes longer than a worker may block.

use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::output::Output;
use crate::error::{Error, Result};

/// How many files of a shard may wait to be finished; beyond that, the current file grows past its limit.
const FINISHING_MAX: usize = 2;

/// Finishes the files of one shard, in order.
#[derive(Debug)]
pub(super) struct Finisher {
    files: SyncSender<Output>,
    thread: JoinHandle<()>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Finisher {
    /// Starts the thread, for the sink called `sink`.
    pub(super) fn start(sink: &str) -> Result<Self> {
        let (files, waiting) = mpsc::sync_channel::<Output>(FINISHING_MAX);
        let failure = Arc::new(Mutex::new(None));
        let told = Arc::clone(&failure);
        let finish_all = move || {
            while let Ok(output) = waiting.recv() {
                if let Err(error) = output.publish() {
                    told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("file-finisher".to_owned())
            .spawn(finish_all)
            .map_err(|e| Error::sink(format!("sink {sink:?} cannot start a thread")).because(e))?;
        Ok(Finisher { files, thread, failure })
    }

    /// Takes a file to finish, or returns it if too many are waiting. Never blocks.
    pub(super) fn offer(&self, output: Output) -> Option<Output> {
        match self.files.try_send(output) {
            Ok(()) => None,
            Err(TrySendError::Full(output) | TrySendError::Disconnected(output)) => Some(output),
        }
    }

    /// Whether every file so far could be finished; a failure is reported once.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Waits for the files that were taken.
    pub(super) fn finish(self) -> Result<()> {
        let Finisher { files, thread, failure } = self;
        drop(files);
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
        failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}
