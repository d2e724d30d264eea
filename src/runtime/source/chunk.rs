//! Undecoded records on their way to the worker that decodes them: their bytes in one column, their ends and offsets in
//! two others; or only a reference to their bytes, if the worker that decodes them can read them itself.
//!
//! Within a process a chunk is moved. Between processes its columns are written one after the other, and used where
//! they were received: nothing is copied or parsed on receipt.

use std::cell::RefCell;
use std::io::Write;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use memchr::{Memchr, memchr_iter};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;

use crate::connectors::lines;
use crate::connectors::source::{Block, SourceConnector};
use crate::error::Result;
use crate::time::EventTime;

/// Consecutive records of one partition.
#[derive(Clone, Default)]
pub(super) struct Chunk {
    pub(super) head: ChunkHead,
    /// The display name of the partition, for dead letters.
    pub(super) label: Arc<str>,
    columns: ChunkColumns,
}

/// The properties of a chunk besides its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkHead {
    /// The worker that decodes it.
    pub(super) target: u64,
    pub(super) partition: u32,
    /// Its number among the partition's chunks, from 0.
    pub(super) number: u64,
    /// Earlier events are late after idle: the source's watermark when the partition came back.
    pub(super) floor: EventTime,
    /// It holds the lines of a block, of which empty ones are not records.
    pub(super) lines: bool,
    /// It was read as soon as it was available: the reader was caught up before it.
    pub(super) live: bool,
}

#[derive(Clone)]
enum ChunkColumns {
    /// Not read yet.
    Unread(Arc<dyn Block>),
    /// Not read yet, and found by another process of this machine: the size of its bytes, and where they are.
    Elsewhere { size: usize, place: Vec<u8> },
    /// The lines of a block that was read and is not split yet; and the offset of the first byte.
    Lines { first: u64, bytes: Vec<u8>, ends: Vec<u32> },
    /// As they are filled. Each record is followed by one byte that is not part of it; `ends` are the positions of
    /// these.
    Here { offsets: Offsets, ends: Vec<u32>, bytes: Vec<u8> },
    /// As they were received: the header, `offsets`, then `ends`, `bytes` and the label, each padded to a word.
    Received { records: usize, wire: Bytes },
}

#[derive(Clone)]
enum Offsets {
    /// One for each record.
    Each(Vec<u64>),
    /// A record's offset is its position among the bytes, plus this.
    From(u64),
}

impl Default for ChunkColumns {
    fn default() -> Self {
        ChunkColumns::Here { offsets: Offsets::From(0), ends: Vec::new(), bytes: Vec::new() }
    }
}

/// The assumed size of a record of a block, until the block is read.
const RECORD_BYTES_GUESSED: usize = 128;

/// Words before the columns: the header, the number of records (or the size of a block that is not read yet), and the
/// sizes of the bytes (or of the block's location) and of the label.
const HEAD_WORDS: usize = 8;
const WORD: usize = size_of::<u64>();

impl Chunk {
    /// An empty chunk with room for `size` bytes of records.
    pub(super) fn with_room(head: ChunkHead, label: Arc<str>, size: usize, spare: &SpareMemory) -> Self {
        let records = size / RECORD_BYTES_GUESSED;
        let (mut bytes, mut ends) = spare.take();
        bytes.reserve(size);
        ends.reserve(records);
        Chunk {
            head,
            label,
            columns: ChunkColumns::Here { offsets: Offsets::Each(Vec::with_capacity(records)), ends, bytes },
        }
    }

    /// A chunk of the lines of a block.
    pub(super) fn of_block(head: ChunkHead, label: Arc<str>, block: Arc<dyn Block>) -> Self {
        Chunk { head: ChunkHead { lines: true, ..head }, label, columns: ChunkColumns::Unread(block) }
    }

    /// Whether another process of this machine can read it.
    pub(super) fn has_place(&self) -> bool {
        matches!(&self.columns, ChunkColumns::Unread(block) if block.place().is_some())
    }

