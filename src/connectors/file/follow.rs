//! Follows files as they grow, are rotated, are truncated and appear.
//!
//! Offsets count the bytes of a *path*: the file that follows a rotated or truncated one continues where that one
//! ended, so they only ever grow. A rotated file is read to its end, and one look-up longer, because its writer may
//! still have it open.
//!
//! The number of files that are open at once is bounded: one without news is closed if another has to be opened.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::catalog::{Catalog, Followed};
use super::followed::{FollowedFile, VisitContext, Visited};
use super::open::open_files_max;
use super::source::ReadFrom;
use super::tail::READ_BYTES;
use crate::connectors::source::{Collector, Partition, Polled, SourceContext, SourceReader};
use crate::error::Result;

/// How soon files without news are checked again.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// One worker's share of the followed paths.
pub(super) struct FollowReader {
    context: SourceContext,
    catalog: Arc<Catalog>,
    version: u64,
    read_from: ReadFrom,
    files: Vec<FollowedFile>,
    /// The index in `files` of each partition.
    places: BTreeMap<Partition, usize>,
    /// The file to visit next.
    next: usize,
    buffer: Vec<u8>,
    descriptors: Descriptors,
}

/// Tracks which files are open.
struct Descriptors {
    /// Indexes of files, in the order in which they were opened or were last seen to grow. Some may have been closed.
    open: VecDeque<usize>,
    max: usize,
    /// Nothing could be closed in this poll.
    exhausted: bool,
}

impl Descriptors {
    /// Whether the file at `place` can be opened; another one that is idle is closed if necessary.
    fn make_room(&mut self, place: usize, files: &mut [FollowedFile]) -> bool {
        self.open.retain(|open| *open != place && files[*open].is_open());
        if self.open.len() >= self.max {
            let closed = !self.exhausted && (0..self.open.len()).any(|_| self.close_one(files));
            self.exhausted |= !closed;
            if !closed {
                return false;
            }
        }
        self.open.push_back(place);
        true
    }

    /// Closes the first file if it is idle; otherwise moves it to the end.
    fn close_one(&mut self, files: &mut [FollowedFile]) -> bool {
        let Some(first) = self.open.pop_front() else { return false };
        let closed = files[first].park();
        if !closed {
            self.open.push_back(first);
        }
        closed
    }

    /// The operating system refused to open another file: fewer must suffice.
    fn reduce(&mut self, source: &str, files: &[FollowedFile]) {
        self.open.retain(|open| files[*open].is_open());
        self.exhausted = true;
        let open = self.open.len().max(1);
        if open < self.max {
            self.max = open;
            tracing::warn!(
                source,
                open,
                "the limit of open files is reached: files take turns; raise it (ulimit -n), or follow fewer files"
            );
        }
    }
}

impl FollowReader {
    pub(super) fn new(context: &SourceContext, catalog: Arc<Catalog>, read_from: ReadFrom) -> Self {
        let max = open_files_max(context.workers);
        FollowReader {
            context: context.clone(),
            catalog,
            version: 0,
            read_from,
            files: Vec::new(),
            places: BTreeMap::new(),
            next: 0,
            buffer: Vec::new(),
            descriptors: Descriptors { open: VecDeque::new(), max, exhausted: false },
        }
    }

    fn refresh(&mut self, collector: &mut dyn Collector) {
        let Some(changes) = self.catalog.changes(&mut self.version) else { return };
        for followed in changes {
            let Followed { partition, file, .. } = followed;
            if !self.context.owns(partition) {
                continue;
            }
            let place = *self.places.entry(partition).or_insert_with(|| {
                collector.joined(partition, &followed.path.to_string_lossy());
                self.files.push(FollowedFile::new(followed));
                self.files.len() - 1
            });
            self.files[place].becomes(file);
        }
        self.catalog.report_skips(collector);
    }

    /// Visits the file at `place`, after making room if it has to be opened.
    fn visit(&mut self, place: usize, want: usize, collector: &mut dyn Collector) -> Result<Visited> {
        if self.files[place].must_open(self.catalog.rescan()) && !self.descriptors.make_room(place, &mut self.files) {
            return Ok(Visited::Waiting);
        }
        let mut reader =
            VisitContext { context: &self.context, read_from: self.read_from, catalog: &self.catalog, collector };
        let visited = reader.visit(&mut self.files[place], &mut self.buffer, want)?;
        if matches!(visited, Visited::OutOfFiles) {
            self.descriptors.reduce(&self.context.name, &self.files);
        }
        Ok(visited)
    }
}

