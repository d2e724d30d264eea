//! Reads a journal, from any offset up to what is on disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::frame::{Entry, FrameHeader, HEADER_BYTES, entry};
use super::segments::Journal;
use super::{damaged, segment_path, unreadable};
use crate::error::Result;

/// Reads the records of a journal in order.
#[derive(Debug)]
pub struct JournalReader {
    journal: Journal,
    seed: u32,
    /// The offset of the next record.
    next: u64,
    segment: Option<OpenSegment>,
    /// The body of a frame.
    body: Vec<u8>,
    /// The position of the next entry in it.
    at: usize,
    /// The offset of that entry, and the one after the last entry.
    entries: (u64, u64),
}

/// A segment that is being read.
#[derive(Debug)]
struct OpenSegment {
    path: PathBuf,
    file: File,
    /// Where the next frame begins.
    at: u64,
}

impl OpenSegment {
    /// Reads the next header; `None` at the end.
    fn header(&self, seed: u32) -> Result<Option<FrameHeader>> {
        let mut bytes = [0; HEADER_BYTES];
        let mut read = 0;
        while read < HEADER_BYTES {
            match self.file.read_at(&mut bytes[read..], self.at + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
                Err(why) => return Err(unreadable(&self.path, why)),
            }
        }
        if read == 0 {
            return Ok(None);
        }
        FrameHeader::parse(&bytes[..read], seed).map(Some).map_err(|why| damaged(&self.path, self.at, &why))
    }
}

impl JournalReader {
    pub(super) fn new(journal: Journal, from: u64, seed: u32) -> Self {
        JournalReader { journal, seed, next: from, segment: None, body: Vec::new(), at: 0, entries: (from, from) }
    }

    /// The offset of the next record.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// The next record and its offset, if it is on disk.
    ///
    /// # Errors
    /// Of kind `State`: if it cannot be read, or what is there is damaged.
    pub fn read(&mut self) -> Result<Option<(u64, Entry<'_>)>> {
        if self.next >= self.journal.durable() {
            return Ok(None);
        }
        if self.entries.0 == self.entries.1 {
            self.load()?;
        }
        while self.entries.0 < self.next {
            self.skip()?;
        }
        let at = self.at;
        self.skip()?;
        self.next += 1;
        Ok(entry(&self.body[at..]).map(|(entry, _)| (self.next - 1, entry)))
    }

    /// Skips an entry of the frame.
    fn skip(&mut self) -> Result<()> {
        let Some((_, bytes)) = entry(&self.body[self.at..]).filter(|_| self.entries.0 < self.entries.1) else {
            let (path, at) = self.segment.as_ref().map(|open| (open.path.clone(), open.at)).unwrap_or_default();
            return Err(damaged(&path, at, "the frame before it does not hold what it says"));
        };
        self.at += bytes;
        self.entries.0 += 1;
        Ok(())
    }

    /// Reads the frame that has the next record.
    fn load(&mut self) -> Result<()> {
        loop {
            if self.segment.is_none() {
                self.segment = Some(self.open()?);
            }
            let Some(open) = &mut self.segment else { continue };
            let Some(header) = open.header(self.seed)? else {
                // The next record is the first of another file, or is not there yet.
                if self.journal.segment_of(self.next).is_none_or(|segment| segment.first != self.next)
                    || open.path == segment_path(self.journal.folder(), self.next)
                {
                    let why = format!("it ends, and the record at offset {} is nowhere", self.next);
                    return Err(damaged(&open.path, open.at, &why));
                }
                self.segment = None;
                continue;
            };
            if header.first > self.next {
                let why = format!("the record at offset {} is not there, but that at {}", self.next, header.first);
                return Err(damaged(&open.path, open.at, &why));
            }
            let at = open.at;
            open.at += header.frame_bytes();
            if header.next() <= self.next {
                continue;
            }
            // Checked before memory is reserved: a wrong length may be anything.
            let size = open.file.metadata().map_err(|why| unreadable(&open.path, why))?.len();
            if open.at > size {
                return Err(damaged(&open.path, at, "it has no end"));
            }
            self.body.resize(header.bytes as usize, 0);
            let read = open.file.read_exact_at(&mut self.body, at + HEADER_BYTES as u64);
            read.map_err(|why| damaged(&open.path, at, &format!("it has no end ({why})")))?;
            header.check(&self.body, self.seed).map_err(|why| damaged(&open.path, at, &why))?;
            (self.at, self.entries) = (0, (header.first, header.next()));
            return Ok(());
        }
    }

    fn open(&self) -> Result<OpenSegment> {
        // If the record is older than the oldest segment, opening that one reports it.
        let first = self.journal.segment_of(self.next).map_or_else(|| self.journal.begins(), |segment| segment.first);
        let path = segment_path(self.journal.folder(), first);
        let file = File::open(&path).map_err(|why| unreadable(&path, why))?;
        Ok(OpenSegment { path, file, at: 0 })
    }
}
