//! The thread of a shard. It takes everything that waits, writes it, and makes it durable with one pair of flushes, so
//! that more epochs share a pair of flushes the slower the disk is.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::disk::Disk;
use super::shard::ShardFiles;
use crate::connectors::file::output::WRITE_BYTES;
use crate::error::{Error, Result};
use crate::time::Epoch;

/// How many bytes of rows are taken, at most, before sealed epochs are made durable.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many empty buffers are kept for the worker.
const SPARE_MAX: usize = 8;

/// A command to the thread.
pub(super) enum Job {
    /// Add rows.
    Rows(Vec<u8>),
    /// All rows up to an epoch were added.
    Seal(Epoch),
    /// Finish the last file.
    Finish,
}

/// The worker's handle. If it is dropped, the thread commits what it has and ends, and the current file stays hidden.
pub(super) struct Committer {
    sink: String,
    /// `None` once it is finishing.
    jobs: Option<Sender<Job>>,
    spare: Receiver<Vec<u8>>,
    done: Arc<Mutex<CommitState>>,
    thread: Option<JoinHandle<()>>,
}

struct CommitState {
    committed: Option<Epoch>,
    failure: Option<Error>,
}

impl Committer {
    /// Starts the thread. It keeps `lock` for as long as it may write.
    pub(super) fn start<D: Disk>(sink: &str, shard: ShardFiles<D>, lock: File) -> Result<Self> {
        let (jobs, waiting) = channel();
        let (empty, spare) = sync_channel(SPARE_MAX);
        let done = Arc::new(Mutex::new(CommitState { committed: shard.committed(), failure: None }));
        let tell = Arc::clone(&done);
        let thread = std::thread::Builder::new().name("file-committer".to_owned()).spawn(move || {
            if let Err(why) = run(shard, &waiting, &empty, &tell) {
                held(&tell).failure = Some(why);
            }
            drop(lock);
        });
        let thread = thread.map_err(|why| Error::sink(format!("sink {sink:?} cannot start a thread")).because(why))?;
        Ok(Committer { sink: sink.to_owned(), jobs: Some(jobs), spare, done, thread: Some(thread) })
    }

    /// An empty buffer.
    pub(super) fn spare(&self) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_default()
    }

    /// Submits `job`. Never blocks.
    pub(super) fn give(&mut self, job: Job) -> Result<()> {
        let given = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if given { Ok(()) } else { self.stopped() }
    }

    /// The newest epoch that is durable.
    pub(super) fn committed(&mut self) -> Result<Option<Epoch>> {
        let gone = self.jobs.is_some() && self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        if gone {
            self.stopped()?;
        }
        Ok(held(&self.done).committed)
    }

    /// Finishes the last file, and waits until everything is done.
    pub(super) fn finish(&mut self) -> Result<()> {
        if let Some(jobs) = self.jobs.take()
            && jobs.send(Job::Finish).is_err()
        {
            return self.stopped();
        }
        self.join();
        held(&self.done).failure.take().map_or(Ok(()), Err)
    }

    /// The error of a thread that ended without being told to finish.
    fn stopped(&mut self) -> Result<()> {
        self.join();
        let failure = held(&self.done).failure.take();
        Err(failure
            .unwrap_or_else(|| Error::sink(format!("sink {:?} has failed before, and writes no more", self.sink))))
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn held(done: &Mutex<CommitState>) -> MutexGuard<'_, CommitState> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run<D: Disk>(
    mut shard: ShardFiles<D>,
    waiting: &Receiver<Job>,
    empty: &SyncSender<Vec<u8>>,
    done: &Mutex<CommitState>,
) -> Result<()> {
    while let Ok(first) = waiting.recv() {
        let (mut next, mut taken) = (Some(first), 0);
        while let Some(job) = next {
            match job {
                Job::Rows(mut rows) => {
                    taken += rows.len();
                    shard.append(&rows)?;
                    rows.clear();
                    rows.shrink_to(2 * WRITE_BYTES);
                    // There are enough spare ones: this one is dropped.
                    let _ = empty.try_send(rows);
                }
                Job::Seal(epoch) => shard.seal(epoch)?,
                Job::Finish => shard.finish()?,
            }
            next = if taken < GROUP_BYTES_MAX { waiting.try_recv().ok() } else { None };
        }
        shard.commit()?;
        held(done).committed = shard.committed();
    }
    Ok(())
}
