//! Splits bytes into lines: the records of files and of standard input.
//!
//! A record is the [`text`] of a line: a line without its `\n`, without leading NULs and without a byte order mark. A
//! `\r` at its end is left to the decoder. A line without text (also one that contains only a `\r`) is not a record. A
//! line longer than the limit is rejected once, with its size and its head, and is skipped in constant memory. A
//! record's offset is that of the first byte of its line, NULs and byte order mark included, so that reading can resume
//! there. The result depends on the bytes alone, never on how they were cut into pieces.

mod fuzz;

use memchr::{memchr, memchr_iter};

pub(crate) use self::fuzz::fuzz;
use super::source::{Collector, Partition};
use crate::record::{DEAD_LETTER_BYTES_MAX, Reason};

/// What some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Splits the bytes of one partition.
#[derive(Debug)]
pub(crate) struct Splitter {
    partition: Partition,
    record_bytes_max: usize,
    skip: Option<Skip>,
    /// Where the unfinished line begins, if its leading NULs were consumed already.
    hole: Option<u64>,
}

/// A line that is already known to be too long, and the position up to which it was read.
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
        Splitter { partition, record_bytes_max, skip: None, hole: None }
    }

    /// Hands over the complete lines of `bytes`, whose first byte is at `offset`, and returns how many bytes are
    /// consumed.
    ///
    /// The rest, at most `record_bytes_max` bytes and a byte order mark, is the beginning of a line: pass it again,
    /// followed by more bytes.
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
        let mut hole = self.hole.take();
        for end in memchr_iter(b'\n', &bytes[searched..]) {
            let end = searched + end;
            let begin = hole.take().unwrap_or(offset + start as u64);
            self.line(begin, &bytes[start..end], collector);
            start = end + 1;
        }
        let nuls = leading_nuls(&bytes[start..]);
        if nuls > 0 {
            hole.get_or_insert(offset + start as u64);
            start += nuls;
        }
        let rest = &bytes[start..];
        if self.is_too_long(rest) {
            let mut skip = Skip { offset: hole.unwrap_or(offset + start as u64), size: 0, head: Vec::new() };
            skip.extend(text(rest));
            self.skip = Some(skip);
            start = bytes.len();
        } else {
            self.hole = hole;
        }
        start
    }

    /// Whether the beginning of the unfinished line was consumed: it is too long, or began with NULs.
    pub(crate) fn is_within_line(&self) -> bool {
        self.skip.is_some() || self.hole.is_some()
    }

    /// Whether only NULs of the unfinished line were consumed.
    pub(crate) fn is_within_hole(&self) -> bool {
        self.hole.is_some()
    }

    /// Whether `rest`, the beginning of a line, is too long already. A possible byte order mark does not count.
    fn is_too_long(&self, rest: &[u8]) -> bool {
        text(rest).len() > self.record_bytes_max && !BYTE_ORDER_MARK.starts_with(rest)
    }

    /// Hands over `rest`, the bytes after the last newline, at `offset`: nothing will follow them.
    pub(crate) fn finish(&mut self, offset: u64, rest: &[u8], collector: &mut dyn Collector) {
        match &mut self.skip {
            Some(skip) => {
                skip.extend(rest);
                self.reject_skipped(collector);
            }
            None => {
                let begin = self.hole.take().unwrap_or(offset);
                self.line(begin, rest, collector);
            }
        }
    }

    #[inline]
    fn line(&self, offset: u64, line: &[u8], collector: &mut dyn Collector) {
        let line = text(line);
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

/// The positions of the newlines in `bytes`.
pub(crate) fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    memchr_iter(b'\n', bytes)
}

/// The line without what does not belong to its text: leading NULs, which a writer leaves that continues at its old
/// position in a truncated file, and a byte order mark.
#[inline]
pub(crate) fn text(line: &[u8]) -> &[u8] {
    match line.first() {
        Some(0 | 0xEF) => bare(line),
        _ => line,
    }
}

#[cold]
fn bare(line: &[u8]) -> &[u8] {
    let line = &line[leading_nuls(line)..];
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

fn leading_nuls(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())
}