    /// Reads the records of the source `name` unless they are read already. They may then include empty lines, and have
    /// to be [split](Self::split) before they are accessed by number.
    ///
    /// # Errors
    /// If they can no longer be read.
    pub(super) fn read(&mut self, connector: &dyn SourceConnector, name: &str, spare: &SpareMemory) -> Result<()> {
        let block: Arc<dyn Block> = match &self.columns {
            ChunkColumns::Unread(block) => Arc::clone(block),
            ChunkColumns::Elsewhere { place, .. } => connector.block_at(name, place)?.into(),
            ChunkColumns::Lines { .. } | ChunkColumns::Here { .. } | ChunkColumns::Received { .. } => return Ok(()),
        };
        let (mut bytes, ends) = spare.take();
        block.read(&mut bytes)?;
        self.columns = ChunkColumns::Lines { first: block.offset(), bytes, ends };
        Ok(())
    }

    /// Finds the ends of the lines of a block that was read.
    pub(super) fn split(&mut self) {
        let ChunkColumns::Lines { first, bytes, ends } = &mut self.columns else { return };
        let (first, bytes, mut ends) = (*first, std::mem::take(bytes), std::mem::take(ends));
        ends.extend(lines::ends(&bytes).map(|end| u32::try_from(end).expect("a block is smaller than 4 GiB")));
        self.columns = ChunkColumns::Here { offsets: Offsets::From(first), ends, bytes };
    }

    /// Returns its memory for reuse.
    pub(super) fn recycle(self, spare: &SpareMemory) {
        if let ChunkColumns::Here { ends, bytes, .. } | ChunkColumns::Lines { ends, bytes, .. } = self.columns {
            spare.give(bytes, ends);
        }
    }

    /// Appends a record. A chunk must not exceed 4 GiB.
    ///
    /// # Panics
    /// If the chunk is complete (a block's, or received), or has too many bytes.
    #[inline]
    pub(super) fn push(&mut self, offset: u64, record: &[u8]) {
        let ChunkColumns::Here { offsets: Offsets::Each(offsets), ends, bytes } = &mut self.columns else {
            panic!("a chunk that is complete takes no record")
        };
        bytes.extend_from_slice(record);
        offsets.push(offset);
        ends.push(u32::try_from(bytes.len()).expect("a chunk is far smaller than 4 GiB"));
        bytes.push(b'\n');
    }

    /// How many records there are; an estimate if they are not read yet.
    pub(super) fn len(&self) -> usize {
        match &self.columns {
            ChunkColumns::Unread(block) => block.size().div_ceil(RECORD_BYTES_GUESSED),
            ChunkColumns::Elsewhere { size, .. } => size.div_ceil(RECORD_BYTES_GUESSED),
            ChunkColumns::Lines { bytes, .. } => bytes.len().div_ceil(RECORD_BYTES_GUESSED),
            ChunkColumns::Here { ends, .. } => ends.len(),
            ChunkColumns::Received { records, .. } => *records,
        }
    }

    /// How many bytes there are, including the byte after each record.
    pub(super) fn bytes(&self) -> usize {
        match &self.columns {
            ChunkColumns::Unread(block) => block.size(),
            ChunkColumns::Elsewhere { size, .. } => *size,
            ChunkColumns::Here { bytes, .. } | ChunkColumns::Lines { bytes, .. } => bytes.len(),
            ChunkColumns::Received { records, .. } => records.checked_sub(1).map_or(0, |last| self.end(last) + 1),
        }
    }

    /// The offset of record `i` in its partition. The records must have been read.
    pub(super) fn offset(&self, i: usize) -> u64 {
        match &self.columns {
            ChunkColumns::Unread(_) | ChunkColumns::Elsewhere { .. } | ChunkColumns::Lines { .. } => panic!("{UNREAD}"),
            ChunkColumns::Here { offsets: Offsets::Each(offsets), .. } => offsets[i],
            ChunkColumns::Here { offsets: Offsets::From(first), .. } => first + self.start(i) as u64,
            ChunkColumns::Received { wire, .. } => word(wire, HEAD_WORDS + i),
        }
    }

    /// Record `i`. The records must have been read.
    #[inline]
    pub(super) fn record(&self, i: usize) -> &[u8] {
        self.text(&self.every_byte()[self.start(i)..self.end(i)])
    }

