//! Lines of a file that are read by the worker that decodes them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use serde::{Deserialize, Serialize};

use super::discover::FileKey;
use super::open::open;
use super::tail::read_error;
use crate::connectors::source::Block;
use crate::error::{Error, Result};

/// Whole lines of an open file.
pub(super) struct FileBlock {
    pub(super) source: Arc<str>,
    pub(super) path: Arc<Path>,
    pub(super) key: FileKey,
    pub(super) file: Arc<File>,
    /// The position of the first byte in the file, which is its offset.
    pub(super) position: u64,
    pub(super) size: usize,
}

/// The location of a block, for another process of the machine.
#[derive(Serialize, Deserialize)]
struct BlockLocation {
    path: PathBuf,
    /// The path may lead to another file by now.
    key: FileKey,
    position: u64,
    size: usize,
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
            // Into uninitialised memory: `std` would zero it first.
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

    fn place(&self) -> Option<Vec<u8>> {
        let path = self.path.to_path_buf();
        serde_json::to_vec(&BlockLocation { path, key: self.key, position: self.position, size: self.size }).ok()
    }
}

impl FileBlock {
    /// The block at the location `place` that another process of this machine found, in a file of the source `source`.
    ///
    /// # Errors
    /// If the file is gone or another one has taken its place.
    pub(super) fn at(source: &str, place: &[u8]) -> Result<Self> {
        let BlockLocation { path, key, position, size } = serde_json::from_slice(place)
            .map_err(|cause| Error::source(format!("source {source:?}: this is no block of a file")).because(cause))?;
        let cannot = |cause| read_error(source, &path, cause);
        let (file, found) = open(&path).map_err(cannot)?;
        if found != key {
            return Err(replaced(source, &path));
        }
        let (source, path, file) = (source.into(), path.into(), Arc::new(file));
        Ok(FileBlock { source, path, key, file, position, size })
    }

    fn truncated(&self) -> Error {
        let (source, path, position) = (&self.source, &self.path, self.position);
        Error::source(format!("source {source:?}: {path:?} was truncated before byte {position} during the run"))
            .hint("read files that are rotated meanwhile with follow = true")
    }
}

/// The error for a file that was replaced between two opens.
pub(super) fn replaced(source: &str, path: &Path) -> Error {
    Error::source(format!("source {source:?}: {path:?} was replaced by another file during the run"))
        .hint("read files that are rotated meanwhile with follow = true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_by_its_place_unless_another_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let key = FileKey::of(&file.metadata().unwrap());
        let block = FileBlock { source: "logs".into(), path: path.as_path().into(), key, file, position: 4, size: 4 };
        let place = block.place().unwrap();
        let mut bytes = Vec::new();
        FileBlock::at("logs", &place).unwrap().read(&mut bytes).unwrap();
        assert_eq!(bytes, b"two\n");

        let other = folder.path().join("b.log");
        std::fs::write(&other, "one\nTWO\nthree\n").unwrap();
        std::fs::rename(other, &path).unwrap();
        let error = FileBlock::at("logs", &place).err().unwrap().to_string();
        assert!(error.contains("was replaced by another file"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = FileBlock::at("logs", &place).err().unwrap().to_string();
        assert!(error.contains("a.log"), "{error}");
        assert!(FileBlock::at("logs", b"{}").is_err());
    }
}
