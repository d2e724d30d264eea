//! One open file and the position up to which it has been read.
//!
//! No bytes are kept between reads: the beginning of an unfinished line is read again, so all files of a reader share
//! one buffer, and a position fully describes the progress. The buffer never grows beyond `record_bytes_max` and one
//! read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::{memchr, memrchr};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::discover::FileKey;
use super::open::{MAGIC_BYTES_MAX, compression, is_out_of_files, open};
use crate::connectors::lines::Splitter;
use crate::connectors::source::{Collector, Partition};
use crate::error::Error;

/// How much is read at once: enough to make system calls free, little enough to stay in the second-level cache.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// The least that is read at once, however small the budget.
const READ_BYTES_MIN: usize = 4 * 1024;

/// How far back the end of a line is searched for.
const LINE_END_WINDOW: usize = 4 * 1024;

/// The result of a visit to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// This many bytes were read.
    Took(usize),
    /// Nothing was read: the file ends here, at present.
    AtEnd,
    /// The file is compressed, with the program of this name; nothing was read.
    Compressed(&'static str),
}

#[derive(Debug)]
pub(super) struct Tail {
    file: Arc<File>,
    /// The path by which it was opened.
    path: PathBuf,
    key: FileKey,
    /// The offset, in the partition, of the first byte of this file.
    base: u64,
    /// How many bytes of the file are consumed.
    position: u64,
    /// The size at which the end was last seen, perhaps with an unfinished line before it.
    seen_size: Option<u64>,
    splitter: Splitter,
}

/// A file that was closed, and the position up to which it has been read.
#[derive(Debug)]
pub(super) struct Parked {
    key: FileKey,
    base: u64,
    position: u64,
    seen_size: Option<u64>,
    splitter: Splitter,
}

impl Parked {
    /// Identifies the file.
    pub(super) fn key(&self) -> FileKey {
        self.key
    }

    /// See [`Tail::is_unchanged`].
    pub(super) fn is_unchanged(&self, size: u64) -> bool {
        self.seen_size == Some(size)
    }

    /// See [`Tail::next_base`].
    pub(super) fn next_base(&self) -> u64 {
        self.base + self.position.max(self.seen_size.unwrap_or(0))
    }

