//! Reads a fixed list of files to their ends, a piece of each in turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::block::{FileBlock, replaced};
use super::discover::{FileKey, FoundFile};
use super::list::FileList;
use super::open::{is_out_of_files, open_files_max};
use super::tail::{READ_BYTES, Tail, Visit, compressed_error, read_error};
use crate::checkpoint::bindings::KnownPartition;
use crate::connectors::source::{Collector, Partition, Polled, SourceContext, SourceReader};
use crate::error::{Error, Result};

/// One worker's share of a list of files. It reads them in the order of their partitions; those beyond the limit of
/// open files are opened as others end.
pub(super) struct FiniteReader {
    source: Arc<str>,
    record_bytes_max: usize,
    /// All files, also those of other workers.
    list: Arc<FileList>,
    /// Partitions that must not be read at present.
    held: BTreeSet<Partition>,
    waiting: VecDeque<FiniteFile>,
    open: VecDeque<(FiniteFile, Tail)>,
    open_max: usize,
    /// Files that could not be opened when it was their turn; nothing was read of them.
    skipped: Vec<FiniteFile>,
    buffer: Vec<u8>,
    announced: bool,
}

struct FiniteFile {
    partition: Partition,
    path: Arc<Path>,
    key: FileKey,
    /// The first offset that is read.
    from: u64,
    /// Whether it must be read: it is named by its path, or earlier runs read it.
    required: bool,
    /// Whether it was read in this poll.
    touched: bool,
}

impl FiniteReader {
    /// The files in `known` have the partitions that they had in earlier runs, and others follow, in the order of
    /// `list`.
    pub(super) fn new(context: &SourceContext, list: Arc<FileList>, known: &[KnownPartition]) -> Result<Self> {
        let mut waiting = VecDeque::new();
        let numbers = number(&context.name, &list.files, known)?;
        for (partition, found) in numbers.into_iter().map(Partition).zip(list.files.iter()) {
            if context.owns(partition) {
                let (path, key) = (found.path.as_path().into(), found.key);
                let known = known.iter().find(|known| known.partition == partition.0);
                let from = known.map_or(0, |known| known.from);
                let required = found.named || known.is_some_and(|known| known.next > 0);
                waiting.push_back(FiniteFile { partition, path, key, from, required, touched: false });
            }
        }
        let mut reader = FiniteReader {
            source: context.name.as_str().into(),
            record_bytes_max: context.record_bytes_max,
            list,
            held: BTreeSet::new(),
            waiting,
            open: VecDeque::new(),
            open_max: open_files_max(context.workers),
            skipped: Vec::new(),
            buffer: Vec::new(),
            announced: false,
        };
        // An unreadable file is a mistake to report at the start, not hours later.
        reader.open_waiting()?;
        Ok(reader)
    }

    fn open_waiting(&mut self) -> Result<()> {
        while self.open.len() < self.open_max
            && let Some(part) = self.waiting.pop_front()
        {
            let opened = Tail::open(&part.path, part.partition, 0, self.record_bytes_max);
            let mut tail = match opened {
                Ok(tail) if tail.key() == part.key => tail,
                Ok(_) => return Err(replaced(&self.source, &part.path)),
                // Others use up the process's descriptors: the files that are open must suffice.
                Err(why) if is_out_of_files(&why) && !self.open.is_empty() => {
                    self.open_max = self.open.len();
                    self.waiting.push_front(part);
                    return Ok(());
                }
                Err(why) if part.required || is_out_of_files(&why) => {
                    return Err(read_error(&self.source, &part.path, why));
                }
                Err(why) => {
                    self.list.skip(&self.source, &part.path, &why);
                    self.skipped.push(part);
                    continue;
                }
            };
            tail.seek_line(&mut self.buffer, part.from).map_err(|e| read_error(&self.source, &part.path, e))?;
            self.open.push_back((part, tail));
        }
        Ok(())
    }

    fn tell_lag(&mut self, collector: &mut dyn Collector) -> Result<()> {
        for (part, tail) in self.open.iter_mut().filter(|(part, _)| part.touched) {
            part.touched = false;
            let size = tail.metadata().map_err(|e| read_error(&self.source, &part.path, e))?.len();
            collector.lag(part.partition, size.saturating_sub(tail.position()));
        }
        Ok(())
    }
}

