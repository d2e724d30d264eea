//! Undecoded records on their way to the worker that decodes them: their bytes in one column, their ends and offsets in
//! two others.
//!
//! Within a process a chunk is moved. Between processes its columns are written one after the other, and read where they
//! were received: nothing is copied or parsed on receipt.

use std::io::Write;
use std::sync::Arc;

use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;

use crate::time::EventTime;

/// Records of one partition that follow each other.
#[derive(Clone, Default)]
pub(super) struct Chunk {
    pub(super) head: Head,
    /// What the partition is called, for dead letters.
    pub(super) label: Arc<str>,
    columns: Columns,
}

/// What a chunk is, besides its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The worker that decodes it.
    pub(super) target: u64,
    pub(super) partition: u32,
    /// Its place among the partition's chunks, from 0.
    pub(super) number: u64,
    /// Events before this one come too late: the source's watermark when the partition came back from idleness.
    pub(super) floor: EventTime,
}

#[derive(Clone)]
enum Columns {
    /// As they are filled.
    Here { offsets: Vec<u64>, ends: Vec<u32>, bytes: Vec<u8> },
    /// As they were received: the head, `offsets`, then `ends`, `bytes` and the label, each padded to a word.
    Received { records: usize, wire: Bytes },
}

impl Default for Columns {
    fn default() -> Self {
        Columns::Here { offsets: Vec::new(), ends: Vec::new(), bytes: Vec::new() }
    }
}

/// Words before the columns: the head, the number of records, and how many bytes they and the label have.
const HEAD_WORDS: usize = 7;
const WORD: usize = size_of::<u64>();

impl Chunk {
    /// An empty chunk with room for `bytes` of records.
    pub(super) fn with_room(head: Head, label: Arc<str>, bytes: usize) -> Self {
        let columns = Columns::Here { offsets: Vec::new(), ends: Vec::new(), bytes: Vec::with_capacity(bytes) };
        Chunk { head, label, columns }
    }

    /// Appends a record. A chunk must not exceed 4 GiB.
    ///
    /// # Panics
    /// If the chunk was received, or has too many bytes.
    #[inline]
    pub(super) fn push(&mut self, offset: u64, record: &[u8]) {
        let Columns::Here { offsets, ends, bytes } = &mut self.columns else { panic!("a received chunk is complete") };
        bytes.extend_from_slice(record);
        offsets.push(offset);
        ends.push(u32::try_from(bytes.len()).expect("a chunk is far smaller than 4 GiB"));
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        match &self.columns {
            Columns::Here { ends, .. } => ends.len(),
            Columns::Received { records, .. } => *records,
        }
    }

    /// How many bytes the records have.
    pub(super) fn bytes(&self) -> usize {
        self.len().checked_sub(1).map_or(0, |last| self.end(last))
    }

    /// The offset of record `i` in its partition.
    pub(super) fn offset(&self, i: usize) -> u64 {
        match &self.columns {
            Columns::Here { offsets, .. } => offsets[i],
            Columns::Received { wire, .. } => word(wire, HEAD_WORDS + i),
        }
    }

    /// Record `i`.
    #[inline]
    pub(super) fn record(&self, i: usize) -> &[u8] {
        let start = i.checked_sub(1).map_or(0, |before| self.end(before));
        let bytes = match &self.columns {
            Columns::Here { bytes, .. } => bytes.as_slice(),
            Columns::Received { records, wire } => &wire[bytes_at(*records)..],
        };
        &bytes[start..self.end(i)]
    }

    #[inline]
    fn end(&self, i: usize) -> usize {
        match &self.columns {
            Columns::Here { ends, .. } => ends[i] as usize,
            Columns::Received { records, wire } => {
                let at = (HEAD_WORDS + records) * WORD + i * size_of::<u32>();
                u32::from_le_bytes(*wire[at..].first_chunk().expect("checked on receipt")) as usize
            }
        }
    }
}

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
    /// If the columns are not complete: a peer of the same build sent them, so that is a fault of ours.
    fn from_bytes(wire: Bytes) -> Self {
        assert!(wire.len() >= HEAD_WORDS * WORD, "a chunk has a head");
        let head = Head {
            target: word(&wire, 0),
            partition: u32::try_from(word(&wire, 1)).expect("a partition has 32 bits"),
            number: word(&wire, 2),
            floor: EventTime::from_millis(word(&wire, 3).cast_signed()),
        };
        let count = |at| usize::try_from(word(&wire, at)).expect("a length fits");
        let (records, bytes, label) = (count(4), count(5), count(6));
        let fits = [records, bytes, label].iter().all(|n| *n <= wire.len());
        let label_at = if fits { bytes_at(records) + bytes.next_multiple_of(WORD) } else { wire.len() };
        assert!(
            fits && label_at + label <= wire.len(),
            "a chunk of {records} records, {bytes} bytes and a label of {label} has only {} bytes",
            wire.len()
        );
        let label = String::from_utf8_lossy(&wire[label_at..label_at + label]).into();
        Chunk { head, label, columns: Columns::Received { records, wire } }
    }

    fn length_in_bytes(&self) -> usize {
        bytes_at(self.len()) + self.bytes().next_multiple_of(WORD) + self.label.len().next_multiple_of(WORD)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let Columns::Here { offsets, ends, bytes } = &self.columns else { panic!("a received chunk is not sent on") };
        let Head { target, partition, number, floor } = self.head;
        let lengths = [ends.len(), bytes.len(), self.label.len()].map(|n| n as u64);
        let head = [target, partition.into(), number, floor.millis().cast_unsigned()].into_iter().chain(lengths);
        let mut write = |part: &[u8]| writer.write_all(part).expect("the mesh takes what was announced");
        let padding = |bytes: usize| &[0; WORD][..bytes.next_multiple_of(WORD) - bytes];
        head.chain(offsets.iter().copied()).for_each(|word| write(&word.to_le_bytes()));
        ends.iter().for_each(|end| write(&end.to_le_bytes()));
        write(padding(size_of_val(ends.as_slice())));
        for part in [bytes.as_slice(), self.label.as_bytes()] {
            write(part);
            write(padding(part.len()));
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
            (partition, number, floor) in any::<(u32, u64, i64)>(),
        ) {
            let head = Head { target: 3, partition, number, floor: EventTime::from_millis(floor) };
            let mut sent = Chunk::with_room(head, "a/path".into(), 64);
            records.iter().for_each(|(offset, bytes)| sent.push(*offset, bytes));
            for chunk in [&sent, &received(&sent)] {
                prop_assert_eq!((chunk.head, &*chunk.label), (head, "a/path"));
                prop_assert_eq!(chunk.record_count(), records.len() as i64);
                prop_assert_eq!(chunk.bytes(), records.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
                for (i, (offset, bytes)) in records.iter().enumerate() {
                    prop_assert_eq!((chunk.offset(i), chunk.record(i)), (*offset, bytes.as_slice()));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a chunk of 2 records, 6 bytes and a label of 1 has only")]
    fn a_chunk_that_was_cut_short_is_not_read() {
        let mut chunk = Chunk::with_room(Head::default(), "p".into(), 0);
        chunk.push(0, b"abc");
        chunk.push(3, b"def");
        let mut wire = Vec::new();
        chunk.into_bytes(&mut wire);
        wire.truncate(wire.len() - WORD);
        Chunk::from_bytes(BytesMut::from(wire).freeze());
    }
}
