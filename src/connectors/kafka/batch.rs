//! Fetched events, in order, in one flat buffer: what the thread that polls the client hands to the worker.
//!
//! Copying is what frees librdkafka's own buffers at once and on the thread that took them; a batch is small enough to
//! be in the cache still when the worker reads it. No I/O.

use rdkafka::error::KafkaError;

use crate::record::DEAD_LETTER_BYTES_MAX;

/// How much a batch holds, its index included. A record that is larger has a batch of its own.
pub(super) const BATCH_BYTES: usize = 128 * 1024;

/// An event of the client.
#[derive(Debug, PartialEq)]
pub(super) enum FetchEvent<'a> {
    /// A message of a partition.
    Record { partition: u32, offset: i64, payload: Payload<'a> },
    /// A fetch of the partition came back empty at the end of its log.
    EndOfLog { partition: u32 },
    /// The client reports an error.
    Failed(KafkaError),
}

/// The value of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    /// There is none: a tombstone.
    Missing,
    /// The whole value.
    Whole(&'a [u8]),
    /// The beginning of a value that is longer than a record may be: all that a dead letter keeps.
    TooLarge { size: usize, head: &'a [u8] },
}

impl<'a> Payload<'a> {
    /// The value of a message, cut if it is longer than `record_bytes_max`.
    pub(super) fn of(value: Option<&'a [u8]>, record_bytes_max: usize) -> Self {
        match value {
            None => Payload::Missing,
            Some(bytes) if bytes.len() <= record_bytes_max => Payload::Whole(bytes),
            Some(bytes) => {
                Payload::TooLarge { size: bytes.len(), head: &bytes[..bytes.len().min(DEAD_LETTER_BYTES_MAX)] }
            }
        }
    }

    /// The bytes of the value that are present.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Payload::Missing => &[],
            Payload::Whole(bytes) | Payload::TooLarge { head: bytes, .. } => bytes,
        }
    }
}

/// Events in the order in which they came, and read in that order, once.
#[derive(Default)]
pub(super) struct FetchedBatch {
    /// Payloads, one behind the other.
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// The next item to read, and where its payload begins.
    next: usize,
    begin: usize,
}

/// An event without its payload, which ends at `end` and begins where that of the record before it ends.
enum Item {
    Missing { partition: u32, offset: i64 },
    Whole { partition: u32, offset: i64, end: usize },
    // The size of a message is 32 bits in Kafka's protocol.
    TooLarge { partition: u32, size: u32, offset: i64, end: usize },
    EndOfLog { partition: u32 },
    Failed(Box<KafkaError>),
}

impl FetchedBatch {
    /// Whether it contains no events, read or not.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the event fits into this batch: an empty one has room for everything.
    pub(super) fn has_room_for(&self, event: &FetchEvent<'_>) -> bool {
        let more = match event {
            FetchEvent::Record { payload, .. } => payload.bytes().len(),
            FetchEvent::EndOfLog { .. } | FetchEvent::Failed(_) => 0,
        };
        self.items.is_empty() || self.bytes.len() + more + (self.items.len() + 1) * size_of::<Item>() <= BATCH_BYTES
    }

    /// Appends an event.
    pub(super) fn push(&mut self, event: FetchEvent<'_>) {
        if self.items.is_empty() {
            // All of it at once: growing step by step ends at up to twice as much.
            self.bytes.reserve_exact(BATCH_BYTES);
        }
        let item = match event {
            FetchEvent::Record { partition, offset, payload } => {
                self.bytes.extend_from_slice(payload.bytes());
                let end = self.bytes.len();
                match payload {
                    Payload::Missing => Item::Missing { partition, offset },
                    Payload::Whole(_) => Item::Whole { partition, offset, end },
                    Payload::TooLarge { size, .. } => {
                        Item::TooLarge { partition, size: u32::try_from(size).unwrap_or(u32::MAX), offset, end }
                    }
                }
            }
            FetchEvent::EndOfLog { partition } => Item::EndOfLog { partition },
            FetchEvent::Failed(error) => Item::Failed(Box::new(error)),
        };
        self.items.push(item);
    }

