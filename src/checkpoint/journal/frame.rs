//! A frame: what one flush made durable, with checksums.
//!
//! ```text
//! "twj1"   first offset   entries   bytes of the body   checksum of the body   checksum of all this   body
//! 4        8              4         4                   4                      4                      …
//! ```
//!
//! Numbers are little-endian. The header has a checksum of its own, so that a damaged length is never trusted. The
//! checksums are seeded with the identity of the state directory: a frame of another one does not match.
//!
//! In the body each entry is a length, whose highest bit says that the line was rejected, and the line. A rejected one
//! has its true size in between, and only its head.

use crc32fast::Hasher;

/// What every frame begins with; the digit is the version.
pub(super) const MAGIC: [u8; 4] = *b"twj1";

/// The size of a header.
pub(super) const HEADER_BYTES: usize = 28;

/// The bit of an entry's length that marks a rejected line.
const REJECTED: u32 = 1 << 31;

/// What was read, as it was judged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A record.
    Record(&'a [u8]),
    /// A line that is too long to be a record.
    Rejected {
        /// How long it was, in bytes.
        size: u64,
        /// Its first bytes.
        head: &'a [u8],
    },
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// The offset of the first entry.
    pub(super) first: u64,
    pub(super) entries: u32,
    /// How long the body is.
    pub(super) bytes: u32,
    checksum: u32,
}

impl FrameHeader {
    /// Reads a header, of a frame whose checksums begin with `seed`.
    pub(super) fn parse(bytes: &[u8], seed: u32) -> Result<Self, String> {
        let bytes: &[u8; HEADER_BYTES] = bytes.try_into().map_err(|_| "it is too short".to_owned())?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..4] != MAGIC {
            return Err("there is no frame".to_owned());
        }
        if number(24) != checksum(&bytes[..24], seed) {
            return Err("the checksum of its header does not match".to_owned());
        }
        let first = u64::from(number(4)) | u64::from(number(8)) << 32;
        Ok(FrameHeader { first, entries: number(12), bytes: number(16), checksum: number(20) })
    }

    /// The offset after the last entry.
    pub(super) fn next(&self) -> u64 {
        // Offsets do not get that high: a header that says so is damaged, and no frame follows it.
        self.first.saturating_add(self.entries.into())
    }

    /// The size of the whole frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.bytes)
    }

    /// Whether `body` is what was written.
    pub(super) fn check(&self, body: &[u8], seed: u32) -> Result<(), String> {
        if self.checksum == checksum(body, seed) { Ok(()) } else { Err("its checksum does not match".to_owned()) }
    }
}

/// The seed of the checksums in the state directory `state`.
pub(super) fn seed(state: &str) -> u32 {
    crc32fast::hash(state.as_bytes())
}

fn checksum(bytes: &[u8], seed: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The entry at the beginning of `body`, and how many bytes it takes.
pub(super) fn entry(body: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let bytes = (length & !REJECTED) as usize;
    if length & REJECTED == 0 {
        return Some((Entry::Record(rest.get(..bytes)?), 4 + bytes));
    }
    let (size, rest) = rest.split_first_chunk::<8>()?;
    Some((Entry::Rejected { size: u64::from_le_bytes(*size), head: rest.get(..bytes)? }, 12 + bytes))
}

fn header_of(first: u64, entries: u32, body: &[u8], seed: u32) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(body.len()).expect("a batch is shorter than 4 GiB");
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..12].copy_from_slice(&first.to_le_bytes());
    header[12..16].copy_from_slice(&entries.to_le_bytes());
    header[16..20].copy_from_slice(&length.to_le_bytes());
    header[20..24].copy_from_slice(&checksum(body, seed).to_le_bytes());
    let of_header = checksum(&header[..24], seed);
    header[24..].copy_from_slice(&of_header.to_le_bytes());
    header
}

/// A frame with checksums that match, whatever its body holds.
pub(super) fn sealed_frame(first: u64, entries: u32, body: &[u8], seed: u32) -> Vec<u8> {
    [&header_of(first, entries, body, seed), body].concat()
}

/// Entries that become a frame.
#[derive(Debug)]
pub struct FrameBatch {
    /// Room for the header, and the body.
    bytes: Vec<u8>,
    entries: u32,
}

impl Default for FrameBatch {
    fn default() -> Self {
        FrameBatch { bytes: vec![0; HEADER_BYTES], entries: 0 }
    }
}

impl FrameBatch {
    /// Appends an entry.
    pub fn push(&mut self, entry: Entry<'_>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("records are shorter than 64 MiB");
        self.entries += 1;
        match entry {
            Entry::Record(record) => {
                self.bytes.extend_from_slice(&length(record).to_le_bytes());
                self.bytes.extend_from_slice(record);
            }
            Entry::Rejected { size, head } => {
                self.bytes.extend_from_slice(&(length(head) | REJECTED).to_le_bytes());
                self.bytes.extend_from_slice(&size.to_le_bytes());
                self.bytes.extend_from_slice(head);
            }
        }
    }

    /// How many entries there are.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// How long the frame is so far, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The frame, whose first entry is at offset `first`.
    pub(super) fn frame(&mut self, first: u64, seed: u32) -> &[u8] {
        let (header, body) = self.bytes.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&header_of(first, self.entries, body, seed));
        &self.bytes
    }

    /// Empties it, and releases the memory of an unusually large one.
    pub(super) fn clear(&mut self, keep_bytes: usize) {
        self.bytes.truncate(HEADER_BYTES);
        self.bytes.shrink_to(keep_bytes);
        self.entries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: [Entry<'_>; 3] =
        [Entry::Record(b"one"), Entry::Rejected { size: 1 << 40, head: b"hea" }, Entry::Record(b"\n\0")];

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let mut batch = FrameBatch::default();
        ENTRIES.into_iter().for_each(|entry| batch.push(entry));
        let frame = batch.frame(1 << 33, 7).to_vec();
        let read = |frame: &[u8], seed| {
            let header = FrameHeader::parse(&frame[..HEADER_BYTES], seed)?;
            header.check(&frame[HEADER_BYTES..], seed).map(|()| header)
        };
        let header = read(&frame, 7).unwrap();
        assert_eq!((header.first, header.next()), (1 << 33, (1 << 33) + 3));
        assert_eq!(header.frame_bytes(), frame.len() as u64);
        let mut body = &frame[HEADER_BYTES..];
        for wanted in ENTRIES {
            let (found, bytes) = entry(body).unwrap();
            assert_eq!(found, wanted);
            body = &body[bytes..];
        }
        assert!(entry(body).is_none());
        assert!(read(&frame, 8).is_err(), "of another state directory");
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut flipped = frame.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped, 7).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn an_emptied_batch_is_as_a_new_one() {
        let mut batch = FrameBatch::default();
        batch.push(Entry::Record(&[0; 1_000]));
        batch.clear(100);
        assert_eq!((batch.entries(), batch.bytes()), (0, HEADER_BYTES));
        batch.push(ENTRIES[0]);
        assert_eq!(batch.frame(0, 1).len(), HEADER_BYTES + 4 + 3);
    }
}