impl SourceReader for FiniteReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        if !self.announced {
            self.announced = true;
            for part in self.open.iter().map(|(part, _)| part).chain(&self.waiting).chain(&self.skipped) {
                collector.joined(part.partition, &part.path.to_string_lossy());
            }
            self.list.report_skips(collector);
        }
        let mut left = budget_bytes.max(1);
        let mut passed = 0;
        while left > 0 && passed < self.open.len().max(1) {
            let Some((part, tail)) = self.open.front_mut() else { break };
            if self.held.contains(&part.partition) {
                passed += 1;
                self.open.rotate_left(1);
                continue;
            }
            passed = 0;
            let cannot = |cause| read_error(&self.source, &part.path, cause);
            if collector.takes_blocks(part.partition)
                && let Some(lines) = tail.take_lines(&mut self.buffer, collector.block_bytes()).map_err(cannot)?
            {
                let (file, position, size) = lines;
                let (source, path, key) = (Arc::clone(&self.source), Arc::clone(&part.path), part.key);
                collector.block(part.partition, Box::new(FileBlock { source, path, key, file, position, size }));
                part.touched = true;
                left = left.saturating_sub(size);
                self.open.rotate_left(1);
                continue;
            }
            let want = left.min(READ_BYTES);
            let visit = tail.visit(&mut self.buffer, want, true, collector).map_err(cannot)?;
            match visit {
                Visit::Compressed(program) => return Err(compressed_error(&self.source, &part.path, program)),
                Visit::Took(bytes) => {
                    part.touched = true;
                    left = left.saturating_sub(bytes);
                    self.open.rotate_left(1);
                }
                Visit::AtEnd => {
                    collector.lag(part.partition, 0);
                    collector.ended(part.partition);
                    self.open.pop_front();
                    self.open_waiting()?;
                }
            }
        }
        self.tell_lag(collector)?;
        if !self.skipped.is_empty() {
            self.skipped.drain(..).for_each(|part| collector.ended(part.partition));
            self.list.report_skips(collector);
        }
        if self.open.is_empty() {
            self.buffer = Vec::new();
            return Ok(Polled::Finished);
        }
        Ok(Polled::More)
    }

    fn partitions(&self) -> Option<usize> {
        Some(self.list.files.len())
    }

    fn hold(&mut self, partition: Partition, held: bool) {
        if held {
            self.held.insert(partition);
        } else {
            self.held.remove(&partition);
        }
    }
}

