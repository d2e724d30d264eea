//! Follows files as they grow, are rotated, are truncated and appear.
//!
//! Offsets count the bytes of a *path*: the file that follows a rotated or truncated one continues where that one ended, so
//! they only ever grow. A rotated file is read to its end, and one look-up longer, because its writer may still have it open.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Followed};
use super::discover::FileKey;
use super::source::ReadFrom;
use super::tail::{READ_BYTES, Tail, Visit, gzip_error, read_error};
use crate::connectors::source::{Collector, Partition, Polled, SourceContext, SourceReader};
use crate::error::Result;

/// How soon files that had nothing new are looked at again.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// One worker's share of the followed paths.
pub(super) struct FollowReader {
    context: SourceContext,
    catalog: Arc<Catalog>,
    version: u64,
    read_from: ReadFrom,
    parts: Vec<Part>,
    /// Where in `parts` each partition is.
    places: BTreeMap<Partition, usize>,
    /// The part that is visited next.
    next: usize,
    buffer: Vec<u8>,
}

struct Part {
    partition: Partition,
    path: PathBuf,
    initial: bool,
    /// The file that the path is now.
    current: Option<FileKey>,
    /// The file that is being read.
    tail: Option<Tail>,
    /// The offset at which the next file begins.
    base: u64,
    /// Since when the file being read has ended and is no longer the path's.
    ended_at: Option<Instant>,
    /// The compressed file that the path is now, which is not read.
    ignored: Option<FileKey>,
    /// The file that could not be opened, which was told.
    complained: Option<FileKey>,
    /// Bytes to the end of the file, if told in this poll.
    lag: Option<u64>,
}

impl FollowReader {
    pub(super) fn new(context: &SourceContext, catalog: Arc<Catalog>, read_from: ReadFrom) -> Self {
        FollowReader {
            context: context.clone(),
            catalog,
            version: 0,
            read_from,
            parts: Vec::new(),
            places: BTreeMap::new(),
            next: 0,
            buffer: Vec::new(),
        }
    }

    fn refresh(&mut self, collector: &mut dyn Collector) -> Result<()> {
        let Some(changes) = self.catalog.changes(&mut self.version)? else { return Ok(()) };
        for Followed { partition, path, file, initial } in changes {
            if !self.context.owns(partition) {
                continue;
            }
            let place = *self.places.entry(partition).or_insert_with(|| {
                collector.joined(partition, &path.to_string_lossy());
                self.parts.push(Part::new(partition, path, initial));
                self.parts.len() - 1
            });
            self.parts[place].current = file;
        }
        Ok(())
    }
}

impl SourceReader for FollowReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        self.refresh(collector)?;
        let mut left = budget_bytes.max(1);
        let mut idle = 0;
        while left > 0 && idle < self.parts.len() {
            let part = &mut self.parts[self.next];
            let mut reader =
                Reader { context: &self.context, read_from: self.read_from, grace: self.catalog.rescan(), collector };
            match reader.visit(part, &mut self.buffer, left.min(READ_BYTES))? {
                0 => {
                    collector.caught_up(part.partition);
                    idle += 1;
                }
                bytes => {
                    left = left.saturating_sub(bytes);
                    idle = 0;
                }
            }
            self.next = (self.next + 1) % self.parts.len();
        }
        for part in &mut self.parts {
            if let Some(lag) = part.lag.take() {
                collector.lag(part.partition, lag);
            }
        }
        Ok(if left == 0 { Polled::More } else { Polled::Wait(IDLE_WAIT) })
    }
}

impl Part {
    fn new(partition: Partition, path: PathBuf, initial: bool) -> Self {
        let (current, ignored, complained) = (None, None, None);
        let (tail, base, ended_at, lag) = (None, 0, None, None);
        Part { partition, path, initial, current, tail, base, ended_at, ignored, complained, lag }
    }
}

/// What a visit to a part needs besides the part.
struct Reader<'a> {
    context: &'a SourceContext,
    read_from: ReadFrom,
    grace: Duration,
    collector: &'a mut dyn Collector,
}

