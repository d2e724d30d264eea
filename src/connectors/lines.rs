//! Splits bytes into lines: what a record is in a file and on standard input.
//!
//! A record is a line without its `\n`; a `\r` before it is left to the decoder. An empty line (also one that holds only a
//! `\r`) is no record. A line longer than the limit is rejected once, with its size and the head of it, and is skipped in
//! flat memory. What comes out depends on the bytes alone, never on how they were cut into pieces.

use memchr::{memchr, memchr_iter};

use super::source::{Collector, Partition};
use crate::record::{DEAD_LETTER_BYTES_MAX, Reason};

/// Splits the bytes of one partition.
#[derive(Debug)]
pub(crate) struct Splitter {
    partition: Partition,
    record_bytes_max: usize,
    skip: Option<Skip>,
}

/// A line that is already known to be too long, up to where it has been read.
#[derive(Debug)]
struct Skip {
    offset: u64,
    size: u64,
    head: Vec<u8>,
}

impl Skip {
    fn extend(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        let room = DEAD_LETTER_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Splitter {
    /// A splitter of `partition` that rejects lines of more than `record_bytes_max` bytes.
    pub(crate) fn new(partition: Partition, record_bytes_max: usize) -> Self {
        Splitter { partition, record_bytes_max, skip: None }
    }

    /// Hands over the complete lines of `bytes`, whose first byte is at `offset`, and returns how many bytes are done with.
    ///
    /// The rest, at most `record_bytes_max` bytes, is the beginning of a line: give it again with more bytes behind it.
    pub(crate) fn split(&mut self, offset: u64, bytes: &[u8], collector: &mut dyn Collector) -> usize {
        let mut start = 0;
        if let Some(skip) = &mut self.skip {
            let Some(end) = memchr(b'\n', bytes) else {
                skip.extend(bytes);
                return bytes.len();
            };
            skip.extend(&bytes[..end]);
            self.reject_skipped(collector);
            start = end + 1;
        }
        let searched = start;
        for end in memchr_iter(b'\n', &bytes[searched..]) {
            let end = searched + end;
            self.line(offset + start as u64, &bytes[start..end], collector);
            start = end + 1;
        }
        let rest = &bytes[start..];
        if rest.len() > self.record_bytes_max {
            let mut skip = Skip { offset: offset + start as u64, size: 0, head: Vec::new() };
            skip.extend(rest);
            self.skip = Some(skip);
            start = bytes.len();
        }
        start
    }

    /// Whether it is in the middle of a line that is too long.
    pub(crate) fn is_skipping(&self) -> bool {
        self.skip.is_some()
    }

    /// Hands over `rest`, the bytes after the last newline, at `offset`: nothing will follow them.
    pub(crate) fn finish(&mut self, offset: u64, rest: &[u8], collector: &mut dyn Collector) {
        match &mut self.skip {
            Some(skip) => {
                skip.extend(rest);
                self.reject_skipped(collector);
            }
            None => self.line(offset, rest, collector),
        }
    }

    #[inline]
    fn line(&self, offset: u64, line: &[u8], collector: &mut dyn Collector) {
        if line.len() > self.record_bytes_max {
            let head = &line[..line.len().min(DEAD_LETTER_BYTES_MAX)];
            self.reject(offset, line.len() as u64, head, collector);
        } else if !is_empty(line) {
            collector.record(self.partition, offset, line);
        }
    }

    fn reject_skipped(&mut self, collector: &mut dyn Collector) {
        if let Some(skip) = self.skip.take() {
            self.reject(skip.offset, skip.size, &skip.head, collector);
        }
    }

    fn reject(&self, offset: u64, size: u64, head: &[u8], collector: &mut dyn Collector) {
        let detail = too_large(size, self.record_bytes_max);
        collector.rejected(self.partition, offset, size, head, Reason::TooLarge, &detail);
    }
}

/// Where the lines of `bytes` end, each at its newline.
pub(crate) fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    memchr_iter(b'\n', bytes)
}

/// Whether the line is no record.
pub(crate) fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"" | b"\r")
}