/// The partition number of each file in `list`.
fn number(source: &str, list: &[FoundFile], known: &[KnownPartition]) -> Result<Vec<u32>> {
    let mut by_label: BTreeMap<&str, &KnownPartition> =
        known.iter().map(|known| (known.label.as_str(), known)).collect();
    let mut next = known.iter().map(|known| known.partition + 1).max().unwrap_or(0);
    let mut numbers = Vec::with_capacity(list.len());
    for found in list {
        numbers.push(match by_label.remove(&*found.path.to_string_lossy()) {
            Some(known) => {
                let size = fs::metadata(&found.path).map_err(|why| read_error(source, &found.path, why))?.len();
                if size < known.next {
                    let path = &found.path;
                    let message = format!(
                        "source {source:?}: {path:?} has {size} bytes, and earlier runs read {} of it",
                        known.next
                    );
                    return Err(Error::source(message).hint("restore the file, or begin with a new state directory"));
                }
                known.partition
            }
            None => {
                next = next.checked_add(1).ok_or_else(|| {
                    Error::source(format!("source {source:?} has too many files")).hint("narrow the pattern")
                })?;
                next - 1
            }
        });
    }
    // If the checkpoint covers a file to its end, the file is not needed any more.
    match by_label.into_values().find(|known| !(known.ended && known.from == known.next)) {
        None => Ok(numbers),
        Some(KnownPartition { label, .. }) => {
            let message = format!("source {source:?}: {label:?}, which earlier runs read, is gone or cannot be read");
            Err(Error::source(message).hint("restore the file, or begin with a new state directory"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::open::OPEN_FILES_MAX;
    use super::*;
    use crate::connectors::file::FileSource;
    use crate::connectors::lines::Splitter;
    use crate::connectors::lines::tests::{Call, Calls};
    use crate::connectors::source::Block;
    use crate::connectors::source::SourceConnector;
    use crate::record::Reason;
    use crate::telemetry::SkipReason;

    fn context(worker: usize, workers: usize) -> SourceContext {
        SourceContext { name: "logs".into(), worker, workers, record_bytes_max: 10, journals: None }
    }

    fn source(dir: &Path, pattern: &str) -> FileSource {
        FileSource::new([format!("{}/{pattern}", dir.display())])
    }

    fn read(source: &FileSource, context: &SourceContext, budget: usize) -> Calls {
        let mut heard = Calls::default();
        let mut reader = source.open(context).unwrap();
        loop {
            heard.lag_calls = 0;
            let polled = reader.poll(budget, &mut heard).unwrap();
            assert!(heard.lag_calls <= heard.said.len() + 3, "lag is told per poll, not per record");
            if polled == Polled::Finished {
                return heard;
            }
        }
    }

    #[test]
    fn resumes_with_the_first_line_at_or_after_an_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        for end in ["", "\n"] {
            fs::write(&path, format!("one\n\ntwo\r\n01234567890\nlast{end}")).unwrap();
            let all = read(&source(dir.path(), "a.log"), &context(0, 1), 1_000).said;
            for from in 0..fs::metadata(&path).unwrap().len() + 1 {
                let known = KnownPartition {
                    partition: 0,
                    label: path.to_str().unwrap().to_owned(),
                    from,
                    next: from,
                    ended: false,
                    identity: None,
                };
                let (mut heard, source) = (Calls::default(), source(dir.path(), "a.log"));
                let mut reader = source.reopen(&context(0, 1), &[known]).unwrap();
                while reader.poll(1_000, &mut heard).unwrap() != Polled::Finished {}
                let at_or_after = |said: &&Call| match said {
                    Call::Record(_, offset, _) | Call::Rejected(_, offset, ..) => *offset >= from,
                    Call::Joined(..) | Call::Ended(_) => true,
                };
                assert_eq!(heard.said, all.iter().filter(at_or_after).cloned().collect::<Vec<_>>(), "from {from}");
            }
        }
    }

    #[test]
    fn every_line_has_the_offset_of_its_first_byte() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.log"), "one\r\n\ntwo\n0123456789\n01234567890\nend").unwrap();
        let heard = read(&source(dir.path(), "a.log"), &context(0, 1), 1_000);
        let records: Vec<(u64, &str)> = vec![(0, "one\r"), (6, "two"), (10, "0123456789"), (33, "end")];
        assert_eq!(heard.records(), records.into_iter().map(|(o, t)| (o, t.to_owned())).collect::<Vec<_>>());
        assert_eq!(heard.rejections(), [(21, 11, 11)]);
        assert_eq!(heard.lag[&0], 0);
        assert!(heard.caught_up.is_empty(), "the end of a finite file is no idleness");
    }

    /// Takes blocks, and reads their records when they are finally read.
    #[derive(Default)]
    struct InBlocks {
        heard: Calls,
        blocks: Vec<(Partition, Box<dyn Block>)>,
    }

    impl Collector for InBlocks {
        fn joined(&mut self, partition: Partition, label: &str) {
            self.heard.joined(partition, label);
        }

        fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
            self.heard.record(partition, offset, bytes);
        }

        fn takes_blocks(&self, _: Partition) -> bool {
            true
        }

        fn block(&mut self, partition: Partition, block: Box<dyn Block>) {
            self.blocks.push((partition, block));
        }

        fn rejected(
            &mut self,
            partition: Partition,
            offset: u64,
            size: u64,
            head: &[u8],
            reason: Reason,
            detail: &str,
        ) {
            self.heard.rejected(partition, offset, size, head, reason, detail);
        }

        fn caught_up(&mut self, partition: Partition) {
            self.heard.caught_up(partition);
        }

        fn lag(&mut self, partition: Partition, lag: u64) {
            self.heard.lag(partition, lag);
        }

        fn ended(&mut self, partition: Partition) {
            self.heard.ended(partition);
        }
    }

    #[test]
    fn blocks_hold_the_lines_that_are_not_handed_over() {
        let dir = tempfile::tempdir().unwrap();
        // Short and empty lines, lines that are too long, and one in which no end is found for a while.
        let lines = (0..600_000).map(|i| match i {
            300_000 => "x".repeat(3 * 512 * 1024),
            _ => [
                "",
                "\r",
                "0123456789",
                "01234567890",
                "\0\0",
                "\0\0\0hole",
                "\u{feff}mark",
                "\0\u{feff}0123456789",
                "a\0",
            ]
            .get(i % 97)
            .map_or(format!("{i}"), |s| (*s).to_owned()),
        });
        fs::write(dir.path().join("a.log"), lines.collect::<Vec<_>>().join("\n")).unwrap();
        let source = source(dir.path(), "a.log");
        let expected = read(&source, &context(0, 1), 100_000);

        let (mut found, mut reader) = (InBlocks::default(), source.open(&context(0, 1)).unwrap());
        while reader.poll(100_000, &mut found).unwrap() == Polled::More {}
        let InBlocks { mut heard, blocks } = found;
        let in_blocks: usize = blocks.iter().map(|(_, block)| block.size()).sum();
        assert!(in_blocks > 2 * 512 * 1024, "{in_blocks} bytes in blocks");
        for (partition, block) in blocks {
            let mut bytes = Vec::new();
            block.read(&mut bytes).unwrap();
            assert_eq!((bytes.len(), bytes.last()), (block.size(), Some(&b'\n')));
            let used = Splitter::new(partition, 10).split(block.offset(), &bytes, &mut heard);
            assert_eq!(used, bytes.len());
        }
        let sorted = |mut said: Vec<Call>| {
            said.sort();
            said
        };
        assert!(sorted(heard.said) == sorted(expected.said), "blocks and lines differ");
    }

    #[test]
    fn a_file_that_shrank_before_its_block_was_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "123456789\n".repeat(100_000)).unwrap();
        let (mut found, mut reader) = (InBlocks::default(), source(dir.path(), "a.log").open(&context(0, 1)).unwrap());
        while found.blocks.is_empty() {
            reader.poll(100_000, &mut found).unwrap();
        }
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1_000).unwrap();
        let error = found.blocks[0].1.read(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("a.log") && error.contains("was truncated before byte"), "{error}");
    }

    #[test]
    fn files_are_partitions_in_the_order_of_their_paths_shared_by_workers() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("c.log", "c"), ("a.log", "a1\na2\n"), ("b.log", "")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let source = source(dir.path(), "*.log");
        let first = read(&source, &context(0, 2), 1);
        assert_eq!(first.texts(), ["a1", "a2", "c"]);
        let label = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        assert_eq!(first.said[..2], [Call::Joined(0, label("a.log")), Call::Joined(2, label("c.log"))]);
        let second = read(&source, &context(1, 2), 1);
        assert_eq!(second.said, [Call::Joined(1, label("b.log")), Call::Ended(1)]);
        assert_eq!(read(&source, &context(2, 4), 1).said.len(), 3);
        assert!(read(&source, &context(3, 4), 1).said.is_empty());
    }

    #[test]
    fn files_take_turns_and_a_poll_keeps_to_its_budget() {
        let dir = tempfile::tempdir().unwrap();
        let line = "123456789\n";
        for name in ["a", "b"] {
            fs::write(dir.path().join(name), line.repeat(4_000)).unwrap();
        }
        let mut reader = source(dir.path(), "*").open(&context(0, 1)).unwrap();
        let mut heard = Calls::default();
        assert_eq!(reader.poll(8_192, &mut heard).unwrap(), Polled::More);
        let taken = heard.records().len() * line.len();
        assert!((8_100..=12_288).contains(&taken), "{taken}");
        assert_eq!(heard.lag_calls, 2, "both files were read");
        assert!(heard.lag[&0] > 0 && heard.lag[&0] < 40_000);
    }

    #[test]
    fn more_files_than_may_be_open_are_all_read() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..OPEN_FILES_MAX + 3 {
            fs::write(dir.path().join(format!("{i:04}.log")), format!("{i}\n")).unwrap();
        }
        let heard = read(&source(dir.path(), "*.log"), &context(0, 1), 1_000_000);
        assert_eq!(heard.texts().len(), OPEN_FILES_MAX + 3);
    }

    #[test]
    fn a_link_to_a_file_that_is_read_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1.log"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("1.log"), dir.path().join("latest.log")).unwrap();
        assert_eq!(read(&source(dir.path(), "*.log"), &context(0, 1), 1_000).texts(), ["x"]);
    }

    #[test]
    fn what_a_glob_matches_and_cannot_be_read_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.log"), "one").unwrap();
        fs::write(at("b.log"), [0x1f, 0x8b, 8, 0, b'\n']).unwrap();
        fs::write(at("c.log"), "two").unwrap();
        fs::hard_link(at("c.log"), at("d.log")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("e.log")).unwrap();
        let source = source(dir.path(), "*.log");
        let heard = read(&source, &context(0, 1), 1_000);
        assert_eq!(heard.texts(), ["one", "two"]);
        let skipped = [SkipReason::Compressed, SkipReason::Duplicate, SkipReason::BrokenLink].map(|reason| (reason, 1));
        assert_eq!(heard.skipped, skipped.into());
        let joined = heard.said.iter().filter(|said| matches!(said, Call::Joined(..))).count();
        assert_eq!(joined, 2, "what is not read is no partition");
    }

    #[test]
    fn a_file_that_is_gone_when_it_is_its_turn_is_left_out_unless_it_must_be_there() {
        for (pattern, named) in [("*.log", false), ("b.log", true)] {
            let dir = tempfile::tempdir().unwrap();
            for name in ["a.log", "b.log"] {
                fs::write(dir.path().join(name), name).unwrap();
            }
            let patterns = ["a.log", pattern].map(|pattern| format!("{}/{pattern}", dir.path().display()));
            let list = Arc::new(FileList::new("logs", &patterns).unwrap());
            fs::remove_file(dir.path().join("b.log")).unwrap();
            let reader = FiniteReader::new(&context(0, 1), list, &[]);
            if named {
                assert!(reader.err().unwrap().to_string().contains("b.log"));
                continue;
            }
            let (mut heard, mut reader) = (Calls::default(), reader.unwrap());
            while reader.poll(1_000, &mut heard).unwrap() != Polled::Finished {}
            assert_eq!(heard.texts(), ["a.log"]);
            assert_eq!(heard.said.iter().filter(|said| matches!(said, Call::Ended(_))).count(), 2);
            assert_eq!(heard.skipped, [(SkipReason::Unreadable, 1)].into());
        }
    }

    #[test]
    fn files_wait_for_their_turn_where_fewer_may_be_open() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..9 {
            fs::write(dir.path().join(format!("{i}.log")), format!("{i}\n")).unwrap();
        }
        let list = Arc::new(FileList::new("logs", &[format!("{}/*", dir.path().display())]).unwrap());
        let mut reader = FiniteReader::new(&context(0, 1), list, &[]).unwrap();
        reader.open_max = 2;
        let mut heard = Calls::default();
        while reader.poll(1, &mut heard).unwrap() != Polled::Finished {}
        assert_eq!(heard.texts().len(), 9);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = |pattern: &str| {
            let mut heard = Calls::default();
            let opened = source(dir.path(), pattern).open(&context(0, 1));
            let error = opened.and_then(|mut reader| reader.poll(1_000, &mut heard)).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::Source);
            error.to_string()
        };
        assert!(error("*.log").contains("no file matches"));
        assert!(error("gone.log").contains("there is no file"));
        assert!(error("gone.log").contains("sources.logs.path"));
        assert!(error("").contains("is a directory"));
        fs::write(dir.path().join("a.gz"), [0x1f, 0x8b, 8, 0, b'\n']).unwrap();
        assert!(error("a.gz").contains("gzip -dc"));
        assert!(error("*.gz").contains("gzip -dc"), "there is nothing else to read");
    }
}