impl SourceReader for FollowReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        self.refresh(collector);
        self.descriptors.exhausted = false;
        let mut left = budget_bytes.max(1);
        let mut idle = 0;
        while left > 0 && idle < self.files.len() {
            let place = self.next;
            match self.visit(place, left.min(READ_BYTES), collector)? {
                Visited::Took(bytes) => {
                    left = left.saturating_sub(bytes);
                    idle = 0;
                }
                Visited::Nothing => {
                    collector.caught_up(self.files[place].partition);
                    idle += 1;
                }
                // Whether there is news is unknown.
                Visited::Waiting | Visited::OutOfFiles => idle += 1,
            }
            self.next = (place + 1) % self.files.len();
        }
        for file in &mut self.files {
            if let Some(lag) = file.lag.take() {
                collector.lag(file.partition, lag);
            }
        }
        self.catalog.report_skips(collector);
        Ok(if left == 0 { Polled::More } else { Polled::Wait(IDLE_WAIT) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::connectors::file::FileSource;
    use crate::connectors::lines::tests::{Call, Calls};
    use crate::connectors::source::SourceConnector;
    use crate::telemetry::SkipReason;

    const RESCAN: Duration = Duration::from_millis(10);

    struct Following {
        dir: tempfile::TempDir,
        readers: Vec<Box<dyn SourceReader>>,
        heard: Calls,
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
            Following { dir, readers, heard: Calls::default() }
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

        /// Polls until there are `count` records, and a little longer to check that there are no more.
        fn records(&mut self, count: usize) -> Vec<(u64, String)> {
            for _ in 0..2_000 {
                let polled = self.poll().unwrap();
                assert!([Polled::Wait(IDLE_WAIT), Polled::More].contains(&polled), "{polled:?}");
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
        let joined = following.heard.said.iter().filter(|said| matches!(said, Call::Joined(..))).count();
        assert_eq!(joined, 2);
    }

    #[test]
    fn a_rotated_file_is_read_to_its_end_and_offsets_continue() {
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
    fn a_truncated_file_is_read_from_its_start_and_offsets_continue() {
        let mut following = Following::start(&[("a.log", "first\nsecond\nhalf")], "a.log", ReadFrom::Start);
        following.records(2);
        fs::write(following.path("a.log"), "new\n").unwrap();
        assert_eq!(following.records(3), owned(&[(0, "first"), (6, "second"), (17, "new")]));
    }

    #[test]
    fn a_file_that_is_deleted_and_recreated_is_one_partition() {
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
    fn what_cannot_be_read_hides_no_file_that_appears_later() {
        let mut following = Following::start(&[("a.log", "one\n")], "*.log", ReadFrom::Start);
        following.records(1);
        let at = |name: &str| following.path(name);
        std::os::unix::fs::symlink("loop.log", at("loop.log")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling.log")).unwrap();
        fs::create_dir(at("folder.log")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe.log")).status().unwrap().success());
        following.settle();
        following.append("a.log", "two\n");
        following.append("b\n\x1b[31m.log", "three\n");
        assert_eq!(following.records(3), owned(&[(0, "one"), (4, "two"), (0, "three")]));
        let skipped = [(SkipReason::NotAFile, 2), (SkipReason::BrokenLink, 2)];
        assert_eq!(following.heard.skipped, skipped.into());
        // It becomes a file after all.
        fs::remove_file(following.path("dangling.log")).unwrap();
        following.append("dangling.log", "four\n");
        assert_eq!(following.records(4)[3], (0, "four".to_owned()));
    }

    #[test]
    fn a_file_that_gives_way_to_something_else_is_waited_for() {
        for case in ["folder", "pipe", "loop", "no folder"] {
            let mut following = Following::start(&[("a.log", "one\n")], "a.log", ReadFrom::Start);
            following.records(1);
            let path = following.path("a.log");
            fs::remove_file(&path).unwrap();
            match case {
                "folder" => fs::create_dir(&path).unwrap(),
                "pipe" => assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()),
                "loop" => std::os::unix::fs::symlink("a.log", &path).unwrap(),
                _ => fs::remove_dir(following.dir.path()).unwrap(),
            }
            following.settle();
            match case {
                "folder" => fs::remove_dir(&path).unwrap(),
                "no folder" => fs::create_dir(following.dir.path()).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
            following.append("a.log", "two\n");
            assert_eq!(following.records(2), owned(&[(0, "one"), (4, "two")]), "{case}");
        }
    }

    #[test]
    fn a_writer_that_continues_at_its_old_position_after_a_truncation_loses_nothing() {
        for size in [8, 300, 3 * 1024 * 1024] {
            let line = "x".repeat(7);
            let mut following = Following::start(&[("a.log", "")], "a.log", ReadFrom::Start);
            let mut writer = OpenOptions::new().write(true).open(following.path("a.log")).unwrap();
            writer.write_all(format!("{line}\n").repeat(size / 8).as_bytes()).unwrap();
            following.records(size / 8);
            OpenOptions::new().write(true).open(following.path("a.log")).unwrap().set_len(0).unwrap();
            following.settle();
            writer.write_all(b"after\nand more\n").unwrap();
            let records = following.records(size / 8 + 2);
            let written = (size / 8 * 8) as u64;
            assert_eq!(records.len(), size / 8 + 2);
            // The line begins with the hole, whose first byte follows everything that was there before.
            assert_eq!(records[size / 8], (written, "after".to_owned()));
            assert_eq!(records[size / 8 + 1], (2 * written + 6, "and more".to_owned()));
            assert_eq!(following.heard.rejections(), []);
        }
    }

    #[test]
    fn more_files_than_may_be_open_are_all_followed() {
        const FILES: usize = 12;
        let names: Vec<String> = (0..FILES).map(|i| format!("{i:02}.log")).collect();
        let start: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "old\nhal")).collect();
        for from in [ReadFrom::Start, ReadFrom::End] {
            let mut following = Following::start(&start, "*.log", from);
            let catalog =
                Catalog::start("logs", vec![format!("{}/*.log", following.dir.path().display())], RESCAN).unwrap();
            let context =
                SourceContext { name: "logs".into(), worker: 0, workers: 1, record_bytes_max: 100, journals: None };
            let mut reader = FollowReader::new(&context, catalog, from);
            reader.descriptors.max = 3;
            following.readers = vec![Box::new(reader)];
            let old = if from == ReadFrom::Start { FILES } else { 0 };
            assert_eq!(following.records(old).len(), old);
            assert_eq!(following.heard.caught_up.len(), FILES);
            for (i, name) in names.iter().enumerate() {
                following.append(name, "f\n");
                match i % 3 {
                    // Written to, then rotated, both while it is closed; the new one is longer.
                    0 => {
                        following.rename(name, &format!("{name}.1"));
                        following.append(name, "after rotation\n");
                    }
                    1 => following.append(name, "more\n"),
                    _ => {}
                }
            }
            let records = following.records(old + FILES + 2 * FILES / 3);
            let count = |text: &str| records.iter().filter(|(_, found)| found == text).count();
            assert_eq!((count("old"), count("half")), (old, FILES), "{from:?}");
            assert_eq!((count("after rotation"), count("more")), (FILES / 3, FILES / 3), "{from:?}");
            assert!(records.iter().all(|(offset, text)| match text.as_str() {
                "old" => *offset == 0,
                "half" => *offset == 4,
                _ => *offset == 9,
            }));
        }
    }

    #[test]
    fn compressed_files_are_an_error_at_the_start_and_left_out_later() {
        let mut following = Following::start(&[("a.log", "one\n")], "a.log*", ReadFrom::Start);
        following.records(1);
        fs::write(following.path("a.log.1.gz"), [0x1f, 0x8b, 8, b'\n']).unwrap();
        following.append("a.log", "two\n");
        assert_eq!(following.records(2), owned(&[(0, "one"), (4, "two")]));
        assert_eq!(following.heard.rejections(), []);

        assert_eq!(following.heard.skipped, [(SkipReason::Compressed, 1)].into());

        let mut following = Following::start(&[("a.log", "one\n"), ("a.log.2", "\x28")], "a.log*", ReadFrom::Start);
        fs::write(following.path("a.log.2"), b"\xfd7zXZ\0..\n").unwrap();
        assert_eq!(following.records(1), owned(&[(0, "one")]));
        assert_eq!(following.heard.skipped, [(SkipReason::Compressed, 1)].into());

        let mut following = Following::start(&[("b.log", "")], "b.log", ReadFrom::Start);
        fs::write(following.path("b.log"), [0x1f, 0x8b, 8, b'\n']).unwrap();
        assert!(following.poll().unwrap_err().to_string().contains("gzip -dc"));
    }
}
