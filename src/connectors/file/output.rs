//! One output file: hidden while it is written, and whole when it appears.
//!
//! It is written as `.NAME.jsonl.partial` and becomes `NAME.jsonl` by a rename that overwrites nothing, after its bytes are
//! on the disk. What another run or program left in the folder is never touched.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::connectors::sink::SinkContext;
use crate::error::{Error, Result, Shown};
use crate::time::Epoch;

/// How many bytes of rows are gathered before they are written.
pub(super) const WRITE_BYTES: usize = 512 * 1024;

/// Who may read rows: this user, and its group for programs that pass them on. They hold what was logged, so nobody else.
pub(super) const ROWS_MODE: u32 = 0o640;

/// Who may read and write what only a run needs.
pub(super) const OWN_MODE: u32 = 0o600;

/// Who may list a folder of rows that is created.
const FOLDER_MODE: u32 = 0o750;

/// How many taken names in a row are stepped over before something must be wrong.
const TAKEN_MAX: u32 = 10_000;

/// When a file is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rolling {
    pub bytes: u64,
    /// In the time of epochs.
    pub after_ms: u64,
}

impl Rolling {
    /// Whether a file of `bytes` bytes whose first rows are of epoch `first` is complete when `epoch` is.
    pub(super) fn is_due(self, bytes: u64, first: Option<Epoch>, epoch: Epoch) -> bool {
        first.is_some_and(|first| bytes >= self.bytes || epoch.saturating_sub(first) >= self.after_ms)
    }
}

/// What the files of one shard of a sink are called.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    sink: String,
    folder: PathBuf,
    /// The sink and the run.
    run: String,
    /// The sink, the run and the shard.
    stem: String,
}

impl Naming {
    /// The names in `folder` of the shard that `context` describes.
    pub(super) fn new(context: &SinkContext, folder: &Path) -> Self {
        let run = format!("{}-{}-", file_safe(&context.name), stamp(context.run_ms));
        let stem = format!("{run}s{:02}", context.shard);
        Naming { sink: context.name.clone(), folder: folder.to_owned(), run, stem }
    }

    /// The folder that everything is in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn finished(&self, sequence: u32) -> PathBuf {
        self.folder.join(format!("{}-{sequence:06}.jsonl", self.stem))
    }

    pub(super) fn partial(&self, sequence: u32) -> PathBuf {
        self.folder.join(format!(".{}-{sequence:06}.jsonl.partial", self.stem))
    }

    /// The number in the name of a file of the shard, finished or not.
    pub(super) fn sequence(&self, name: &str) -> Option<u32> {
        let partial = name.strip_prefix('.').and_then(|name| name.strip_suffix(".partial"));
        let name = partial.unwrap_or(name).strip_prefix(self.stem.as_str())?;
        name.strip_prefix('-')?.strip_suffix(".jsonl")?.parse().ok()
    }

    /// What is committed of the shard.
    pub(super) fn progress(&self) -> PathBuf {
        self.folder.join(format!(".{}.progress", self.stem))
    }

    /// A progress log that is about to take the place of the other.
    pub(super) fn new_progress(&self) -> PathBuf {
        self.folder.join(format!(".{}.progress.new", self.stem))
    }

    /// Locked by the one process that writes the shard.
    pub(super) fn lock(&self) -> PathBuf {
        self.folder.join(format!(".{}.lock", self.stem))
    }

    /// Creates the folder, and logs the unfinished files that earlier runs of the sink left in it.
    pub(super) fn prepare(&self, log_orphans: bool) -> Result<()> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&self.folder)
            .map_err(|e| self.error("cannot create the folder", &self.folder, e))?;
        if !log_orphans {
            return Ok(());
        }
        let entries = fs::read_dir(&self.folder).map_err(|e| self.error("cannot read the folder", &self.folder, e))?;
        let prefix = format!(".{}-", file_safe(&self.sink));
        let own = format!(".{}", self.run);
        let is_orphan =
            |name: &str| name.starts_with(&prefix) && !name.starts_with(&own) && name.ends_with(".jsonl.partial");
        let orphans: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_orphan))
            .collect();
        if let Some(first) = orphans.iter().min() {
            tracing::warn!(
                sink = self.sink,
                files = orphans.len(),
                first = %Shown::from(&**first),
                "unfinished files of a run that is still going on or was killed: their rows are not part of the output"
            );
        }
        Ok(())
    }

    /// An error of this sink about `path`.
    pub(super) fn error(&self, what: &str, path: &Path, cause: io::Error) -> Error {
        let hint = match cause.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, then start again".to_owned(),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "let this user write there, or choose another folder".to_owned()
            }
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                format!("sinks.{}.path names a folder, in which each worker writes files of its own", self.sink)
            }
            _ => "check the folder and the file system it is on".to_owned(),
        };
        self.refused(what, path, &hint).because(cause)
    }

    /// An error of this sink about `path` that the operating system did not cause.
    pub(super) fn refused(&self, what: &str, path: &Path, hint: &str) -> Error {
        Error::sink(format!("sink {:?} {what} {path:?}", self.sink)).hint(hint)
    }
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Output {
    naming: Naming,
    file: File,
    path: PathBuf,
    sequence: u32,
}