/// Whether the text of a line is not a record.
pub(crate) fn is_empty(text: &[u8]) -> bool {
    matches!(text, b"" | b"\r")
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
    use crate::telemetry::SkipReason;

    /// The calls of a reader, one entry per call.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) enum Call {
        Joined(u32, String),
        Record(u32, u64, Vec<u8>),
        Rejected(u32, u64, u64, Vec<u8>),
        Ended(u32),
    }

    /// A collector that records the calls; `caught_up` and `lag` keep only the last one per partition.
    #[derive(Debug, Default)]
    pub(crate) struct Calls {
        pub(crate) said: Vec<Call>,
        pub(crate) caught_up: std::collections::BTreeSet<u32>,
        pub(crate) lag: std::collections::BTreeMap<u32, u64>,
        pub(crate) lag_calls: usize,
        pub(crate) skipped: std::collections::BTreeMap<SkipReason, u64>,
    }

    impl Calls {
        /// Records as `(offset, text)`, over all partitions in order of arrival.
        pub(crate) fn records(&self) -> Vec<(u64, String)> {
            let record = |said: &Call| match said {
                Call::Record(_, offset, bytes) => Some((*offset, String::from_utf8_lossy(bytes).into_owned())),
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
            let rejection = |said: &Call| match said {
                Call::Rejected(_, offset, size, head) => Some((*offset, *size, head.len())),
                _ => None,
            };
            self.said.iter().filter_map(rejection).collect()
        }
    }

    impl Collector for Calls {
        fn joined(&mut self, partition: Partition, label: &str) {
            self.said.push(Call::Joined(partition.0, label.to_owned()));
        }
        fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
            self.caught_up.remove(&partition.0);
            self.said.push(Call::Record(partition.0, offset, bytes.to_vec()));
        }
        fn rejected(&mut self, p: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, detail: &str) {
            assert_eq!(reason, Reason::TooLarge);
            assert!(detail.contains("record_bytes_max"), "{detail}");
            self.said.push(Call::Rejected(p.0, offset, size, head.to_vec()));
        }
        fn caught_up(&mut self, partition: Partition) {
            self.caught_up.insert(partition.0);
        }
        fn lag(&mut self, partition: Partition, lag: u64) {
            self.lag.insert(partition.0, lag);
            self.lag_calls += 1;
        }
        fn skipped(&mut self, reason: SkipReason, paths: u64) {
            *self.skipped.entry(reason).or_default() += paths;
        }
        fn ended(&mut self, partition: Partition) {
            self.said.push(Call::Ended(partition.0));
        }
    }

    /// The obvious splitter, for comparison.
    pub(crate) fn naive(bytes: &[u8], record_bytes_max: usize) -> Vec<Call> {
        let mut offset = 0;
        let mut said = Vec::new();
        for line in bytes.split(|b| *b == b'\n') {
            let text: Vec<u8> = line.iter().copied().skip_while(|byte| *byte == 0).collect();
            let text = text.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(&text);
            if text.len() > record_bytes_max {
                let head = text[..text.len().min(DEAD_LETTER_BYTES_MAX)].to_vec();
                said.push(Call::Rejected(0, offset, text.len() as u64, head));
            } else if !text.is_empty() && text != b"\r" {
                said.push(Call::Record(0, offset, text.to_vec()));
            }
            offset += line.len() as u64 + 1;
        }
        said
    }

    fn in_pieces(bytes: &[u8], record_bytes_max: usize, piece: usize) -> Vec<Call> {
        let mut heard = Calls::default();
        let mut splitter = Splitter::new(Partition(0), record_bytes_max);
        let (mut done, mut read) = (0, 0);
        while read < bytes.len() {
            read = bytes.len().min(read + piece);
            done += splitter.split(done as u64, &bytes[done..read], &mut heard);
            assert!(read - done <= record_bytes_max + BYTE_ORDER_MARK.len(), "more than a line is held back");
        }
        splitter.finish(done as u64, &bytes[done..], &mut heard);
        heard.said
    }

    #[test]
    fn a_line_at_the_limit_is_a_record_and_one_byte_more_is_not() {
        assert_eq!(in_pieces(b"12345\n", 5, 100), [Call::Record(0, 0, b"12345".to_vec())]);
        assert_eq!(in_pieces(b"123456\n", 5, 100), [Call::Rejected(0, 0, 6, b"123456".to_vec())]);
        assert_eq!(in_pieces(b"123456", 5, 1), [Call::Rejected(0, 0, 6, b"123456".to_vec())]);
    }

    #[test]
    fn carriage_returns_are_left_and_empty_lines_are_no_records() {
        let expected = [Call::Record(0, 0, b"a\r".to_vec()), Call::Record(0, 6, b"b".to_vec())];
        assert_eq!(in_pieces(b"a\r\n\n\r\nb\n\n", 10, 3), expected);
    }

    #[test]
    fn nuls_and_a_byte_order_mark_before_a_line_are_no_part_of_it() {
        let record = |offset, text: &str| Call::Record(0, offset, text.as_bytes().to_vec());
        for (bytes, expected) in [
            (&b"\0\0a\nb\n"[..], vec![record(0, "a"), record(4, "b")]),
            (b"a\n\0\0\0b", vec![record(0, "a"), record(2, "b")]),
            (b"\xEF\xBB\xBFa\nb", vec![record(0, "a"), record(5, "b")]),
            (b"\0\xEF\xBB\xBFa", vec![record(0, "a")]),
            // Nothing is left of these.
            (b"\0\0\n\0\r\n\xEF\xBB\xBF\n\0", vec![]),
            // Within a line, and where it only begins alike, both are data.
            (b"a\0b\n\xEF\xBC\xA1", vec![record(0, "a\0b"), record(4, "\u{ff21}")]),
        ] {
            for piece in 1..=bytes.len() {
                assert_eq!(in_pieces(bytes, 5, piece), expected, "{bytes:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn nuls_before_a_line_have_no_limit_and_what_follows_keeps_its_own() {
        let hole = vec![0; 1_000_000];
        for (text, expected) in [
            ("12345", Call::Record(0, 0, b"12345".to_vec())),
            ("\u{feff}12345", Call::Record(0, 0, b"12345".to_vec())),
            ("123456", Call::Rejected(0, 0, 6, b"123456".to_vec())),
            ("\u{feff}123456", Call::Rejected(0, 0, 6, b"123456".to_vec())),
        ] {
            for piece in [1_000, 2_000_000] {
                let bytes = [&hole, text.as_bytes(), b"\nb"].concat();
                let next = Call::Record(0, (hole.len() + text.len() + 1) as u64, b"b".to_vec());
                assert_eq!(in_pieces(&bytes, 5, piece), [expected.clone(), next], "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![3 => Just(&b"a"[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b"\r"[..]), 1 => Just(&b"\0\0"[..]), 1 => Just(BYTE_ORDER_MARK), 1 => Just(&b"\xEF\xBB"[..])], 0..200),
            piece in 1usize..40,
            record_bytes_max in 1usize..20,
        ) {
            let bytes = bytes.concat();
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