    #[inline]
    fn every_byte(&self) -> &[u8] {
        match &self.columns {
            ChunkColumns::Unread(_) | ChunkColumns::Elsewhere { .. } | ChunkColumns::Lines { .. } => panic!("{UNREAD}"),
            ChunkColumns::Here { bytes, .. } => bytes,
            ChunkColumns::Received { records, wire } => &wire[bytes_at(*records)..],
        }
    }

    /// The text of a record: a reader that splits lines itself has stripped the ends already.
    #[inline]
    fn text<'b>(&self, record: &'b [u8]) -> &'b [u8] {
        if self.head.lines { lines::text(record) } else { record }
    }

    /// Every record, in order. The records must have been read, but need not have been split: the ends of lines are
    /// found on the way.
    #[inline]
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let (bytes, ends) = match &self.columns {
            ChunkColumns::Lines { bytes, .. } => (bytes.as_slice(), Ends::Found(memchr_iter(b'\n', bytes))),
            _ => (self.every_byte(), Ends::Known(0..self.len())),
        };
        let mut start = 0;
        ends.over(self).map(move |end| self.text(&bytes[std::mem::replace(&mut start, end + 1)..end]))
    }

    #[inline]
    fn start(&self, i: usize) -> usize {
        i.checked_sub(1).map_or(0, |before| self.end(before) + 1)
    }

    #[inline]
    fn end(&self, i: usize) -> usize {
        match &self.columns {
            ChunkColumns::Unread(_) | ChunkColumns::Elsewhere { .. } | ChunkColumns::Lines { .. } => panic!("{UNREAD}"),
            ChunkColumns::Here { ends, .. } => ends[i] as usize,
            ChunkColumns::Received { records, wire } => {
                let at = (HEAD_WORDS + records) * WORD + i * size_of::<u32>();
                u32::from_le_bytes(*wire[at..].first_chunk().expect("checked on receipt")) as usize
            }
        }
    }
}

/// The ends of the records of a chunk, in order.
enum Ends<'c> {
    Found(Memchr<'c>),
    Known(Range<usize>),
}

impl<'c> Ends<'c> {
    #[inline]
    fn over(mut self, chunk: &'c Chunk) -> impl Iterator<Item = usize> + use<'c> {
        std::iter::from_fn(move || match &mut self {
            Ends::Found(ends) => ends.next(),
            Ends::Known(numbers) => numbers.next().map(|i| chunk.end(i)),
        })
    }
}

/// What a chunk on the wire holds.
const RECORDS: u64 = 0;
const LINES: u64 = 1;
const UNREAD_LINES: u64 = 2;
/// A flag: it was read as soon as it was available.
const LIVE: u64 = 1 << 8;

const PLACED: &str = "a block goes to another process only if it has a location there, and is read before otherwise";

const UNREAD: &str = "a block is read and split before its records are asked for";

/// Where the bytes of a chunk of `records` begin on the wire.
fn bytes_at(records: usize) -> usize {
    (HEAD_WORDS + records) * WORD + (records * size_of::<u32>()).next_multiple_of(WORD)
}

fn word(wire: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*wire[at * WORD..].first_chunk().expect("checked on receipt"))
}

impl Accountable for Chunk {
    fn record_count(&self) -> i64 {
        i64::try_from(self.len()).expect("a length fits")
    }
}

impl ContainerBytes for Chunk {
    /// # Panics
    /// If the columns are incomplete: a peer of the same build sent them, so that is a defect of ours.
    fn from_bytes(wire: Bytes) -> Self {
        assert!(wire.len() >= HEAD_WORDS * WORD, "a chunk has a head");
        let kind = word(&wire, 4) & !LIVE;
        let head = ChunkHead {
            target: word(&wire, 0),
            partition: u32::try_from(word(&wire, 1)).expect("a partition has 32 bits"),
            number: word(&wire, 2),
            floor: EventTime::from_millis(word(&wire, 3).cast_signed()),
            lines: kind != RECORDS,
            live: word(&wire, 4) & LIVE != 0,
        };
        let unread = kind == UNREAD_LINES;
        let count = |at| usize::try_from(word(&wire, at)).expect("a length fits");
        let (size, bytes, label) = (count(5), count(6), count(7));
        let records = if unread { 0 } else { size };
        let fits = [records, bytes, label].iter().all(|n| *n <= wire.len());
        let label_at = if fits { bytes_at(records) + bytes.next_multiple_of(WORD) } else { wire.len() };
        assert!(
            fits && label_at + label <= wire.len(),
            "a chunk of {records} records, {bytes} bytes and a label of {label} has only {} bytes",
            wire.len()
        );
        let label = String::from_utf8_lossy(&wire[label_at..label_at + label]).into();
        if unread {
            let place = wire[bytes_at(0)..bytes_at(0) + bytes].to_vec();
            return Chunk { head, label, columns: ChunkColumns::Elsewhere { size, place } };
        }
        Chunk { head, label, columns: ChunkColumns::Received { records, wire } }
    }