impl Reader<'_> {
    /// Reads on in `part`; returns how many bytes were taken, 0 if there are none for now.
    fn visit(&mut self, part: &mut Part, buffer: &mut Vec<u8>, want: usize) -> Result<usize> {
        let failed = |path: &PathBuf, cause| read_error(&self.context.name, path, cause);
        if part.tail.is_none() && !self.open(part, buffer)? {
            part.lag = Some(0);
            return Ok(0);
        }
        let Some(tail) = &mut part.tail else { return Ok(0) };
        let size = tail.metadata().map_err(|e| failed(&part.path, e))?.len();
        if size < tail.size_min() {
            let (name, path) = (&self.context.name, part.path.display());
            let bytes_lost = tail.restart(self.collector);
            tracing::warn!(source = name, %path, bytes_lost, "file was truncated; reading it from its start");
        }
        part.lag = Some(size.saturating_sub(tail.position()));
        if !tail.is_unchanged(size) {
            match tail.visit(buffer, want, false, self.collector).map_err(|e| failed(&part.path, e))? {
                Visit::Took(bytes) => {
                    part.lag = Some(size.saturating_sub(tail.position()));
                    part.ended_at = None;
                    return Ok(bytes);
                }
                Visit::AtEnd => part.ended_at = None,
                Visit::Gzip if part.initial => return Err(gzip_error(&self.context.name, &part.path)),
                Visit::Gzip => {
                    let (name, path) = (&self.context.name, part.path.display());
                    tracing::warn!(source = name, %path, "file is compressed and is not read; narrow the pattern");
                    part.ignored = Some(tail.key());
                    part.tail = None;
                    return Ok(0);
                }
            }
        }
        if part.current == Some(tail.key()) {
            part.ended_at = None;
        } else {
            self.leave(part, buffer)?;
        }
        Ok(0)
    }

    /// Opens the file that the path is now; false if there is none.
    fn open(&self, part: &mut Part, buffer: &mut Vec<u8>) -> Result<bool> {
        let Some(key) = part.current.filter(|key| part.ignored != Some(*key)) else { return Ok(false) };
        let failed = |cause| read_error(&self.context.name, &part.path, cause);
        let record_bytes_max = self.context.record_bytes_max;
        let mut tail = match Tail::open(&part.path, part.partition, part.base, record_bytes_max) {
            Ok(tail) => tail,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) if part.initial => return Err(failed(e)),
            // Whoever rotates may set the owner and the mode after creating the file.
            Err(e) => {
                if part.complained.replace(key) != Some(key) {
                    let error = failed(e);
                    tracing::warn!(source = self.context.name, %error, "cannot open a new file; trying again");
                }
                return Ok(false);
            }
        };
        // Rotated since the last look-up: the next one will tell which file is whose.
        if tail.key() != key {
            return Ok(false);
        }
        if part.initial && self.read_from == ReadFrom::End && part.base == 0 {
            tail.seek_end(buffer, record_bytes_max).map_err(failed)?;
        }
        part.tail = Some(tail);
        Ok(true)
    }

    /// Closes a file that is no longer the path's, once it has had nothing new for a while.
    fn leave(&mut self, part: &mut Part, buffer: &mut Vec<u8>) -> Result<()> {
        let since = part.ended_at.get_or_insert_with(Instant::now);
        if since.elapsed() < self.grace {
            return Ok(());
        }
        if let Some(mut tail) = part.tail.take() {
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

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::Path;

    use super::*;
    use crate::connectors::file::FileSource;
    use crate::connectors::lines::tests::{Heard, Said};
    use crate::connectors::source::SourceConnector;

    const RESCAN: Duration = Duration::from_millis(10);

    struct Following {
        dir: tempfile::TempDir,
        readers: Vec<Box<dyn SourceReader>>,
        heard: Heard,
    }

    impl Following {
        fn start(files: &[(&str, &str)], pattern: &str, from: ReadFrom) -> Self {
            Self::start_on(1, files, pattern, from)
        }

        fn start_on(workers: usize, files: &[(&str, &str)], pattern: &str, from: ReadFrom) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(dir.path().join(name), text).unwrap();
            }
            let source = FileSource::new([format!("{}/{pattern}", dir.path().display())]).follow(from).rescan(RESCAN);
            let open = |worker| {
                let context =
                    SourceContext { name: "logs".into(), worker, workers, record_bytes_max: 100, journals: None };
                source.open(&context).unwrap()
            };
            let readers = (0..workers).map(open).collect();
            Following { dir, readers, heard: Heard::default() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn append(&self, name: &str, text: &str) {
            append(&self.path(name), text);
        }

        fn rename(&self, from: &str, to: &str) {
            fs::rename(self.path(from), self.path(to)).unwrap();
        }

        fn poll(&mut self) -> Result<Polled> {
            let mut polled = Ok(Polled::Finished);
            for reader in &mut self.readers {
                polled = Ok(reader.poll(1_000_000, &mut self.heard)?);
            }
            polled
        }

        /// Polls until there are `count` records, and a little longer to see that there are no more.
        fn records(&mut self, count: usize) -> Vec<(u64, String)> {
            for _ in 0..2_000 {
                assert_eq!(self.poll().unwrap(), Polled::Wait(IDLE_WAIT));
                if self.heard.records().len() >= count {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            self.settle();
            self.heard.records()
        }

        /// Polls over several look-ups.
        fn settle(&mut self) {
            for _ in 0..30 {
                self.poll().unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn append(path: &Path, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn owned(records: &[(u64, &str)]) -> Vec<(u64, String)> {
        records.iter().map(|(offset, text)| (*offset, (*text).to_owned())).collect()
    }

    #[test]
    fn lines_are_read_as_they_are_completed() {
        let mut following = Following::start(&[("a.log", "one\ntw")], "a.log", ReadFrom::Start);
        assert_eq!(following.records(1), owned(&[(0, "one")]));
        assert_eq!(following.heard.caught_up.len(), 1, "an unfinished line is nothing yet");
        assert_eq!(following.heard.lag.values().sum::<u64>(), 2);
        following.append("a.log", "o\n");
        assert_eq!(following.records(2), owned(&[(0, "one"), (4, "two")]));
        assert_eq!(following.heard.lag.values().sum::<u64>(), 0);
    }

    #[test]
    fn following_from_the_end_skips_what_is_there_but_not_what_appears() {
        let mut following = Following::start(&[("a.log", "old\nhalf")], "*.log", ReadFrom::End);
        assert!(following.records(0).is_empty());
        following.append("a.log", " done\n");
        assert_eq!(following.records(1), owned(&[(4, "half done")]));
        following.append("b.log", "new\n");
        assert_eq!(following.records(2)[1], (0, "new".to_owned()));
        let joined = following.heard.said.iter().filter(|said| matches!(said, Said::Joined(..))).count();
        assert_eq!(joined, 2);
    }

    #[test]
    fn a_rotated_file_is_read_to_its_end_and_offsets_go_on() {
        let mut following = Following::start(&[("a.log", "one\n")], "a.log", ReadFrom::Start);
        following.records(1);
        following.rename("a.log", "a.log.1");
        following.append("a.log", "three\n");
        // The writer has not noticed the rotation yet.
        following.append("a.log.1", "two\nno newline");
        let expected = [(0, "one"), (4, "two"), (8, "no newline"), (18, "three")];
        assert_eq!(following.records(4), owned(&expected));
    }

    #[test]
    fn rotation_within_the_pattern_repeats_and_loses_nothing_on_any_number_of_workers() {
        for workers in 1..=3 {
            let files = [("a.log", "3\n"), ("a.log.1", "2\n"), ("a.log.2", "1\n")];
            let mut following = Following::start_on(workers, &files, "a.log*", ReadFrom::Start);
            assert_eq!(following.records(3).len(), 3);
            for round in 4..7 {
                fs::remove_file(following.path("a.log.2")).unwrap();
                following.rename("a.log.1", "a.log.2");
                following.rename("a.log", "a.log.1");
                following.append("a.log", &format!("{round}\n"));
                following.records(round);
            }
            assert_eq!(following.heard.texts(), ["1", "2", "3", "4", "5", "6"], "{workers} workers");
        }
    }

    #[test]
    fn a_truncated_file_is_read_from_its_start_and_offsets_go_on() {
        let mut following = Following::start(&[("a.log", "first\nsecond\nhalf")], "a.log", ReadFrom::Start);
        following.records(2);
        fs::write(following.path("a.log"), "new\n").unwrap();
        assert_eq!(following.records(3), owned(&[(0, "first"), (6, "second"), (17, "new")]));
    }

    #[test]
    fn a_file_that_is_deleted_and_made_again_is_one_partition() {
        let mut following = Following::start(&[("a.log", "one\n")], "a.log", ReadFrom::End);
        following.records(0);
        fs::remove_file(following.path("a.log")).unwrap();
        following.settle();
        assert_eq!(following.heard.caught_up.len(), 1, "a missing file is idle");
        following.append("a.log", "two\n");
        assert_eq!(following.records(1), owned(&[(4, "two")]));
        assert_eq!(following.heard.said.len(), 2);
    }

    #[test]
    fn a_pattern_without_a_file_waits_for_one() {
        let mut following = Following::start(&[], "*.log", ReadFrom::End);
        assert!(following.records(0).is_empty());
        following.append("new.log", "a\n");
        assert_eq!(following.records(1), owned(&[(0, "a")]));
    }

    #[test]
    fn compressed_files_are_an_error_at_the_start_and_left_out_later() {
        let mut following = Following::start(&[("a.log", "one\n")], "a.log*", ReadFrom::Start);
        following.records(1);
        fs::write(following.path("a.log.1.gz"), [0x1f, 0x8b, 8, b'\n']).unwrap();
        following.append("a.log", "two\n");
        assert_eq!(following.records(2), owned(&[(0, "one"), (4, "two")]));
        assert_eq!(following.heard.rejections(), []);

        let mut following = Following::start(&[("b.log", "")], "b.log", ReadFrom::Start);
        fs::write(following.path("b.log"), [0x1f, 0x8b, 8, b'\n']).unwrap();
        assert!(following.poll().unwrap_err().to_string().contains("gunzip"));
    }
}
