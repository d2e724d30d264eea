//! The start of a shard: turns what its log says and what is in the folder into files that contain what is committed
//! and nothing else.
//!
//! A crash can have happened between any two steps of `shard`. Each state that it can leave is one of the cases here,
//! and is repaired; what no crash explains is an error, because only a person can know what happened to the rows.

use std::path::Path;

use super::disk::Disk;
use super::progress::{ProgressLog, ProgressLogHeader, ShardProgress, Unusable, parse};
use super::shard::{ShardFiles, publish};
use crate::connectors::file::output::{Naming, Rolling};
use crate::error::{Error, Result};

/// The hint for names that are taken and rows that are gone.
const ELSEWHERE: &str = "put the folder back as it was; or give the sink another folder, and the dataflow another state \
                         directory, and so start over";

/// Opens the shard of `naming` in generation `generation` of its state directory.
pub(super) fn open<D: Disk>(
    disk: D,
    naming: Naming,
    header: ProgressLogHeader,
    generation: u64,
    rolling: Rolling,
) -> Result<ShardFiles<D>> {
    let recovering = Recovering { disk: &disk, naming: &naming };
    let mut progress = recovering.read_log(&header, generation)?;
    recovering.check_names(&progress)?;
    let found = recovering.look(&progress)?;
    // Up to here nothing is modified. Then, before anything that relies on it, the log is rewritten: a process that was
    // killed, or a flush that failed, may have left its end in memory only. This also cuts off a torn end.
    progress.generation = generation;
    let mut log = ProgressLog::begin(&disk, &naming, header, &progress)?;
    let partial = match recovering.settle(&progress, found)? {
        Current::Goes(partial) => partial,
        Current::Finished => {
            progress = progress.next_file();
            log.replace(&disk, &progress)?;
            None
        }
    };
    Ok(ShardFiles::resume(disk, naming, rolling, log, progress, partial))
}

struct Recovering<'a, D> {
    disk: &'a D,
    naming: &'a Naming,
}

/// The state of the current file on disk.
#[derive(Clone, Copy)]
enum CurrentOnDisk {
    /// It does not exist, and nothing is missing.
    Nothing,
    /// It has rows, none of which is committed.
    Leftover,
    /// It has this many bytes, and all committed ones are among them.
    Rows(u64),
    /// It has its final name.
    Finished,
    /// It has both names, briefly, where a file system cannot rename without overwriting.
    Both,
    /// It had its final name, and a reader moved it away.
    Taken,
}

/// The current file after recovery.
enum Current<F> {
    /// It is continued; `None` if it has no rows, and does not exist.
    Goes(Option<F>),
    /// It is finished, and the next one is current.
    Finished,
}

