//! Appends to a journal: one flush per batch, and no more than the journal may hold.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::frame::FrameBatch;
use super::segments::Journal;
use super::{FRAME_BYTES, segment_path, unwritable};
use crate::error::Result;

/// The writing end of a journal.
#[derive(Debug)]
pub struct Appender {
    journal: Journal,
    /// The newest segment, positioned at its end.
    file: File,
    seed: u32,
    segment_bytes: u64,
}

impl Appender {
    pub(super) fn new(journal: Journal, file: File, seed: u32, segment_bytes: u64) -> Self {
        Appender { journal, file, seed, segment_bytes }
    }

    /// Appends the entries of `batch`, which is empty afterwards, and flushes them to disk. If the journal is full it
    /// waits until it is pruned. Returns whether they were appended: once the journal is closed, nothing is.
    ///
    /// # Errors
    /// Of kind `State`: if they cannot be written, or it is not known whether they were. The appender must not be used
    /// after that.
    pub fn append(&mut self, batch: &mut FrameBatch) -> Result<bool> {
        if batch.entries() == 0 {
            return Ok(true);
        }
        if self.journal.has_reached_limit() && !self.wait_for_space()? {
            return Ok(false);
        }
        let journal = self.journal.clone();
        let Some(written) = journal.unless_closed(|| self.write(batch)) else { return Ok(false) };
        written.map(|()| true)
    }

    fn write(&mut self, batch: &mut FrameBatch) -> Result<()> {
        let newest = self.journal.newest();
        if newest.bytes >= self.segment_bytes {
            self.begin_segment()?;
        }
        let (first, path) = (self.journal.durable(), segment_path(self.journal.folder(), self.journal.newest().first));
        let frame = batch.frame(first, self.seed);
        // After a failed flush nobody can tell what is on disk, so it is not retried.
        self.file.write_all(frame).and_then(|()| self.file.sync_data()).map_err(|why| unwritable(&path, why))?;
        self.journal.appended(frame.len() as u64, first + u64::from(batch.entries()));
        batch.clear(2 * FRAME_BYTES);
        Ok(())
    }

    fn wait_for_space(&mut self) -> Result<bool> {
        // So that everything before can be deleted.
        let journal = self.journal.clone();
        match journal.unless_closed(|| if journal.newest().bytes > 0 { self.begin_segment() } else { Ok(()) }) {
            Some(begun) => begun?,
            None => return Ok(false),
        }
        let (folder, bytes) = (journal.folder().display(), journal.bytes());
        tracing::warn!(journal = %folder, bytes, "is full: nothing is read until it is pruned (journal_bytes_max)");
        let space = journal.wait_for_space();
        if space {
            tracing::info!(journal = %folder, bytes = journal.bytes(), "was pruned: reading continues");
        }
        Ok(space)
    }

    fn begin_segment(&mut self) -> Result<()> {
        let first = self.journal.durable();
        let folder = self.journal.folder();
        let path = segment_path(folder, first);
        self.file = create(folder, &path).map_err(|why| unwritable(&path, why))?;
        self.journal.add(first);
        Ok(())
    }
}

/// Creates the file of a segment; its folder entry is durable when this returns.
pub(super) fn create(folder: &Path, path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}
