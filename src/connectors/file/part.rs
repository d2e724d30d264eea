//! One followed path: the file that is read, and what becomes of it when the path becomes another one.

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
pub(super) struct Part {
    pub(super) partition: Partition,
    path: PathBuf,
    initial: bool,
    /// Whether a pattern is the path: the user said that it must be read.
    named: bool,
    /// The file that the path is now.
    current: Option<FileKey>,
    reading: Reading,
    /// The offset at which the next file begins.
    base: u64,
    /// Since when the file being read has ended and is no longer the path's.
    ended_at: Option<Instant>,
    /// The compressed file that the path is now, which is not read.
    ignored: Option<FileKey>,
    /// When the file that the path is now could not be opened.
    refused: Option<Instant>,
    /// Bytes to the end of the file, if told in this poll.
    pub(super) lag: Option<u64>,
}

/// The file that is being read.
enum Reading {
    Nothing,
    Open(Tail),
    /// Closed to make room, and last looked at then.
    Parked(Parked, Instant),
}

/// What a visit to a part found.
pub(super) enum Visited {
    /// So many bytes were taken.
    Took(usize),
    /// There is nothing for now.
    Nothing,
    /// It is not this part's turn to have a file open.
    Waiting,
    /// The operating system does not let another file be opened.
    OutOfFiles,
}

impl Part {
    pub(super) fn new(followed: Followed) -> Self {
        let Followed { partition, path, file: current, initial, named } = followed;
        let (reading, base, ended_at, ignored, refused, lag) = (Reading::Nothing, 0, None, None, None, None);
        Part { partition, path, initial, named, current, reading, base, ended_at, ignored, refused, lag }
    }

    /// The path is now `file`.
    pub(super) fn becomes(&mut self, file: Option<FileKey>) {
        if self.current != file {
            (self.current, self.refused) = (file, None);
        }
    }

    /// Whether it has a file open.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.reading, Reading::Open(_))
    }

    /// Whether the next visit opens a file; one that was closed, or that could not be opened, is looked at every
    /// `look`.
    pub(super) fn must_open(&self, look: Duration) -> bool {
        match &self.reading {
            Reading::Open(_) => false,
            Reading::Nothing => self.file(look).is_some(),
            Reading::Parked(parked, since) => since.elapsed() >= look && !self.is_as_it_was(parked),
        }
    }

    /// Closes the file, if nothing more is expected of it soon.
    pub(super) fn park(&mut self) -> bool {
        let Reading::Open(tail) = &self.reading else { return true };
        let is_idle = self.ended_at.is_none() && tail.metadata().is_ok_and(|file| tail.is_unchanged(file.len()));
        if is_idle && let Reading::Open(tail) = std::mem::replace(&mut self.reading, Reading::Nothing) {
            self.reading = Reading::Parked(tail.park(), Instant::now());
        }
        is_idle
    }

    /// The file to be opened.
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

/// What a visit to a part needs besides the part.
pub(super) struct Reader<'a> {
    pub(super) context: &'a SourceContext,
    pub(super) read_from: ReadFrom,
    pub(super) catalog: &'a Catalog,
    pub(super) collector: &'a mut dyn Collector,
}

impl Reader<'_> {
    /// Reads on in `part`. There is room for a file if the part [must open](Part::must_open) one.
    pub(super) fn visit(&mut self, part: &mut Part, buffer: &mut Vec<u8>, want: usize) -> Result<Visited> {
        let failed = |path: &PathBuf, cause| read_error(&self.context.name, path, cause);
        match std::mem::replace(&mut part.reading, Reading::Nothing) {
            open @ Reading::Open(_) => part.reading = open,
            Reading::Parked(parked, since) if since.elapsed() < self.catalog.rescan() => {
                part.reading = Reading::Parked(parked, since);
                return Ok(Visited::Nothing);
            }
            Reading::Parked(parked, _) => {
                if let Some(visited) = self.open_again(part, parked)? {
                    return Ok(visited);
                }
            }
            Reading::Nothing => {
                if let Some(visited) = self.open(part, buffer)? {
                    part.lag = Some(0);
                    return Ok(visited);
                }
            }
        }
        let Reading::Open(tail) = &mut part.reading else { return Ok(Visited::Nothing) };
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
                    part.reading = Reading::Nothing;
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

    /// Opens the file that the path is now; else says what came of the visit.
    fn open(&self, part: &mut Part, buffer: &mut Vec<u8>) -> Result<Option<Visited>> {
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
            // Whoever rotates may set the owner and the mode after creating the file, so it is tried again.
            Err(e) => {
                self.catalog.skip(&part.path, SkipReason::Unreadable, format_args!("{e}; trying again"));
                part.refused = Some(Instant::now());
                return Ok(Some(Visited::Nothing));
            }
        };
        // Rotated since the last look-up: the next one will tell which file is whose.
        if tail.key() != key {
            return Ok(Some(Visited::Nothing));
        }
        if part.initial && self.read_from == ReadFrom::End && part.base == 0 {
            tail.seek_end(buffer, record_bytes_max).map_err(failed)?;
        }
        part.reading = Reading::Open(tail);
        Ok(None)
    }

    /// Opens a file that was closed to make room, if there is anything to be read; else says what came of the visit.
    fn open_again(&self, part: &mut Part, parked: Parked) -> Result<Option<Visited>> {
        let keep = |part: &mut Part, parked| part.reading = Reading::Parked(parked, Instant::now());
        if part.is_as_it_was(&parked) {
            keep(part, parked);
            return Ok(Some(Visited::Nothing));
        }
        let why = match parked.reopen(&part.path) {
            Ok(file) => {
                part.reading = Reading::Open(parked.resume(file, &part.path));
                return Ok(None);
            }
            Err(why) => why,
        };
        if is_out_of_files(&why) {
            keep(part, parked);
            return Ok(Some(Visited::OutOfFiles));
        }
        if why.kind() != io::ErrorKind::NotFound {
            self.catalog.skip(&part.path, SkipReason::Unreadable, format_args!("{why}; trying again"));
            keep(part, parked);
            return Ok(Some(Visited::Nothing));
        }
        // Rotated away meanwhile, and perhaps written to before that.
        let base = parked.next_base();
        if let Some(name) = renamed(&part.path, parked.key())
            && let Ok(file) = parked.reopen(&name)
        {
            part.reading = Reading::Open(parked.resume(file, &name));
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

    /// Closes a file that is no longer the path's, once it has had nothing new for a while.
    fn leave(&mut self, part: &mut Part, buffer: &mut Vec<u8>) -> Result<()> {
        let since = part.ended_at.get_or_insert_with(Instant::now);
        if since.elapsed() < self.catalog.rescan() {
            return Ok(());
        }
        if let Reading::Open(mut tail) = std::mem::replace(&mut part.reading, Reading::Nothing) {
            let failed = |cause| read_error(&self.context.name, &part.path, cause);
            while let Visit::Took(_) = tail.visit(buffer, READ_BYTES, true, self.collector).map_err(failed)? {}
            part.base = tail.next_base();
            // What comes after the first file is read whole, also if that one was empty.
            part.initial = false;
        }
        part.ended_at = None;
        Ok(())
    }
}
