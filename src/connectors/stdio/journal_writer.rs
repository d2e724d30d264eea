//! The thread that appends lines to a journal, before they are read from there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chunks::{Chunks, LineAssembler, Ready};
use super::input::STDIN;
use crate::checkpoint::journal::{Appender, Entry, FRAME_BYTES, FrameBatch};
use crate::connectors::source::{Collector, Partition};
use crate::error::{Error, Result};
use crate::record::Reason;

/// How the thread ended, if it has: at the end of the input, or because of an error.
#[derive(Clone, Default)]
pub(super) struct InputOutcome(Arc<Mutex<Option<Result<()>>>>);

impl InputOutcome {
    pub(super) fn is_known(&self) -> bool {
        self.lock().is_some()
    }

    /// The outcome, once.
    pub(super) fn take(&self) -> Option<Result<()>> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies the input to the journal.
pub(super) struct JournalWriter {
    pub(super) source: String,
    pub(super) chunks: Chunks,
    pub(super) record_bytes_max: usize,
    pub(super) appender: Appender,
    /// Whether the input ended in an earlier run.
    pub(super) ended_before: bool,
}

impl JournalWriter {
    /// Copies everything up to the end of the input, in a thread of its own.
    pub(super) fn start(mut self) -> Result<InputOutcome> {
        let (source, outcome) = (self.source.clone(), InputOutcome::default());
        let told = outcome.clone();
        // The thread is never joined: it may wait for input that never comes, and ends with the process.
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                let kept = self.keep();
                *told.lock() = Some(kept);
            })
            .map_err(|why| Error::source(format!("source {source:?} cannot start a thread")).because(why))?;
        Ok(outcome)
    }

    fn keep(&mut self) -> Result<()> {
        let mut lines = LineAssembler::new(STDIN, self.record_bytes_max);
        let mut filling = Filling::default();
        while let Some(chunk) = self.chunks.wait() {
            lines.take(&chunk, &mut filling);
            // One flush for everything that waits.
            while filling.0.bytes() < FRAME_BYTES
                && let Ready::Chunk(chunk) = self.chunks.ready()
            {
                lines.take(&chunk, &mut filling);
            }
            if !self.append(&mut filling.0)? {
                return Ok(());
            }
        }
        self.chunks.check()?;
        lines.finish(&mut filling);
        self.append(&mut filling.0)?;
        Ok(())
    }

    fn append(&mut self, batch: &mut FrameBatch) -> Result<bool> {
        if self.ended_before && batch.entries() > 0 {
            let message = format!(
                "source {:?}: standard input ended in an earlier run, all windows were closed then, and there is more of it now",
                self.source
            );
            let hint = format!(
                "start with a new state directory; with sources.{}.at_end = \"keep\" windows stay open at the end of the input",
                self.source
            );
            return Err(Error::source(message).hint(hint));
        }
        self.appender.append(batch)
    }
}

/// Collects lines in a batch.
#[derive(Default)]
struct Filling(FrameBatch);

impl Collector for Filling {
    fn record(&mut self, _: Partition, _: u64, bytes: &[u8]) {
        self.0.push(Entry::Record(bytes));
    }

    fn rejected(&mut self, _: Partition, _: u64, size: u64, head: &[u8], _: Reason, _: &str) {
        self.0.push(Entry::Rejected { size, head });
    }

    // Not called for lines.
    fn joined(&mut self, _: Partition, _: &str) {}
    fn caught_up(&mut self, _: Partition) {}
    fn lag(&mut self, _: Partition, _: u64) {}
    fn ended(&mut self, _: Partition) {}
}
