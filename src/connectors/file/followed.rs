//! One followed path: the file that is read, and the transitions when another file takes the path.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Followed};
use super::discover::FileKey;
use super::open::{is_out_of_files, renamed};
use super::source::ReadFrom;
use super::tail::{Parked, READ_BYTES, Tail, Visit, compressed, compressed_error, read_error};
use crate::connectors::source::{Collector, Partition, SourceContext};
use crate::error::{Result, Shown};
use crate::telemetry::SkipReason;

/// A path that is followed, on the worker that reads it.
pub(super) struct FollowedFile {
    pub(super) partition: Partition,
    path: PathBuf,
    initial: bool,
    /// Whether a pattern is the path: the user requires that it is read.
    named: bool,
    /// The file that has the path now.
    current: Option<FileKey>,
    reading: FileState,
    /// The offset at which the next file begins.
    base: u64,
    /// Since when the file being read is at its end and no longer has the path.
    ended_at: Option<Instant>,
    /// The compressed file that has the path now, which is not read.
    ignored: Option<FileKey>,
    /// When the file that has the path now could not be opened.
    refused: Option<Instant>,
    /// Bytes to the end of the file, if measured in this poll.
    pub(super) lag: Option<u64>,
}

/// The file that is being read.
enum FileState {
    Nothing,
    Open(Tail),
    /// Closed to make room, and last checked then.
    Parked(Parked, Instant),
}

/// The result of a visit.
pub(super) enum Visited {
    /// This many bytes were read.
    Took(usize),
    /// There is nothing at present.
    Nothing,
    /// It is not this file's turn to be open.
    Waiting,
    /// The operating system refused to open another file.
    OutOfFiles,
}

impl FollowedFile {
    pub(super) fn new(followed: Followed) -> Self {
        let Followed { partition, path, file: current, initial, named } = followed;
        let (reading, base, ended_at, ignored, refused, lag) = (FileState::Nothing, 0, None, None, None, None);
        FollowedFile { partition, path, initial, named, current, reading, base, ended_at, ignored, refused, lag }
    }

    /// The path now leads to `file`.
    pub(super) fn becomes(&mut self, file: Option<FileKey>) {
        if self.current != file {
            (self.current, self.refused) = (file, None);
        }
    }

    /// Whether its file is open.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.reading, FileState::Open(_))
    }

    /// Whether the next visit opens a file; one that was closed, or that could not be opened, is checked every `look`.
    pub(super) fn must_open(&self, look: Duration) -> bool {
        match &self.reading {
            FileState::Open(_) => false,
            FileState::Nothing => self.file(look).is_some(),
            FileState::Parked(parked, since) => since.elapsed() >= look && !self.is_as_it_was(parked),
        }
    }

    /// Closes the file, if nothing more is expected of it soon.
    pub(super) fn park(&mut self) -> bool {
        let FileState::Open(tail) = &self.reading else { return true };
        let is_idle = self.ended_at.is_none() && tail.metadata().is_ok_and(|file| tail.is_unchanged(file.len()));
        if is_idle && let FileState::Open(tail) = std::mem::replace(&mut self.reading, FileState::Nothing) {
            self.reading = FileState::Parked(tail.park(), Instant::now());
        }
        is_idle
    }

    /// The file to open.
    fn file(&self, look: Duration) -> Option<FileKey> {
        let was_just_refused = self.refused.is_some_and(|since| since.elapsed() < look);
        self.current.filter(|key| self.ignored != Some(*key) && !was_just_refused)
    }

    fn is_as_it_was(&self, parked: &Parked) -> bool {
        self.current == Some(parked.key())
            && std::fs::metadata(&self.path)
                .is_ok_and(|file| FileKey::of(&file) == parked.key() && parked.is_unchanged(file.len()))
    }
}

/// What a visit needs besides the file.
pub(super) struct VisitContext<'a> {
    pub(super) context: &'a SourceContext,
    pub(super) read_from: ReadFrom,
    pub(super) catalog: &'a Catalog,
    pub(super) collector: &'a mut dyn Collector,
}