impl<D: Disk> Recovering<'_, D> {
    fn read_log(&self, header: &ProgressLogHeader, generation: u64) -> Result<ShardProgress> {
        let path = self.naming.progress();
        let text =
            self.disk.read(&path).map_err(|why| self.naming.error("cannot read its progress log", &path, why))?;
        let Some(text) = text else {
            if let Some(name) = self.names()?.first() {
                let what = format!("finds {name:?} without the progress log that goes with it,");
                let hint = format!("it tells which rows are written, and was deleted: {ELSEWHERE}");
                return Err(self.naming.refused(&what, &path, &hint));
            }
            return Ok(ShardProgress::begin(generation));
        };
        let (found, progress) = parse(&text).map_err(|unusable| self.unusable(&path, unusable))?;
        if found != *header {
            let what = "finds the progress log of another state directory, or of another number of shards,";
            let why = format!("it is {found}, and this is {header}");
            return Err(self.naming.refused(what, &path, "give the sink a folder of its own").because(why));
        }
        if progress.generation > generation {
            let what = format!("is of generation {generation}, and generation {} has begun:", progress.generation);
            return Err(self.naming.refused(&what, &path, "another run took over; this one has nothing to do"));
        }
        Ok(progress)
    }

    fn unusable(&self, path: &Path, unusable: Unusable) -> Error {
        match unusable {
            Unusable::Damaged { offset, why } => {
                let hint = format!("check the disk; the log is not of use any more: {ELSEWHERE}");
                let damaged = format!("its progress log is damaged at byte {offset} ({why}):");
                self.naming.refused(&damaged, path, &hint)
            }
            Unusable::Version(version) => {
                let what = format!("does not know version {version} of its progress log");
                self.naming.refused(
                    &what,
                    path,
                    "start the release of Tidewatch that the state directory was used with",
                )
            }
        }
    }

    fn look(&self, progress: &ShardProgress) -> Result<CurrentOnDisk> {
        let (partial, finished) = (self.naming.partial(progress.file), self.naming.finished(progress.file));
        let complete = |bytes| bytes == progress.bytes && bytes > 0;
        match (self.length(&partial)?, self.length(&finished)?) {
            (None, None) if progress.bytes == 0 => Ok(CurrentOnDisk::Nothing),
            (None, None) if progress.finishing => Ok(CurrentOnDisk::Taken),
            (None, None) => Err(self.lost(&partial, 0, progress.bytes)),
            (Some(_), None) if progress.bytes == 0 => Ok(CurrentOnDisk::Leftover),
            (Some(bytes), None) if bytes < progress.bytes => Err(self.lost(&partial, bytes, progress.bytes)),
            (Some(bytes), None) => Ok(CurrentOnDisk::Rows(bytes)),
            (None, Some(bytes)) if complete(bytes) => Ok(CurrentOnDisk::Finished),
            (Some(bytes), Some(_)) if complete(bytes) && self.same(&partial, &finished)? => Ok(CurrentOnDisk::Both),
            (_, Some(bytes)) => {
                let what = format!("has not finished a file of {bytes} bytes that has the name of one of its own,");
                Err(self.naming.refused(
                    &what,
                    &finished,
                    &format!("move it away if it is another's; else {ELSEWHERE}"),
                ))
            }
        }
    }

    /// Leaves a current file that has exactly the committed rows.
    fn settle(&self, progress: &ShardProgress, found: CurrentOnDisk) -> Result<Current<D::File>> {
        let partial = self.naming.partial(progress.file);
        match found {
            CurrentOnDisk::Nothing => Ok(Current::Goes(None)),
            CurrentOnDisk::Leftover => {
                self.remove(&partial)?;
                Ok(Current::Goes(None))
            }
            CurrentOnDisk::Rows(bytes) => {
                let file = self.reopen(&partial, bytes, progress.bytes)?;
                if !progress.finishing {
                    return Ok(Current::Goes(Some(file)));
                }
                publish(self.disk, self.naming, progress.file)?;
                Ok(Current::Finished)
            }
            CurrentOnDisk::Both => {
                self.remove(&partial)?;
                Ok(Current::Finished)
            }
            // Rewriting the log has flushed the folder: the name is durable.
            CurrentOnDisk::Finished | CurrentOnDisk::Taken => Ok(Current::Finished),
        }
    }

    fn lost(&self, partial: &Path, bytes: u64, committed: u64) -> Error {
        let what = format!("has lost rows: {bytes} bytes are left of {committed} that were flushed to");
        self.naming.refused(&what, partial, &format!("check the disk; {ELSEWHERE}"))
    }

    fn reopen(&self, partial: &Path, bytes: u64, committed: u64) -> Result<D::File> {
        let file = self.disk.open(partial).map_err(|why| self.naming.error("cannot open", partial, why))?;
        // Flushed with what is written next: until then the file may have its old length, and the log says what counts.
        if bytes > committed {
            let cut = self.disk.truncate(&file, committed);
            cut.map_err(|why| self.naming.error("cannot cut off what is not committed of", partial, why))?;
        }
        Ok(file)
    }

    /// Refuses files whose names the shard would need later.
    fn check_names(&self, progress: &ShardProgress) -> Result<()> {
        match self.names()?.iter().find(|name| self.naming.sequence(name) > Some(progress.file)) {
            None => Ok(()),
            Some(name) => {
                let path = self.naming.folder().join(name);
                let what = format!("is at file {} and did not write", progress.file);
                Err(self.naming.refused(&what, &path, &format!("move it away if it is another's; else {ELSEWHERE}")))
            }
        }
    }

    /// The names of the shard's files of rows, finished or not.
    fn names(&self) -> Result<Vec<String>> {
        let folder = self.naming.folder();
        let mut names =
            self.disk.names(folder).map_err(|why| self.naming.error("cannot read the folder", folder, why))?;
        names.retain(|name| self.naming.sequence(name).is_some());
        names.sort_unstable();
        Ok(names)
    }

    fn length(&self, path: &Path) -> Result<Option<u64>> {
        self.disk.length(path).map_err(|why| self.naming.error("cannot look at", path, why))
    }

    fn same(&self, one: &Path, other: &Path) -> Result<bool> {
        self.disk.same(one, other).map_err(|why| self.naming.error("cannot look at", one, why))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path).map_err(|why| self.naming.error("cannot remove", path, why))
    }
}
