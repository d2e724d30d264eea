//! The writer of one shard in a run with a state directory: each row is in the finished files once, whatever was killed when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::commit::{Committer, Roll, Task};
use super::output::Naming;
use super::progress::Progress;
use crate::connectors::sink::SinkWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// How many bytes of rows are handed to the thread at once.
const HAND_OVER_BYTES: usize = 512 * 1024;

/// Gathers the rows of epochs for the thread that writes and commits them. It waits for nothing, so what is on its way is bounded by
/// the epochs that the sources let be in flight.
pub(super) struct ExactWriter {
    sink: String,
    committed_before: Option<Epoch>,
    roll_after_ms: u64,
    buffer: Vec<u8>,
    /// Whether rows came since the last seal.
    rows: bool,
    /// The last epoch sealed, with rows or without.
    sealed: Option<Epoch>,
    /// The last epoch with rows that was sealed.
    submitted: Option<Epoch>,
    /// When the age of the file was last told.
    aged: Epoch,
    shared: Arc<Shared>,
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// The newest committed epoch plus one, or 0.
    committed: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl Shared {
    fn failure(&self) -> Result<()> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl ExactWriter {
    /// Opens the shard that `naming` is for, in generation `generation`.
    pub(super) fn open(sink: &str, naming: Naming, roll: Roll, generation: u64) -> Result<Self> {
        let (progress, last) = Progress::open(&naming, generation)?;
        let committer = Committer::resume(naming, roll, progress, last)?;
        let shared = Arc::<Shared>::default();
        let (tasks, told) = channel();
        let telling = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("file-committer".to_owned())
            .spawn(move || {
                let committed = |epoch| telling.committed.store(epoch + 1, Ordering::Release);
                if let Err(error) = committer.run(&told, committed) {
                    *telling.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            })
            .map_err(|why| Error::sink(format!("sink {sink:?} cannot start a thread")).because(why))?;
        Ok(ExactWriter {
            sink: sink.to_owned(),
            committed_before: last.map(|last| last.epoch),
            roll_after_ms: roll.after_ms,
            buffer: Vec::new(),
            rows: false,
            sealed: None,
            submitted: None,
            aged: 0,
            shared,
            tasks: Some(tasks),
            thread: Some(thread),
        })
    }

    /// A thread that has ended has left a failure behind, which is told in its own time.
    fn tell(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            let _ = tasks.send(task);
        }
    }

    fn hand_over(&mut self) {
        if !self.buffer.is_empty() {
            let room = self.buffer.capacity().min(2 * HAND_OVER_BYTES);
            let rows = std::mem::replace(&mut self.buffer, Vec::with_capacity(room));
            self.tell(Task::Rows(rows));
        }
    }

    fn end(&mut self) -> Result<()> {
        self.tasks = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        self.shared.failure()
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
        self.sealed = Some(epoch);
        if std::mem::take(&mut self.rows) {
            self.tell(Task::Seal(epoch));
            self.submitted = Some(epoch);
        } else if epoch.saturating_sub(self.aged) >= self.roll_after_ms.min(1_000) {
            self.tell(Task::Age(epoch));
            self.aged = epoch;
        }
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        self.shared.failure()?;
        let committed = self.shared.committed.load(Ordering::Acquire).checked_sub(1);
        Ok(if committed >= self.submitted { self.sealed } else { committed })
    }

    fn finish(&mut self) -> Result<()> {
        if self.rows {
            let message = format!("sink {:?} was finished with rows that are not sealed", self.sink);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.tell(Task::Finish);
        self.end()
    }
}

/// Without [`finish`](SinkWriter::finish) the file stays hidden, for the next generation.
impl Drop for ExactWriter {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests;