impl VisitContext<'_> {
    /// Continues to read `part`. There is room for a file if it [must open](Part::must_open) one.
    pub(super) fn visit(&mut self, part: &mut FollowedFile, buffer: &mut Vec<u8>, want: usize) -> Result<Visited> {
        let failed = |path: &PathBuf, cause| read_error(&self.context.name, path, cause);
        match std::mem::replace(&mut part.reading, FileState::Nothing) {
            open @ FileState::Open(_) => part.reading = open,
            FileState::Parked(parked, since) if since.elapsed() < self.catalog.rescan() => {
                part.reading = FileState::Parked(parked, since);
                return Ok(Visited::Nothing);
            }
            FileState::Parked(parked, _) => {
                if let Some(visited) = self.open_again(part, parked)? {
                    return Ok(visited);
                }
            }
            FileState::Nothing => {
                if let Some(visited) = self.open(part, buffer)? {
                    part.lag = Some(0);
                    return Ok(visited);
                }
            }
        }
        let FileState::Open(tail) = &mut part.reading else { return Ok(Visited::Nothing) };
        let size = tail.metadata().map_err(|e| failed(&part.path, e))?.len();
        if size < tail.size_min() {
            let (name, path) = (&self.context.name, Shown::from(&*part.path));
            let bytes_lost = tail.restart(self.collector);
            tracing::warn!(source = name, %path, bytes_lost, "file was truncated; reading it from its start");
        }
        part.lag = Some(size.saturating_sub(tail.position()));
        if !tail.is_unchanged(size) {
            match tail.visit(buffer, want, false, self.collector).map_err(|e| failed(&part.path, e))? {
                Visit::Took(bytes) => {
                    part.lag = Some(size.saturating_sub(tail.position()));
                    part.ended_at = None;
                    return Ok(Visited::Took(bytes));
                }
                Visit::AtEnd => part.ended_at = None,
                Visit::Compressed(program) if part.initial && part.named => {
                    return Err(compressed_error(&self.context.name, &part.path, program));
                }
                Visit::Compressed(program) => {
                    self.catalog.skip(&part.path, SkipReason::Compressed, compressed(program));
                    part.ignored = Some(tail.key());
                    part.reading = FileState::Nothing;
                    part.lag = Some(0);
                    return Ok(Visited::Nothing);
                }
            }
        }
        if part.current == Some(tail.key()) {
            part.ended_at = None;
        } else {
            self.leave(part, buffer)?;
        }
        Ok(Visited::Nothing)
    }

    /// Opens the file that has the path now; otherwise returns the result of the visit.
    fn open(&self, part: &mut FollowedFile, buffer: &mut Vec<u8>) -> Result<Option<Visited>> {
        let Some(key) = part.file(self.catalog.rescan()) else { return Ok(Some(Visited::Nothing)) };
        let failed = |cause| read_error(&self.context.name, &part.path, cause);
        let record_bytes_max = self.context.record_bytes_max;
        let mut tail = match Tail::open(&part.path, part.partition, part.base, record_bytes_max) {
            Ok(tail) => tail,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                part.refused = Some(Instant::now());
                return Ok(Some(Visited::Nothing));
            }
            Err(e) if is_out_of_files(&e) => return Ok(Some(Visited::OutOfFiles)),
            Err(e) if part.initial && part.named => return Err(failed(e)),
            // Rotation may set the owner and the mode after creating the file, so it is retried.
            Err(e) => {
                self.catalog.skip(&part.path, SkipReason::Unreadable, format_args!("{e}; retried"));
                part.refused = Some(Instant::now());
                return Ok(Some(Visited::Nothing));
            }
        };
        // Rotated since the last look-up: the next one will tell which path it belongs to.
        if tail.key() != key {
            return Ok(Some(Visited::Nothing));
        }
        if part.initial && self.read_from == ReadFrom::End && part.base == 0 {
            tail.seek_end(buffer, record_bytes_max).map_err(failed)?;
        }
        part.reading = FileState::Open(tail);
        Ok(None)
    }

    /// Reopens a file that was closed to make room, if there is anything to read; otherwise returns the result of the
    /// visit.
    fn open_again(&self, part: &mut FollowedFile, parked: Parked) -> Result<Option<Visited>> {
        let keep = |part: &mut FollowedFile, parked| part.reading = FileState::Parked(parked, Instant::now());
        if part.is_as_it_was(&parked) {
            keep(part, parked);
            return Ok(Some(Visited::Nothing));
        }
        let why = match parked.reopen(&part.path) {
            Ok(file) => {
                part.reading = FileState::Open(parked.resume(file, &part.path));
                return Ok(None);
            }
            Err(why) => why,
        };
        if is_out_of_files(&why) {
            keep(part, parked);
            return Ok(Some(Visited::OutOfFiles));
        }
        if why.kind() != io::ErrorKind::NotFound {
            self.catalog.skip(&part.path, SkipReason::Unreadable, format_args!("{why}; retried"));
            keep(part, parked);
            return Ok(Some(Visited::Nothing));
        }
        // Rotated away meanwhile, and perhaps written to before that.
        let base = parked.next_base();
        if let Some(name) = renamed(&part.path, parked.key())
            && let Ok(file) = parked.reopen(&name)
        {
            part.reading = FileState::Open(parked.resume(file, &name));
            return Ok(None);
        }
        let (name, path) = (&self.context.name, Shown::from(&*part.path));
        tracing::warn!(
            source = name,
            %path,
            "file is gone from its folder while it was closed, with what may have been written to it in its last second"
        );
        part.base = base;
        part.initial = false;
        part.lag = Some(0);
        Ok(Some(Visited::Nothing))
    }

    /// Closes a file that no longer has the path, once it has had nothing new for a while.
    fn leave(&mut self, part: &mut FollowedFile, buffer: &mut Vec<u8>) -> Result<()> {
        let since = part.ended_at.get_or_insert_with(Instant::now);
        if since.elapsed() < self.catalog.rescan() {
            return Ok(());
        }
        if let FileState::Open(mut tail) = std::mem::replace(&mut part.reading, FileState::Nothing) {
            let failed = |cause| read_error(&self.context.name, &part.path, cause);
            while let Visit::Took(_) = tail.visit(buffer, READ_BYTES, true, self.collector).map_err(failed)? {}
            part.base = tail.next_base();
            // What comes after the first file is read from its start, also if that file was empty.
            part.initial = false;
        }
        part.ended_at = None;
        Ok(())
    }
}
