//! How far a shard's files are written for good: a small log beside them.
//!
//! A frame says that all rows up to an epoch are on the disk, in the files before one and in so many bytes of that one. Whatever
//! else is in the files was not committed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::output::Naming;
use crate::checkpoint::frame::{from_line, to_line};
use crate::error::{Error, Result};
use crate::time::Epoch;

/// The version of the frames.
const VERSION: u32 = 1;

/// The size at which the log is written anew with nothing but its last frame, in bytes.
const LOG_BYTES_MAX: u64 = 1024 * 1024;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Committed {
    version: u32,
    /// Who wrote it.
    pub(super) generation: u64,
    /// All rows up to it are durable.
    pub(super) epoch: Epoch,
    /// The number of the last file that has any.
    pub(super) file: u32,
    /// How many bytes of that file.
    pub(super) bytes: u64,
}

/// The log, open to be appended to.
#[derive(Debug)]
pub(super) struct Progress {
    naming: Naming,
    path: PathBuf,
    generation: u64,
    file: File,
    bytes: u64,
}

impl Progress {
    /// Opens the log of the shard that `naming` is for, and says what its last frame says.
    ///
    /// # Errors
    /// If it is damaged other than at its end, was written by a later generation, or cannot be read or written.
    pub(super) fn open(naming: &Naming, generation: u64) -> Result<(Self, Option<Committed>)> {
        let path = naming.progress();
        let last = match fs::read(&path) {
            Ok(bytes) => last_frame(naming, &path, &bytes)?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => return Err(naming.error("cannot read", &path, why)),
        };
        if let Some(last) = last
            && last.generation > generation
        {
            let message = format!(
                "{} cannot write {path:?}: generation {} of this dataflow does, and this is {generation}",
                naming.of_sink(),
                last.generation
            );
            return Err(Error::sink(message).hint("another run took over the state directory"));
        }
        let (file, bytes) = rewrite(&path, last).map_err(|why| naming.error("cannot write", &path, why))?;
        Ok((Progress { naming: naming.clone(), path, generation, file, bytes }, last))
    }

    /// Records that all rows up to `epoch` are in the files before `file` and in its first `bytes` bytes, which are on the disk.
    ///
    /// # Errors
    /// If it cannot be recorded; then it is not known whether it is.
    pub(super) fn commit(&mut self, epoch: Epoch, file: u32, bytes: u64) -> Result<()> {
        let committed = Committed { version: VERSION, generation: self.generation, epoch, file, bytes };
        let append = || -> io::Result<()> {
            if self.bytes >= LOG_BYTES_MAX {
                (self.file, self.bytes) = rewrite(&self.path, Some(committed))?;
                return Ok(());
            }
            let line = to_line(&committed);
            self.file.write_all(&line)?;
            self.bytes += line.len() as u64;
            self.file.sync_data()
        };
        let mut append = append;
        append().map_err(|why| self.naming.error("cannot write", &self.path, why))
    }
}

fn last_frame(naming: &Naming, path: &Path, bytes: &[u8]) -> Result<Option<Committed>> {
    let mut last = None;
    let mut at = 0;
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map(|end| at + end);
        let read =
            end.ok_or_else(|| "it has no end".to_owned()).and_then(|end| from_line::<Committed>(&bytes[at..end]));
        let next = end.map_or(bytes.len(), |end| end + 1);
        match read {
            Ok(frame) if frame.version == VERSION => last = Some(frame),
            // As a kill leaves it, and not committed: no frame follows one that is not whole.
            Err(_) if next == bytes.len() => break,
            Ok(Committed { version, .. }) => {
                return Err(damaged(naming, path, at, &format!("it is of version {version}, not {VERSION}")));
            }
            Err(why) => return Err(damaged(naming, path, at, &why)),
        }
        at = next;
    }
    Ok(last)
}

fn damaged(naming: &Naming, path: &Path, at: usize, why: &str) -> Error {
    Error::sink(format!("{}: {path:?} is damaged at byte {at}: {why}", naming.of_sink()))
        .hint("restore it from a copy; without it nobody can say which rows were written")
}

/// Writes the log anew, whole or not at all.
fn rewrite(path: &Path, last: Option<Committed>) -> io::Result<(File, u64)> {
    let new = path.with_extension("progress.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&new)?;
    let line = last.map(|last| to_line(&last)).unwrap_or_default();
    file.write_all(&line)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok((file, line.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::sink::SinkContext;

    fn naming(folder: &Path) -> Naming {
        let context = SinkContext { name: "rows".into(), shard: 0, shards: 1, run_ms: 0, generation: None };
        Naming::new(&context, folder)
    }

    #[test]
    fn the_last_frame_counts_and_a_torn_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let naming = naming(folder.path());
        let (mut progress, before) = Progress::open(&naming, 1).unwrap();
        assert_eq!(before, None);
        progress.commit(5, 0, 10).unwrap();
        let one = fs::read(naming.progress()).unwrap();
        progress.commit(7, 1, 3).unwrap();
        let two = fs::read(naming.progress()).unwrap();
        for cut in one.len()..=two.len() {
            fs::write(naming.progress(), &two[..cut]).unwrap();
            let last = Progress::open(&naming, 1).unwrap().1.unwrap();
            let whole = cut == two.len();
            assert_eq!((last.epoch, last.file, last.bytes), if whole { (7, 1, 3) } else { (5, 0, 10) }, "cut at {cut}");
        }
        let mut damaged = two.clone();
        damaged[one.len() / 2] ^= 1;
        fs::write(naming.progress(), &damaged).unwrap();
        let error = Progress::open(&naming, 1).unwrap_err().to_string();
        assert!(error.contains("damaged at byte 0") && error.contains("\"rows\""), "{error}");
    }

    #[test]
    fn an_older_generation_may_not_write() {
        let folder = tempfile::tempdir().unwrap();
        let naming = naming(folder.path());
        Progress::open(&naming, 3).unwrap().0.commit(5, 0, 10).unwrap();
        let error = Progress::open(&naming, 2).unwrap_err().to_string();
        assert!(error.contains("generation 3") && error.contains("this is 2"), "{error}");
        assert!(Progress::open(&naming, 3).is_ok());
    }

    #[test]
    fn the_log_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let naming = naming(folder.path());
        let (mut progress, _) = Progress::open(&naming, 1).unwrap();
        progress.bytes = LOG_BYTES_MAX;
        progress.commit(5, 0, 10).unwrap();
        progress.commit(6, 0, 20).unwrap();
        assert!(fs::metadata(naming.progress()).unwrap().len() < 300);
        assert_eq!(Progress::open(&naming, 1).unwrap().1.unwrap().bytes, 20);
    }
}
