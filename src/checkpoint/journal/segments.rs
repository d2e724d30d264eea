//! The state that the appender, the reader and the pruning of a journal share.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::segment_path;

/// A file of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The offset of its first record, or of the one that will be its first.
    pub(super) first: u64,
    pub(super) bytes: u64,
}

/// An open journal. Clones share it.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    bytes_max: u64,
    /// Records before this offset are on disk.
    durable: AtomicU64,
    state: Mutex<JournalState>,
    /// Notified when there may be space.
    pruned: Condvar,
    /// Held during an append.
    appending: Mutex<()>,
}

#[derive(Debug)]
struct JournalState {
    /// From the oldest to the newest, which is appended to; never empty.
    segments: VecDeque<Segment>,
    /// An append waits for space.
    full: bool,
    closed: bool,
}

impl JournalState {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// The journal in `folder`, whose `segments` end before the offset `durable`.
    pub(super) fn new(folder: PathBuf, segments: Vec<Segment>, durable: u64, bytes_max: u64) -> Self {
        Journal(Arc::new(Shared {
            folder,
            bytes_max,
            durable: AtomicU64::new(durable),
            state: Mutex::new(JournalState { segments: segments.into(), full: false, closed: false }),
            pruned: Condvar::new(),
            appending: Mutex::new(()),
        }))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Records before this offset are on disk.
    pub fn durable(&self) -> u64 {
        self.0.durable.load(Ordering::Acquire)
    }

    /// The size of its files.
    pub fn bytes(&self) -> u64 {
        lock(&self.0.state).bytes()
    }

    /// Whether an append waits until the journal is pruned.
    pub fn is_full(&self) -> bool {
        lock(&self.0.state).full
    }

    /// Deletes the files that hold only records before the offset `before`, except the newest one. A file that cannot
    /// be deleted also keeps those after it, and is retried the next time.
    pub fn prune(&self, before: u64) {
        let mut state = lock(&self.0.state);
        // The first record of a segment is the one after the last of the segment before it.
        while state.segments.get(1).is_some_and(|following| following.first <= before) {
            let path = segment_path(&self.0.folder, state.segments[0].first);
            if let Err(why) = fs::remove_file(&path) {
                tracing::warn!(file = %path.display(), %why, "cannot delete a file of the journal that is not needed any more");
                break;
            }
            state.segments.pop_front();
        }
        self.0.pruned.notify_all();
    }

    /// After this returns nothing is appended any more.
    pub fn close(&self) {
        lock(&self.0.state).closed = true;
        self.0.pruned.notify_all();
        drop(lock(&self.0.appending));
    }

    /// The segment that has the record at `offset`.
    pub(super) fn segment_of(&self, offset: u64) -> Option<Segment> {
        lock(&self.0.state).segments.iter().rev().find(|segment| segment.first <= offset).copied()
    }

    /// The offset at which the oldest segment begins.
    pub(super) fn begins(&self) -> u64 {
        lock(&self.0.state).segments[0].first
    }

    pub(super) fn newest(&self) -> Segment {
        *lock(&self.0.state).segments.back().expect("there is always one")
    }

    /// Adds a new segment, to be appended to.
    pub(super) fn add(&self, first: u64) {
        lock(&self.0.state).segments.push_back(Segment { first, bytes: 0 });
    }

    /// Accounts for `bytes` more bytes on disk, with the records before `durable`.
    pub(super) fn appended(&self, bytes: u64, durable: u64) {
        lock(&self.0.state).segments.back_mut().expect("there is always one").bytes += bytes;
        self.0.durable.store(durable, Ordering::Release);
    }

    /// Whether there is no space left.
    pub(super) fn has_reached_limit(&self) -> bool {
        self.bytes() >= self.0.bytes_max
    }

    /// Waits until there is space. Returns false if the journal was closed.
    pub(super) fn wait_for_space(&self) -> bool {
        let mut state = lock(&self.0.state);
        state.full = true;
        while state.bytes() >= self.0.bytes_max && !state.closed {
            state = self.0.pruned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.full = false;
        !state.closed
    }

    /// Runs `append` unless the journal is closed; it cannot be closed meanwhile.
    pub(super) fn unless_closed<R>(&self, append: impl FnOnce() -> R) -> Option<R> {
        let _appending = lock(&self.0.appending);
        let closed = lock(&self.0.state).closed;
        (!closed).then(append)
    }
}
