//! Lines of a file that are read where they are decoded.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

use super::tail::read_error;
use crate::connectors::source::Block;
use crate::error::{Error, Result};

/// About how much of a file is one block: it is read into the second-level cache of whoever decodes it, and is large enough
/// that handing it over does not show.
pub(super) const BLOCK_BYTES: usize = 128 * 1024;

/// Whole lines of an open file.
pub(super) struct FileBlock {
    pub(super) source: Arc<str>,
    pub(super) path: Arc<Path>,
    pub(super) file: Arc<File>,
    /// The place of the first byte in the file, which is its offset.
    pub(super) position: u64,
    pub(super) size: usize,
}

impl Block for FileBlock {
    fn offset(&self) -> u64 {
        self.position
    }

    fn size(&self) -> usize {
        self.size
    }

    fn read(&self, buffer: &mut Vec<u8>) -> Result<()> {
        let (start, mut done) = (buffer.len(), 0);
        buffer.reserve_exact(self.size);
        while done < self.size {
            // Into memory that nobody wrote to before: `std` would have it zeroed first.
            match pread(&*self.file, spare_capacity(buffer), self.position + done as u64) {
                Ok(0) => return Err(self.truncated()),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(cause) => return Err(read_error(&self.source, &self.path, cause.into())),
            }
        }
        // The spare capacity may have taken more than the block.
        buffer.truncate(start + self.size);
        Ok(())
    }
}

impl FileBlock {
    fn truncated(&self) -> Error {
        let (source, path, position) = (&self.source, &self.path, self.position);
        Error::source(format!("source {source:?}: {path:?} was truncated before byte {position} during the run"))
            .hint("read files that are rotated meanwhile with follow = true")
    }
}
