//! The exactly-once writer of a shard.
//!
//! What is committed is a *length*: a progress log beside the files records up to which epoch, and up to which byte of
//! the current file, rows count. Rows reach the disk before the log mentions them; so a run that starts finds at least
//! what the log says, cuts off what is beyond it, and resumes there.
//!
//! The worker only fills buffers. Everything that touches a file happens on a thread of the shard, because a flush
//! takes milliseconds: `committer` is that thread, `shard` its operations, `recover` its start, `progress` the log, and
//! `disk` the operations of the file system, so that tests can replace it and cut the power at any step.

mod committer;
mod disk;
mod fuzz;
mod lock;
#[cfg(test)]
mod model;
mod progress;
mod recover;
mod shard;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::Path;

use self::committer::{Committer, Job};
use self::disk::{LocalDisk, keep_folder};
pub(crate) use self::fuzz::fuzz;
use self::lock::lock;
use self::progress::ProgressLogHeader;
use super::output::{Naming, Rolling, WRITE_BYTES};
use crate::connectors::sink::{Generation, SinkContext, SinkWriter};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// Opens the shard that `context` describes, in the existing folder `folder`, for `generation`.
pub(super) fn open(
    context: &SinkContext,
    generation: &Generation,
    folder: &Path,
    rolling: Rolling,
) -> Result<ExactWriter> {
    let naming = Naming::new(context, folder);
    keep_folder(folder).map_err(|why| naming.error("cannot flush the folders above", folder, why))?;
    let lock = lock(&naming)?;
    let header = ProgressLogHeader::new(context, generation);
    let shard = recover::open(LocalDisk, naming, header, generation.number, rolling)?;
    let committed = shard.committed();
    let committer = Committer::start(&context.name, shard, lock)?;
    Ok(ExactWriter::new(&context.name, committer, committed))
}

/// The worker's end of a shard.
pub(super) struct ExactWriter {
    sink: String,
    committer: Committer,
    /// Rows that were not handed to the thread yet.
    buffer: Vec<u8>,
    /// Whether rows were given since the last seal.
    unsealed: bool,
    /// The last epoch that an earlier generation committed.
    committed: Option<Epoch>,
    sealed: Option<Epoch>,
    /// Epochs with rows that are not known to be durable.
    waiting: VecDeque<WaitingEpoch>,
}

struct WaitingEpoch {
    epoch: Epoch,
    /// The newest epoch that was sealed before it.
    before: Option<Epoch>,
}

impl ExactWriter {
    fn new(sink: &str, committer: Committer, committed: Option<Epoch>) -> Self {
        let (buffer, waiting) = (Vec::new(), VecDeque::new());
        ExactWriter { sink: sink.to_owned(), committer, buffer, unsealed: false, committed, sealed: None, waiting }
    }

    fn hand_over(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let rows = std::mem::replace(&mut self.buffer, self.committer.spare());
        self.committer.give(Job::Rows(rows))
    }
}

impl SinkWriter for ExactWriter {
    fn write(&mut self, _key: Option<&[u8]>, row: &[u8]) -> Result<()> {
        self.unsealed = true;
        self.buffer.extend_from_slice(row);
        self.buffer.push(b'\n');
        if self.buffer.len() >= WRITE_BYTES {
            self.hand_over()?;
        }
        Ok(())
    }

    fn committed(&self) -> Option<Epoch> {
        self.committed
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.hand_over()?;
        if std::mem::take(&mut self.unsealed) {
            assert!(Some(epoch) > self.committed, "rows up to the committed epoch are not given again");
            self.waiting.push_back(WaitingEpoch { epoch, before: self.sealed });
        }
        self.sealed = Some(epoch);
        // Also without rows: files are finished by the age of epochs.
        self.committer.give(Job::Seal(epoch))
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        let committed = self.committer.committed()?;
        while self.waiting.front().is_some_and(|waiting| Some(waiting.epoch) <= committed) {
            self.waiting.pop_front();
        }
        Ok(self.waiting.front().map_or(self.sealed, |waiting| waiting.before))
    }

    fn finish(&mut self) -> Result<()> {
        if self.unsealed {
            let message = format!("sink {:?} was finished with rows that are not sealed", self.sink);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.committer.finish()
    }
}