    /// Opens the file by the name `path`, for [`resume`](Self::resume); fails with `NotFound` if another file has that
    /// name.
    pub(super) fn reopen(&self, path: &Path) -> io::Result<File> {
        let (file, key) = open(path)?;
        if key == self.key { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Continues to read the file, which was reopened as `path`.
    pub(super) fn resume(self, file: File, path: &Path) -> Tail {
        let Parked { key, base, position, seen_size, splitter } = self;
        Tail { file: Arc::new(file), path: path.to_owned(), key, base, position, seen_size, splitter }
    }
}

impl Tail {
    /// Opens `path`, whose first byte has the offset `base`.
    pub(super) fn open(path: &Path, partition: Partition, base: u64, record_bytes_max: usize) -> io::Result<Self> {
        let (file, key) = open(path)?;
        let splitter = Splitter::new(partition, record_bytes_max);
        Ok(Tail { file: Arc::new(file), path: path.to_owned(), key, base, position: 0, seen_size: None, splitter })
    }

    /// Closes it; bytes that were not consumed are read again later.
    pub(super) fn park(self) -> Parked {
        let Tail { key, base, position, seen_size, splitter, .. } = self;
        Parked { key, base, position, seen_size, splitter }
    }

    /// Identifies the file.
    pub(super) fn key(&self) -> FileKey {
        self.key
    }

    /// Goes to the first line that begins at `from` or after it, or to the end of the file.
    pub(super) fn seek_line(&mut self, buffer: &mut Vec<u8>, from: u64) -> io::Result<()> {
        // A line begins there if the byte before ends one.
        let Some(mut before) = from.checked_sub(1) else { return Ok(()) };
        grow(buffer, READ_BYTES);
        loop {
            let filled = read_at(&self.file, &mut buffer[..READ_BYTES], before)?;
            let newline = memchr(b'\n', &buffer[..filled]);
            before += newline.map_or(filled as u64, |newline| newline as u64 + 1);
            if newline.is_some() || filled == 0 {
                self.position = before;
                return Ok(());
            }
        }
    }

    /// How many bytes are consumed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The offset after everything that was read, where the next file of the partition begins.
    pub(super) fn next_base(&self) -> u64 {
        self.base + self.position.max(self.seen_size.unwrap_or(0))
    }

    /// The present metadata of the file.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Whether the file has nothing beyond what was already seen at its end.
    pub(super) fn is_unchanged(&self, size: u64) -> bool {
        self.seen_size == Some(size)
    }

    /// The size below which the file must have been truncated.
    pub(super) fn size_min(&self) -> u64 {
        self.position.max(self.seen_size.unwrap_or(0))
    }

    /// Starts over at the beginning of the file, which was truncated, and returns how many bytes of an unfinished line
    /// are lost with it. Offsets continue from where they were.
    pub(super) fn restart(&mut self, collector: &mut dyn Collector) -> u64 {
        let lost = self.size_min() - self.position;
        self.splitter.finish(self.base + self.position, b"", collector);
        self.base = self.next_base();
        self.position = 0;
        self.seen_size = None;
        lost
    }

    /// Goes to the last line that the file has not ended yet, or to its end.
    pub(super) fn seek_end(&mut self, buffer: &mut Vec<u8>, record_bytes_max: usize) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let window = size.min(record_bytes_max as u64 + 1);
        let from = size - window;
        let window = usize::try_from(window).expect("at most record_bytes_max + 1");
        grow(buffer, window);
        let mut filled = 0;
        while filled < window {
            match read_at(&self.file, &mut buffer[filled..window], from + filled as u64)? {
                0 => break,
                n => filled += n,
            }
        }
        self.position = memrchr(b'\n', &buffer[..filled]).map_or(from, |newline| from + newline as u64 + 1);
        Ok(())
    }

    /// Takes about `want` bytes of whole lines without reading them, and returns where they are. This is not possible
    /// where a line is too long to search for its end, at the beginning of the file (which may be compressed) and near
    /// its end: then [`visit`](Self::visit) continues.
    pub(super) fn take_lines(
        &mut self,
        buffer: &mut Vec<u8>,
        want: usize,
    ) -> io::Result<Option<(Arc<File>, u64, usize)>> {
        if self.position == 0 || self.base != 0 || self.splitter.is_within_line() {
            return Ok(None);
        }
        let window = want.min(LINE_END_WINDOW);
        grow(buffer, window);
        let from = self.position + (want - window) as u64;
        let filled = read_at(&self.file, &mut buffer[..window], from)?;
        let Some(newline) = memrchr(b'\n', &buffer[..filled]).filter(|_| filled == window) else { return Ok(None) };
        let (position, size) = (self.position, want - window + newline + 1);
        self.position += size as u64;
        Ok(Some((Arc::clone(&self.file), position, size)))
    }

    /// The position of the next bytes, from `position` on, that were written: a hole can be as large as everything that
    /// was ever logged.
    fn data_after(&self, position: u64) -> io::Result<u64> {
        // Asked first, so that what is written from now on is not skipped.
        let size = self.file.metadata()?.len();
        match seek(&self.file, SeekFrom::Data(position)) {
            Ok(data) => Ok(data.max(position)),
            Err(Errno::NXIO) => Ok(size.max(position)),
            // A file system without holes.
            Err(_) => Ok(position),
        }
    }

    /// Reads about `want` bytes and hands over the lines that end in them; at least one line, unless the file ends
    /// first.
    ///
    /// `last` says that nothing more will be written: the end of the file then ends its last line too.
    pub(super) fn visit(
        &mut self,
        buffer: &mut Vec<u8>,
        want: usize,
        last: bool,
        collector: &mut dyn Collector,
    ) -> io::Result<Visit> {
        let want = want.clamp(READ_BYTES_MIN, READ_BYTES);
        let mut filled = 0;
        loop {
            grow(buffer, filled + want);
            let n = read_at(&self.file, &mut buffer[filled..filled + want], self.position + filled as u64)?;
            let offset = self.base + self.position;
            if n == 0 {
                self.seen_size = Some(self.position + filled as u64);
                if last {
                    self.splitter.finish(offset, &buffer[..filled], collector);
                    self.position += filled as u64;
                }
                return Ok(Visit::AtEnd);
            }
            filled += n;
            if self.position == 0
                && let Some(program) = compression(&self.path, &buffer[..filled])
            {
                return Ok(Visit::Compressed(program));
            }
            let used = self.splitter.split(offset, &buffer[..filled], collector);
            if used > 0 {
                self.position += used as u64;
                if used == filled && self.splitter.is_within_hole() {
                    self.position = self.data_after(self.position)?;
                }
                return Ok(Visit::Took(used));
            }
        }
    }
}

/// The error for a file that turns out to be compressed with `program`.
pub(super) fn compressed_error(source: &str, path: &Path, program: &str) -> Error {
    Error::source(format!("source {source:?}: {path:?} is compressed with {program}, which is not read"))
        .hint(format!("pipe it, with kind = \"stdin\": `{program} -dc FILE | tidewatch run …`"))
}

/// Why a compressed file that a glob matches is not read.
pub(super) fn compressed(program: &str) -> String {
    format!("compressed with {program}: narrow the pattern, or read it with `{program} -dc` and kind = \"stdin\"")
}

/// The error for a file that can no longer be read.
pub(super) fn read_error(source: &str, path: &Path, cause: io::Error) -> Error {
    let hint = match &cause {
        _ if is_out_of_files(&cause) => "raise the limit of open files (ulimit -n), or read fewer files",
        _ if cause.kind() == io::ErrorKind::PermissionDenied => "let this user read it",
        _ => "check the file and the file system it is on",
    };
    Error::source(format!("source {source:?} cannot read {path:?}")).because(cause).hint(hint)
}

/// Whether the file at `path` can be read; if it is compressed, by which program.
pub(super) fn probe(path: &Path) -> io::Result<Option<&'static str>> {
    let (file, _) = open(path)?;
    let mut head = [0; MAGIC_BYTES_MAX];
    let filled = read_at(&file, &mut head, 0)?;
    Ok(compression(path, &head[..filled]))
}