    fn length_in_bytes(&self) -> usize {
        let (records, bytes) = match &self.columns {
            ChunkColumns::Unread(block) => (0, block.place().expect(PLACED).len()),
            _ => (self.len(), self.bytes()),
        };
        bytes_at(records) + bytes.next_multiple_of(WORD) + self.label.len().next_multiple_of(WORD)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let place;
        let (kind, records, ends, bytes) = match &self.columns {
            ChunkColumns::Unread(block) => {
                place = block.place().expect(PLACED);
                (UNREAD_LINES, block.size(), [].as_slice(), place.as_slice())
            }
            ChunkColumns::Here { ends, bytes, .. } => {
                (if self.head.lines { LINES } else { RECORDS }, ends.len(), ends.as_slice(), bytes.as_slice())
            }
            ChunkColumns::Lines { .. } | ChunkColumns::Elsewhere { .. } | ChunkColumns::Received { .. } => {
                panic!("a chunk is sent once")
            }
        };
        let ChunkHead { target, partition, number, floor, live, .. } = self.head;
        let kind = if live { kind | LIVE } else { kind };
        let head = [target, partition.into(), number, floor.millis().cast_unsigned(), kind].into_iter();
        let lengths = [records, bytes.len(), self.label.len()].map(|n| n as u64);
        let mut write = |part: &[u8]| writer.write_all(part).expect("the mesh takes what was announced");
        let padding = |bytes: usize| &[0; WORD][..bytes.next_multiple_of(WORD) - bytes];
        let offsets = (0..ends.len()).map(|i| self.offset(i));
        head.chain(lengths).chain(offsets).for_each(|word| write(&word.to_le_bytes()));
        ends.iter().for_each(|end| write(&end.to_le_bytes()));
        write(padding(size_of_val(ends)));
        for part in [bytes, self.label.as_bytes()] {
            write(part);
            write(padding(part.len()));
        }
    }
}

/// Memory of blocks that one worker is done with, for reuse: fresh memory would have to be mapped and cleared, and is
/// in no cache.
#[derive(Clone, Default)]
pub(super) struct SpareMemory(Rc<RefCell<Vec<Lined>>>);

/// The bytes of a block, and where its lines end.
type Lined = (Vec<u8>, Vec<u32>);

/// How many blocks' memory is kept.
const SPARE_MAX: usize = 16;

impl SpareMemory {
    fn take(&self) -> Lined {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    fn give(&self, mut bytes: Vec<u8>, mut ends: Vec<u32>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_MAX {
            bytes.clear();
            ends.clear();
            spare.push((bytes, ends));
        }
    }
}

/// Sends each chunk, whole, to its target.
pub(super) struct ByTarget;

impl Distributor<Chunk> for ByTarget {
    fn partition<T: Clone, P: Push<Message<T, Chunk>>>(&mut self, chunk: &mut Chunk, at: &Stamp<T>, to: &mut [P]) {
        let target = usize::try_from(chunk.head.target).expect("a worker's number fits");
        Message::push_at(chunk, at.clone(), &mut to[target]);
    }

    fn flush<T: Clone, P: Push<Message<T, Chunk>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::source::{SourceContext, SourceReader};
    use proptest::prelude::*;
    use timely::bytes::arc::BytesMut;

    fn received(chunk: &Chunk) -> Chunk {
        let mut wire = Vec::new();
        chunk.into_bytes(&mut wire);
        assert_eq!(wire.len(), chunk.length_in_bytes());
        Chunk::from_bytes(BytesMut::from(wire).freeze())
    }

