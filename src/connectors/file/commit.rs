//! Writes one shard's files on a thread of its own and commits them by length: first the rows are on the disk, then the log says so.

use std::sync::mpsc::Receiver;

use super::output::{Naming, Output};
use super::progress::{Committed, Progress};
use crate::error::Result;
use crate::time::Epoch;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Task {
    /// Whole rows, each with its newline.
    Rows(Vec<u8>),
    /// The rows so far are those of the epochs up to this one.
    Seal(Epoch),
    /// As much, and there were none since the last time: only the age of the file has changed.
    Age(Epoch),
    /// All is sealed; finish the file.
    Finish,
}

/// When a file is finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roll {
    pub(super) bytes: u64,
    pub(super) after_ms: u64,
}

/// The files of a shard.
pub(super) struct Committer {
    naming: Naming,
    roll: Roll,
    progress: Progress,
    open: Option<Open>,
    /// The number of the next file.
    sequence: u32,
    /// The newest epoch that is sealed and not committed.
    sealed: Option<Epoch>,
}

struct Open {
    output: Output,
    written: u64,
    /// Of these, so many belong to sealed epochs.
    sealed: u64,
    /// The first epoch sealed in it.
    first: Option<Epoch>,
}

impl Committer {
    /// Goes on where `last`, the last frame of `progress`, says that the files are written for good.
    ///
    /// # Errors
    /// If a file is shorter than that, or cannot be opened.
    pub(super) fn resume(naming: Naming, roll: Roll, progress: Progress, last: Option<Committed>) -> Result<Self> {
        let resumed = match last {
            None => None,
            Some(last) => Output::resume(&naming, last.file, last.bytes)?.map(|output| (output, last)),
        };
        let next = last.map_or(0, |last| last.file + 1);
        Output::discard(&naming, next)?;
        let open = resumed.map(|(output, Committed { bytes, epoch, .. })| Open {
            output,
            written: bytes,
            sealed: bytes,
            // How old it was is not known; it may be finished somewhat later than otherwise.
            first: Some(epoch),
        });
        Ok(Committer { naming, roll, progress, open, sequence: next, sealed: None })
    }

    /// Does what it is told until nobody tells more, and reports each epoch that is committed.
    ///
    /// # Errors
    /// The first failure. Nothing is tried again: what a failed flush has left on the disk is anybody's guess.
    pub(super) fn run(mut self, tasks: &Receiver<Task>, committed: &dyn Fn(Epoch)) -> Result<()> {
        while let Ok(task) = tasks.recv() {
            let mut finish = false;
            for task in std::iter::once(task).chain(tasks.try_iter()) {
                match task {
                    Task::Rows(rows) => self.write(&rows)?,
                    Task::Seal(epoch) => self.seal(epoch, committed)?,
                    Task::Age(epoch) => self.roll(epoch, committed)?,
                    Task::Finish => finish = true,
                }
            }
            // One flush for everything that waited.
            self.commit(committed)?;
            if finish {
                return self.open.take().map_or(Ok(()), |open| open.output.publish_as_named());
            }
        }
        Ok(())
    }

    fn write(&mut self, rows: &[u8]) -> Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let output = Output::create_exactly(&self.naming, self.sequence)?;
                self.sequence += 1;
                none.insert(Open { output, written: 0, sealed: 0, first: None })
            }
        };
        open.output.write(rows)?;
        open.written += rows.len() as u64;
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch, committed: &dyn Fn(Epoch)) -> Result<()> {
        if let Some(open) = &mut self.open {
            open.sealed = open.written;
            open.first.get_or_insert(epoch);
        }
        self.sealed = Some(epoch);
        self.roll(epoch, committed)
    }

    /// Finishes the file if it is large or old enough.
    fn roll(&mut self, epoch: Epoch, committed: &dyn Fn(Epoch)) -> Result<()> {
        let Some(Open { sealed, first: Some(first), .. }) = &self.open else { return Ok(()) };
        if *sealed < self.roll.bytes && epoch.saturating_sub(*first) < self.roll.after_ms {
            return Ok(());
        }
        self.commit(committed)?;
        self.open.take().map_or(Ok(()), |open| open.output.publish_as_named())
    }

    fn commit(&mut self, committed: &dyn Fn(Epoch)) -> Result<()> {
        let (Some(epoch), Some(open)) = (self.sealed.take(), &self.open) else { return Ok(()) };
        open.output.flush()?;
        self.progress.commit(epoch, open.output.sequence(), open.sealed)?;
        committed(epoch);
        Ok(())
    }
}
