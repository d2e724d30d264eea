//! Journals: a copy on disk of what was read from a source that cannot be read again, such as a pipe.
//!
//! A journal is one partition of a source. Its records have consecutive offsets, over all generations, and are handed
//! to the dataflow only once they are on disk; so whatever an epoch can be bound to can be read again. In the state
//! directory it is a folder:
//!
//! ```text
//! journal/events-0/00000000000000000000.log      a segment, named after the offset of its first record
//! journal/events-0/00000000000000104857.log
//! ```
//!
//! A segment consists of *frames*; each is what one flush made durable, and is appended only after the one before it
//! was flushed. So only the last frame of the newest segment can be torn, and all other damage is an error. A segment
//! that has become large is followed by another one, and is deleted as a whole when nothing can need its records any
//! more.
//!
//! The journal is bounded: when it is [full](Journal::is_full), appending waits.

mod append;
mod frame;
mod read;
mod recover;
mod segments;

use std::io;
use std::path::{Path, PathBuf};

pub use append::Appender;
pub use frame::{Entry, FrameBatch};
pub use read::JournalReader;
pub(crate) use recover::fuzz;
pub use segments::Journal;

use crate::error::{Error, ErrorKind, Result};

/// The size at which a segment is followed by another one, in bytes.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// The size at which a frame is written even if more waits, in bytes.
pub const FRAME_BYTES: usize = 1024 * 1024;

/// The journals of a state directory.
#[derive(Clone, Debug)]
pub struct Journals {
    directory: PathBuf,
    seed: u32,
    segment_bytes: u64,
}

/// What a journal is opened for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The first offset that is read.
    pub from: u64,
    /// Records before this offset must be there.
    pub next: u64,
    /// The size at which it is full.
    pub bytes_max: u64,
}

impl Journals {
    /// The journals of the state directory at `path`, whose identity is `state`.
    pub fn new(path: &Path, state: &str) -> Self {
        Journals { directory: path.join("journal"), seed: frame::seed(state), segment_bytes: SEGMENT_BYTES }
    }

    /// Sets another size of segments, for tests.
    #[cfg(test)]
    pub(crate) fn segments_of(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Opens the journal of a partition, which is created if it does not exist. A torn last frame is cut off;
    /// everything that is left is on disk when this returns.
    ///
    /// # Errors
    /// Of kind `State`: if it cannot be read or written, is damaged, or lacks records that are wanted.
    pub fn open(&self, source: &str, partition: u32, wanted: Wanted) -> Result<(Journal, Appender, JournalReader)> {
        let folder = self.directory.join(format!("{source}-{partition}"));
        recover::make(&self.directory, &folder)?;
        let recovered = recover::recover(&folder, wanted, self.seed)?;
        let newest = recovered.newest;
        let journal = Journal::new(folder, recovered.segments, recovered.next, wanted.bytes_max);
        let appender = Appender::new(journal.clone(), newest, self.seed, self.segment_bytes);
        let cursor = JournalReader::new(journal.clone(), wanted.from, self.seed);
        Ok((journal, appender, cursor))
    }
}

/// The path of a segment.
fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

fn unreadable(path: &Path, why: io::Error) -> Error {
    Error::new(ErrorKind::State, format!("journal: cannot read {path:?}"))
        .because(why)
        .hint("it must be on a local disk, and this user must be able to read and write there: see engine.state_dir")
}

fn damaged(path: &Path, at: u64, why: &str) -> Error {
    Error::new(ErrorKind::State, format!("journal: {path:?} is damaged at byte {at}: {why}"))
        .hint("restore the file from a copy; without it the epochs that its records belong to cannot be replayed")
}

fn unwritable(path: &Path, why: io::Error) -> Error {
    let full = matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error = Error::new(ErrorKind::State, format!("journal: cannot write {path:?}")).because(why);
    error.hint(if full {
        "free some space, then start again: what the journal had before is not lost"
    } else {
        "check the disk, then start again: what the journal had before is not lost"
    })
}

#[cfg(test)]
mod tests;