    proptest! {
        #[test]
        fn what_is_received_is_what_was_sent(
            records in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            (partition, number, floor, live) in any::<(u32, u64, i64, bool)>(),
        ) {
            let head = ChunkHead { target: 3, partition, number, floor: EventTime::from_millis(floor), lines: false, live };
            let mut sent = Chunk::with_room(head, "a/path".into(), 64, &SpareMemory::default());
            records.iter().for_each(|(offset, bytes)| sent.push(*offset, bytes));
            for chunk in [&sent, &received(&sent)] {
                prop_assert_eq!((chunk.head, &*chunk.label), (head, "a/path"));
                prop_assert_eq!(chunk.record_count(), records.len() as i64);
                prop_assert_eq!(chunk.bytes(), records.iter().map(|(_, bytes)| bytes.len() + 1).sum::<usize>());
                for (i, (offset, bytes)) in records.iter().enumerate() {
                    prop_assert_eq!((chunk.offset(i), chunk.record(i)), (*offset, bytes.as_slice()));
                }
            }
        }
    }

    /// A block whose location is its offset and its lines.
    struct Lines(u64, String);

    impl Block for Lines {
        fn offset(&self) -> u64 {
            self.0
        }

        fn size(&self) -> usize {
            self.1.len()
        }

        fn read(&self, buffer: &mut Vec<u8>) -> Result<()> {
            buffer.extend_from_slice(self.1.as_bytes());
            Ok(())
        }

        fn place(&self) -> Option<Vec<u8>> {
            Some(format!("{} {}", self.0, self.1).into_bytes())
        }
    }

    struct Connector;

    impl SourceConnector for Connector {
        fn open(&self, _: &SourceContext) -> Result<Box<dyn SourceReader>> {
            unreachable!("nothing is read")
        }

        fn block_at(&self, _: &str, place: &[u8]) -> Result<Box<dyn Block>> {
            let (offset, lines) = std::str::from_utf8(place).unwrap().split_once(' ').unwrap();
            Ok(Box::new(Lines(offset.parse().unwrap(), lines.to_owned())))
        }
    }

    #[test]
    fn a_block_is_its_lines_where_they_were_and_where_they_are_sent() {
        let spare = SpareMemory::default();
        let block = Lines(1_000, "one\n\nthree\r\n".to_owned());
        let unread = Chunk::of_block(ChunkHead::default(), "p".into(), Arc::new(block));
        let mut read = unread.clone();
        assert!(unread.record_count() > 0 && unread.bytes() == 12 && unread.has_place());
        read.read(&Connector, "lines", &spare).unwrap();
        let unsplit: Vec<_> = read.records().map(<[u8]>::to_vec).collect();
        assert_eq!(unsplit, [&b"one"[..], b"", b"three\r"]);
        read.split();
        let mut elsewhere = received(&unread);
        assert_eq!((elsewhere.record_count(), elsewhere.bytes()), (unread.record_count(), unread.bytes()));
        elsewhere.read(&Connector, "lines", &spare).unwrap();
        elsewhere.split();
        for chunk in [&read, &received(&read), &elsewhere] {
            let lines: Vec<_> = (0..chunk.len()).map(|i| (chunk.offset(i), chunk.record(i))).collect();
            assert!(chunk.head.lines && &*chunk.label == "p");
            assert_eq!(lines, [(1_000, &b"one"[..]), (1_004, b""), (1_005, b"three\r")]);
        }
        read.recycle(&spare);
        let (bytes, ends) = spare.take();
        assert!(bytes.is_empty() && bytes.capacity() >= 12 && ends.is_empty() && ends.capacity() >= 3);
    }

    #[test]
    #[should_panic(expected = "a chunk of 2 records, 8 bytes and a label of 1 has only")]
    fn a_chunk_that_was_cut_short_is_not_read() {
        let mut chunk = Chunk::with_room(ChunkHead::default(), "p".into(), 0, &SpareMemory::default());
        chunk.push(0, b"abc");
        chunk.push(3, b"def");
        let mut wire = Vec::new();
        chunk.into_bytes(&mut wire);
        wire.truncate(wire.len() - WORD);
        Chunk::from_bytes(BytesMut::from(wire).freeze());
    }
}