/// Why a line of `size` bytes is rejected.
#[cold]
pub(crate) fn too_large(size: u64, record_bytes_max: usize) -> String {
    format!("the line has {size} bytes; record_bytes_max is {record_bytes_max}")
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader said, one entry per call.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) enum Said {
        Joined(u32, String),
        Record(u32, u64, Vec<u8>),
        Rejected(u32, u64, u64, Vec<u8>),
        Ended(u32),
    }

    /// A collector that remembers; `caught_up` and `lag` keep only the last of each partition.
    #[derive(Debug, Default)]
    pub(crate) struct Heard {
        pub(crate) said: Vec<Said>,
        pub(crate) caught_up: std::collections::BTreeSet<u32>,
        pub(crate) lag: std::collections::BTreeMap<u32, u64>,
        pub(crate) lag_calls: usize,
    }

    impl Heard {
        /// Records as `(offset, text)`, over all partitions in the order they came.
        pub(crate) fn records(&self) -> Vec<(u64, String)> {
            let record = |said: &Said| match said {
                Said::Record(_, offset, bytes) => Some((*offset, String::from_utf8_lossy(bytes).into_owned())),
                _ => None,
            };
            self.said.iter().filter_map(record).collect()
        }

        /// The texts of the records, sorted.
        pub(crate) fn texts(&self) -> Vec<String> {
            let mut texts: Vec<String> = self.records().into_iter().map(|(_, text)| text).collect();
            texts.sort();
            texts
        }

        /// The rejected lines as `(offset, size, bytes in the head)`.
        pub(crate) fn rejections(&self) -> Vec<(u64, u64, usize)> {
            let rejection = |said: &Said| match said {
                Said::Rejected(_, offset, size, head) => Some((*offset, *size, head.len())),
                _ => None,
            };
            self.said.iter().filter_map(rejection).collect()
        }
    }

    impl Collector for Heard {
        fn joined(&mut self, partition: Partition, label: &str) {
            self.said.push(Said::Joined(partition.0, label.to_owned()));
        }
        fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
            self.caught_up.remove(&partition.0);
            self.said.push(Said::Record(partition.0, offset, bytes.to_vec()));
        }
        fn rejected(&mut self, p: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, detail: &str) {
            assert_eq!(reason, Reason::TooLarge);
            assert!(detail.contains("record_bytes_max"), "{detail}");
            self.said.push(Said::Rejected(p.0, offset, size, head.to_vec()));
        }
        fn caught_up(&mut self, partition: Partition) {
            self.caught_up.insert(partition.0);
        }
        fn lag(&mut self, partition: Partition, lag: u64) {
            self.lag.insert(partition.0, lag);
            self.lag_calls += 1;
        }
        fn ended(&mut self, partition: Partition) {
            self.said.push(Said::Ended(partition.0));
        }
    }

    /// The obvious splitter, for comparison.
    pub(crate) fn naive(bytes: &[u8], record_bytes_max: usize) -> Vec<Said> {
        let mut offset = 0;
        let mut said = Vec::new();
        for line in bytes.split(|b| *b == b'\n') {
            if line.len() > record_bytes_max {
                let head = line[..line.len().min(DEAD_LETTER_BYTES_MAX)].to_vec();
                said.push(Said::Rejected(0, offset, line.len() as u64, head));
            } else if !line.is_empty() && line != b"\r" {
                said.push(Said::Record(0, offset, line.to_vec()));
            }
            offset += line.len() as u64 + 1;
        }
        said
    }

    fn in_pieces(bytes: &[u8], record_bytes_max: usize, piece: usize) -> Vec<Said> {
        let mut heard = Heard::default();
        let mut splitter = Splitter::new(Partition(0), record_bytes_max);
        let (mut done, mut read) = (0, 0);
        while read < bytes.len() {
            read = bytes.len().min(read + piece);
            done += splitter.split(done as u64, &bytes[done..read], &mut heard);
            assert!(read - done <= record_bytes_max, "more than a line is held back");
        }
        splitter.finish(done as u64, &bytes[done..], &mut heard);
        heard.said
    }

    #[test]
    fn a_line_at_the_limit_is_a_record_and_one_byte_more_is_not() {
        assert_eq!(in_pieces(b"12345\n", 5, 100), [Said::Record(0, 0, b"12345".to_vec())]);
        assert_eq!(in_pieces(b"123456\n", 5, 100), [Said::Rejected(0, 0, 6, b"123456".to_vec())]);
        assert_eq!(in_pieces(b"123456", 5, 1), [Said::Rejected(0, 0, 6, b"123456".to_vec())]);
    }

    #[test]
    fn carriage_returns_are_left_and_empty_lines_are_no_records() {
        let expected = [Said::Record(0, 0, b"a\r".to_vec()), Said::Record(0, 6, b"b".to_vec())];
        assert_eq!(in_pieces(b"a\r\n\n\r\nb\n\n", 10, 3), expected);
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![3 => Just(b'a'), 1 => Just(b'\n'), 1 => Just(b'\r'), 1 => any::<u8>()], 0..200),
            piece in 1usize..40,
            record_bytes_max in 1usize..20,
        ) {
            prop_assert_eq!(in_pieces(&bytes, record_bytes_max, piece), naive(&bytes, record_bytes_max));
        }

        #[test]
        fn heads_of_long_lines_do_not_depend_on_pieces(
            sizes in proptest::collection::vec(0usize..10_000, 1..5),
            piece in 1usize..6_000,
            record_bytes_max in 1usize..6_000,
        ) {
            let mut bytes = Vec::new();
            for size in sizes {
                bytes.extend((0..size).map(|i| b'a' + (i % 26) as u8));
                bytes.push(b'\n');
            }
            prop_assert_eq!(in_pieces(&bytes, record_bytes_max, piece), naive(&bytes, record_bytes_max));
        }
    }
}