fn grow(buffer: &mut Vec<u8>, size: usize) {
    if buffer.len() < size {
        buffer.reserve_exact(size - buffer.len());
        buffer.resize(size, 0);
    }
}

fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, position) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::connectors::lines::tests::{Call, Calls, naive};

    fn read_all(bytes: &[u8], record_bytes_max: usize, want: usize) -> (Calls, usize) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut tail = Tail::open(file.path(), Partition(0), 0, record_bytes_max).unwrap();
        let (mut heard, mut buffer) = (Calls::default(), Vec::new());
        while let Visit::Took(_) = tail.visit(&mut buffer, want, true, &mut heard).unwrap() {}
        assert_eq!(tail.position(), bytes.len() as u64);
        (heard, buffer.capacity())
    }

    #[test]
    fn a_huge_line_is_rejected_once_in_flat_memory() {
        let size = 64 * 1024 * 1024;
        let mut bytes = vec![b'x'; size];
        bytes.extend_from_slice(b"\nnext");
        let (heard, capacity) = read_all(&bytes, 1024 * 1024, READ_BYTES);
        assert_eq!(heard.rejections(), [(0, size as u64, 4096)]);
        assert_eq!(heard.records(), [(size as u64 + 1, "next".to_owned())]);
        assert!(capacity <= 1024 * 1024 + READ_BYTES + 1, "{capacity}");
    }

    #[test]
    fn a_hole_of_any_size_is_skipped_in_constant_memory() {
        let size = 64 * 1024 * 1024;
        for (sparse, text) in [(true, "one\ntwo"), (false, "one\ntwo"), (true, ""), (false, "")] {
            let file = tempfile::NamedTempFile::new().unwrap();
            if sparse {
                file.as_file().set_len(size).unwrap();
            } else {
                std::fs::write(file.path(), vec![0; size as usize]).unwrap();
            }
            std::fs::OpenOptions::new().append(true).open(file.path()).unwrap().write_all(text.as_bytes()).unwrap();
            let mut tail = Tail::open(file.path(), Partition(0), 0, 1024).unwrap();
            let (mut heard, mut buffer, mut visits) = (Calls::default(), Vec::new(), 0);
            while let Visit::Took(_) = tail.visit(&mut buffer, READ_BYTES, true, &mut heard).unwrap() {
                visits += 1;
            }
            let expected =
                if text.is_empty() { vec![] } else { vec![(0, "one".to_owned()), (size + 4, "two".to_owned())] };
            assert_eq!((heard.records(), heard.rejections()), (expected, vec![]));
            assert_eq!(tail.position(), size + text.len() as u64);
            assert!(buffer.capacity() <= 1024 + READ_BYTES + 1, "{}", buffer.capacity());
            // 256 reads, where the file system has no holes.
            assert!(!sparse || !(8..=250).contains(&visits), "{visits} reads");
        }
    }

    #[test]
    fn a_file_that_was_closed_is_read_on_under_any_name_that_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&path, "one\nhalf").unwrap();
        let mut tail = Tail::open(&path, Partition(0), 7, 100).unwrap();
        let (mut heard, mut buffer) = (Calls::default(), Vec::new());
        while let Visit::Took(_) = tail.visit(&mut buffer, READ_BYTES, false, &mut heard).unwrap() {}
        let parked = tail.park();
        assert!(parked.is_unchanged(8) && !parked.is_unchanged(9));
        assert_eq!(parked.next_base(), 15);
        std::fs::rename(&path, &other).unwrap();
        std::fs::write(&path, "another file").unwrap();
        assert_eq!(parked.reopen(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::OpenOptions::new().append(true).open(&other).unwrap().write_all(b" done\n").unwrap();
        let file = parked.reopen(&other).unwrap();
        let mut tail = parked.resume(file, &other);
        tail.visit(&mut buffer, READ_BYTES, false, &mut heard).unwrap();
        assert_eq!(heard.records(), [(7, "one".to_owned()), (11, "half done".to_owned())]);
    }

    #[test]
    fn the_end_is_found_at_the_last_unfinished_line() {
        for (text, expected) in [("a\nb\nhalf", 4), ("a\nb\n", 4), ("", 0), ("half", 0), ("0123456789", 4)] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let mut tail = Tail::open(file.path(), Partition(0), 0, 5).unwrap();
            tail.seek_end(&mut Vec::new(), 5).unwrap();
            assert_eq!(tail.position(), expected, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_file_is_its_lines_whatever_is_read_at_once(
            lines in proptest::collection::vec((any::<u8>(), prop_oneof![0usize..50, 4_000usize..4_200, 0usize..20_000]), 0..12),
            want in prop_oneof![Just(1usize), 4_096usize..20_000],
            record_bytes_max in prop_oneof![1usize..100, 4_000usize..12_000],
            newline_at_end: bool,
        ) {
            let texts: Vec<Vec<u8>> = lines.iter().map(|(byte, size)| vec![*byte; *size]).collect();
            let mut bytes = texts.join(&b'\n');
            if newline_at_end {
                bytes.push(b'\n');
            }
            prop_assume!(compression(Path::new("a.log"), &bytes).is_none());
            let (heard, capacity) = read_all(&bytes, record_bytes_max, want);
            prop_assert_eq!(heard.said.len(), naive(&bytes, record_bytes_max).len());
            let same = heard.said == naive(&bytes, record_bytes_max);
            prop_assert!(same, "the lines differ");
            prop_assert!(capacity <= record_bytes_max + want.clamp(READ_BYTES_MIN, READ_BYTES) + 1);
            let joined = heard.said.iter().any(|said| matches!(said, Call::Joined(..)));
            prop_assert!(!joined);
        }
    }
}