impl Output {
    /// Creates the first hidden file from `sequence` on whose name, hidden or finished, is free.
    pub(super) fn create(naming: &Naming, sequence: u32) -> Result<Self> {
        for sequence in sequence..sequence.saturating_add(TAKEN_MAX) {
            let path = naming.partial(sequence);
            match OpenOptions::new().write(true).create_new(true).mode(ROWS_MODE).open(&path) {
                Ok(file) if !exists(&naming.finished(sequence)) => {
                    return Ok(Output { naming: naming.clone(), file, path, sequence });
                }
                Ok(_) => fs::remove_file(&path).map_err(|e| naming.error("cannot remove", &path, e))?,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(naming.error("cannot create", &path, e)),
            }
        }
        let cause = io::Error::from(ErrorKind::AlreadyExists);
        Err(naming.error("finds every name taken from", &naming.finished(sequence), cause))
    }

    /// The number of the file within its shard.
    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Hands `bytes` to the operating system.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| self.naming.error("cannot write", &self.path, e))
    }

    /// Makes the file durable, then visible; returns its path.
    pub(super) fn publish(self) -> Result<PathBuf> {
        let Output { naming, file, path, sequence } = self;
        file.sync_all().map_err(|e| naming.error("cannot flush to disk", &path, e))?;
        let mut hidden = TempPath::try_from_path(&path).map_err(|e| naming.error("cannot finish", &path, e))?;
        // From here on nothing may drop `hidden`: that would delete the rows.
        for sequence in sequence..sequence.saturating_add(TAKEN_MAX) {
            let finished = naming.finished(sequence);
            match hidden.persist_noclobber(&finished) {
                Ok(()) => {
                    let folder = File::open(&naming.folder).and_then(|folder| folder.sync_all());
                    folder.map_err(|e| naming.error("cannot flush the folder", &naming.folder, e))?;
                    return Ok(finished);
                }
                // Another program took the name meanwhile.
                Err(e) if e.error.kind() == ErrorKind::AlreadyExists => hidden = e.path,
                Err(e) => {
                    let _kept = e.path.keep();
                    return Err(naming.error("cannot finish", &finished, e.error));
                }
            }
        }
        let _kept = hidden.keep();
        Err(naming.error("finds every name taken after", &path, ErrorKind::AlreadyExists.into()))
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// `name` with nothing in it that means something in a path.
fn file_safe(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect()
}

/// `run_ms`, milliseconds since the Unix epoch, as `20260131T235959123Z`.
fn stamp(run_ms: u64) -> String {
    match i64::try_from(run_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(time) => time.strftime("%Y%m%dT%H%M%S%3fZ").to_string(),
        None => run_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn names_are_sortable_and_safe() {
        let context =
            SinkContext { name: "a/b.c".into(), shard: 3, shards: 4, run_ms: 1_769_903_999_123, generation: None };
        let naming = Naming::new(&context, Path::new("out"));
        assert_eq!(naming.finished(7), Path::new("out/a_b_c-20260131T235959123Z-s03-000007.jsonl"));
        assert_eq!(naming.partial(7), Path::new("out/.a_b_c-20260131T235959123Z-s03-000007.jsonl.partial"));
    }

    #[test]
    fn nothing_is_overwritten_at_the_start_or_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let context = SinkContext { name: "s".into(), shard: 0, shards: 1, run_ms: 0, generation: None };
        let naming = Naming::new(&context, folder.path());
        fs::write(naming.finished(0), "old").unwrap();
        fs::write(naming.partial(1), "old").unwrap();
        let mut output = Output::create(&naming, 0).unwrap();
        assert_eq!(output.sequence(), 2);
        output.write(b"new").unwrap();
        fs::write(naming.finished(2), "other").unwrap();
        let published = output.publish().unwrap();
        assert_eq!(published, naming.finished(3));
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(published), "new");
        assert_eq!(
            [read(naming.finished(0)), read(naming.partial(1)), read(naming.finished(2))],
            ["old", "old", "other"]
        );
        assert!(!exists(&naming.partial(0)) && !exists(&naming.partial(2)));
    }

    #[test]
    fn rows_are_for_this_user_and_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let context = SinkContext { name: "s".into(), shard: 0, shards: 1, run_ms: 0, generation: None };
        let naming = Naming::new(&context, &folder.path().join("a/b"));
        naming.prepare(true).unwrap();
        let output = Output::create(&naming, 0).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        for (path, allowed) in [(naming.folder(), FOLDER_MODE), (&naming.partial(0), ROWS_MODE)] {
            assert_eq!(mode(path) & !allowed, 0, "{path:?} has mode {:o}", mode(path));
        }
        assert_eq!(mode(&output.publish().unwrap()) & !ROWS_MODE, 0);
    }

    #[test]
    fn errors_name_sink_path_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let context = SinkContext { name: "alerts".into(), shard: 0, shards: 1, run_ms: 0, generation: None };
        let error = Naming::new(&context, &file).prepare(true).unwrap_err().to_string();
        assert!(
            error.contains("\"alerts\"") && error.contains("/file\"") && error.contains("names a folder"),
            "{error}"
        );
    }
}
