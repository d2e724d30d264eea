//! The writer of one shard in a run with a state directory: each row is in the finished files once, whatever was killed when.

use super::commit::{Committer, Roll, Task};
use super::output::Naming;
use super::progress::Progress;
use crate::connectors::committing::Committing;
use crate::connectors::sink::SinkWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// How many bytes of rows are handed to the thread at once.
const HAND_OVER_BYTES: usize = 512 * 1024;

/// How often the thread is told that the file has become older, in milliseconds of epochs.
const AGE_TOLD_MS: u64 = 1_000;

/// Gathers the rows of epochs for the thread that writes and commits them.
pub(super) struct ExactWriter {
    sink: String,
    committed_before: Option<Epoch>,
    roll_after_ms: u64,
    buffer: Vec<u8>,
    /// Whether rows came since the last seal.
    rows: bool,
    /// When the age of the file was last told.
    aged: Epoch,
    committing: Committing<Task>,
}

impl ExactWriter {
    /// Opens the shard that `naming` is for, in generation `generation`.
    pub(super) fn open(sink: &str, naming: Naming, roll: Roll, generation: u64) -> Result<Self> {
        let (progress, last) = Progress::open(&naming, generation)?;
        let committer = Committer::resume(naming, roll, progress, last)?;
        let committing =
            Committing::start(sink, "file-committer", move |tasks, committed| committer.run(tasks, committed))?;
        Ok(ExactWriter {
            sink: sink.to_owned(),
            committed_before: last.map(|last| last.epoch),
            roll_after_ms: roll.after_ms,
            buffer: Vec::new(),
            rows: false,
            aged: 0,
            committing,
        })
    }

    fn hand_over(&mut self) {
        if !self.buffer.is_empty() {
            let room = self.buffer.capacity().min(2 * HAND_OVER_BYTES);
            let rows = std::mem::replace(&mut self.buffer, Vec::with_capacity(room));
            self.committing.tell(Task::Rows(rows));
        }
    }
}

impl SinkWriter for ExactWriter {
    fn write(&mut self, _key: Option<&[u8]>, row: &[u8]) -> Result<()> {
        self.rows = true;
        self.buffer.extend_from_slice(row);
        self.buffer.push(b'\n');
        if self.buffer.len() >= HAND_OVER_BYTES {
            self.hand_over();
        }
        Ok(())
    }

    fn committed(&self) -> Option<Epoch> {
        self.committed_before
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.hand_over();
        if std::mem::take(&mut self.rows) {
            self.committing.tell(Task::Seal(epoch));
            self.committing.submitted(epoch);
            return Ok(());
        }
        self.committing.sealed(epoch);
        if epoch.saturating_sub(self.aged) >= self.roll_after_ms.min(AGE_TOLD_MS) {
            self.committing.tell(Task::Age(epoch));
            self.aged = epoch;
        }
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        self.committing.durable()
    }

    fn finish(&mut self) -> Result<()> {
        if self.rows {
            let message = format!("sink {:?} was finished with rows that are not sealed", self.sink);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.committing.tell(Task::Finish);
        self.committing.end()
    }
}

#[cfg(test)]
mod tests;
