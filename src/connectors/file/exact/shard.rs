//! The operations on the files of a shard, step by step. A step that fails makes it unusable: nothing is retried, and
//! the next run recovers what is there.

use super::disk::Disk;
use super::progress::{ProgressLog, ShardProgress};
use crate::connectors::file::output::{Naming, Rolling};
use crate::error::Result;
use crate::time::Epoch;

/// A shard that is being written.
pub(super) struct ShardFiles<D: Disk> {
    disk: D,
    naming: Naming,
    rolling: Rolling,
    log: ProgressLog<D>,
    /// The progress in the log.
    progress: ShardProgress,
    /// The current file, once it has rows.
    partial: Option<D::File>,
    /// Bytes in it.
    written: u64,
    /// The first epoch sealed in it.
    first: Option<Epoch>,
    /// The newest epoch that is sealed and not committed, and where its rows end.
    sealed: Option<(Epoch, u64)>,
}

impl<D: Disk> ShardFiles<D> {
    /// Resumes from `log`; `partial` is the current file, if it has rows, of exactly the committed length.
    pub(super) fn resume(
        disk: D,
        naming: Naming,
        rolling: Rolling,
        log: ProgressLog<D>,
        progress: ShardProgress,
        partial: Option<D::File>,
    ) -> Self {
        let ShardProgress { bytes: written, first, .. } = progress;
        ShardFiles { disk, naming, rolling, log, progress, partial, written, first, sealed: None }
    }

    /// The newest epoch whose rows are durable.
    pub(super) fn committed(&self) -> Option<Epoch> {
        self.progress.epoch
    }

    /// Adds rows of the epoch that will be sealed next.
    pub(super) fn append(&mut self, rows: &[u8]) -> Result<()> {
        let ShardFiles { disk, naming, .. } = self;
        let path = naming.partial(self.progress.file);
        let partial = match &mut self.partial {
            Some(partial) => partial,
            none => {
                let created = disk.create(&path).map_err(|why| naming.error("cannot create", &path, why))?;
                // A file whose name is not durable can vanish although its bytes are.
                let synced = disk.sync_folder(naming.folder());
                synced.map_err(|why| naming.error("cannot flush the folder", naming.folder(), why))?;
                none.insert(created)
            }
        };
        disk.append(partial, rows).map_err(|why| naming.error("cannot write", &path, why))?;
        self.written += rows.len() as u64;
        Ok(())
    }

    /// All rows up to `epoch` were added. If this completes the file, it is committed and finished.
    pub(super) fn seal(&mut self, epoch: Epoch) -> Result<()> {
        let sealed = self.sealed.map_or(self.progress.bytes, |(_, end)| end);
        if self.written > sealed {
            self.first.get_or_insert(epoch);
            self.sealed = Some((epoch, self.written));
        }
        if self.rolling.is_due(self.written, self.first, epoch) {
            self.roll()?;
        }
        Ok(())
    }

    /// Makes sealed epochs durable.
    pub(super) fn commit(&mut self) -> Result<()> {
        match self.sealed {
            Some(_) => self.record(false),
            None => Ok(()),
        }
    }

    /// Commits sealed epochs and finishes the last file.
    pub(super) fn finish(&mut self) -> Result<()> {
        if self.partial.is_some() { self.roll() } else { Ok(()) }
    }

    fn roll(&mut self) -> Result<()> {
        // Readers may move a file away as soon as they see it, so the log records that it is complete before they can.
        self.record(true)?;
        self.partial = None;
        self.written = 0;
        self.first = None;
        publish(&self.disk, &self.naming, self.progress.file)?;
        self.progress = self.progress.next_file();
        self.log.replace(&self.disk, &self.progress)
    }

    /// Flushes the rows, and only then records them in the log.
    fn record(&mut self, finishing: bool) -> Result<()> {
        let ShardFiles { disk, naming, .. } = self;
        if let Some(partial) = &self.partial {
            let path = naming.partial(self.progress.file);
            disk.sync(partial).map_err(|why| naming.error("cannot flush to disk", &path, why))?;
        }
        let mut progress = ShardProgress { finishing, ..self.progress };
        if let Some((epoch, bytes)) = self.sealed.take() {
            progress = ShardProgress { epoch: Some(epoch), bytes, first: self.first, ..progress };
        }
        self.log.record(disk, &progress)?;
        self.progress = progress;
        Ok(())
    }
}

/// Renames file number `file`, which is complete and durable, to its final name.
pub(super) fn publish<D: Disk>(disk: &D, naming: &Naming, file: u32) -> Result<()> {
    let (partial, finished) = (naming.partial(file), naming.finished(file));
    disk.rename_new(&partial, &finished).map_err(|why| naming.error("cannot finish", &finished, why))?;
    disk.sync_folder(naming.folder()).map_err(|why| naming.error("cannot flush the folder", naming.folder(), why))
}