    /// The next event; each is read once.
    pub(super) fn next(&mut self) -> Option<FetchEvent<'_>> {
        let item = self.items.get(self.next)?;
        self.next += 1;
        let begin = self.begin;
        Some(match *item {
            Item::Missing { partition, offset } => FetchEvent::Record { partition, offset, payload: Payload::Missing },
            Item::Whole { partition, offset, end } => {
                self.begin = end;
                FetchEvent::Record { partition, offset, payload: Payload::Whole(&self.bytes[begin..end]) }
            }
            Item::TooLarge { partition, size, offset, end } => {
                self.begin = end;
                let payload = Payload::TooLarge { size: size as usize, head: &self.bytes[begin..end] };
                FetchEvent::Record { partition, offset, payload }
            }
            Item::EndOfLog { partition } => FetchEvent::EndOfLog { partition },
            Item::Failed(ref error) => FetchEvent::Failed((**error).clone()),
        })
    }

    /// Clears everything but the memory, up to a batch's size: the memory of one large record is released.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
        self.bytes.shrink_to(BATCH_BYTES);
        (self.next, self.begin) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaErrorCode;

    use super::*;

    fn record(offset: i64, payload: Payload<'_>) -> FetchEvent<'_> {
        FetchEvent::Record { partition: 7, offset, payload }
    }

    /// All kinds of events, with payloads of `bytes`.
    fn all(bytes: &[u8]) -> [FetchEvent<'_>; 7] {
        [
            record(1, Payload::of(Some(bytes), bytes.len())),
            record(2, Payload::of(None, 0)),
            record(3, Payload::of(Some(b""), 0)),
            FetchEvent::EndOfLog { partition: 9 },
            record(i64::MAX, Payload::of(Some(bytes), bytes.len() - 1)),
            FetchEvent::Failed(KafkaError::MessageConsumption(RDKafkaErrorCode::BadMessage)),
            record(5, Payload::Whole(b"last")),
        ]
    }

    #[test]
    fn what_went_in_comes_out_once_and_in_order_also_from_a_batch_that_was_used_before() {
        let long = vec![b'x'; DEAD_LETTER_BYTES_MAX + 1];
        let mut batch = FetchedBatch::default();
        for bytes in [&long[..], b"short"] {
            assert!(batch.is_empty());
            all(bytes).into_iter().for_each(|event| batch.push(event));
            for expected in all(bytes) {
                assert_eq!(batch.next(), Some(expected));
            }
            assert_eq!(batch.next(), None);
            batch.clear();
        }
        assert_eq!(batch.next(), None);
    }

    #[test]
    fn a_value_over_the_limit_is_cut_to_what_a_dead_letter_keeps() {
        let long = vec![b'x'; DEAD_LETTER_BYTES_MAX + 1];
        let size = long.len();
        assert_eq!(Payload::of(Some(&long), size), Payload::Whole(&long));
        assert_eq!(
            Payload::of(Some(&long), size - 1),
            Payload::TooLarge { size, head: &long[..DEAD_LETTER_BYTES_MAX] }
        );
        assert_eq!(Payload::of(Some(b"abc"), 2), Payload::TooLarge { size: 3, head: b"abc" });
    }

    #[test]
    fn a_batch_holds_no_more_than_its_size_with_its_index_unless_it_is_one_record() {
        for bytes in [vec![0; 1000], Vec::new()] {
            let mut batch = FetchedBatch::default();
            while batch.has_room_for(&record(0, Payload::Whole(&bytes))) {
                batch.push(record(0, Payload::Whole(&bytes)));
            }
            let one = bytes.len() + size_of::<Item>();
            let holds = batch.items.len() * one;
            assert!(holds <= BATCH_BYTES && holds + one > BATCH_BYTES, "{holds} bytes");
            let end = FetchEvent::EndOfLog { partition: 0 };
            assert_eq!(batch.has_room_for(&end), holds + size_of::<Item>() <= BATCH_BYTES);
        }
        let large = vec![0; 2 * BATCH_BYTES];
        let mut batch = FetchedBatch::default();
        assert!(batch.has_room_for(&record(0, Payload::Whole(&large))));
        batch.push(record(0, Payload::Whole(&large)));
        assert!(!batch.has_room_for(&record(1, Payload::Whole(b""))));
        batch.clear();
        assert!(batch.bytes.capacity() <= BATCH_BYTES, "the memory of a large record is given back");
    }
}
