//! Encoded rows on their way to a writer.

use std::cell::RefCell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// How many bytes of rows are encoded into one block; a row may run over.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// Emptied blocks that a worker keeps for reuse.
const SPARE_MAX: usize = 64;

/// Encoded rows of one shard and one epoch, end to end.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct RowBlock {
    pub(super) shard: u32,
    #[serde(with = "bytes")]
    pub(super) bytes: Vec<u8>,
    /// Where each key and each row ends; equal ends mean there is no key.
    pub(super) ends: Vec<(u32, u32)>,
}

impl RowBlock {
    /// The rows with their keys.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(key_end, end)| {
            let (key, row) = (&self.bytes[start..key_end as usize], &self.bytes[key_end as usize..end as usize]);
            start = end as usize;
            (key, row)
        })
    }
}

/// Emptied blocks, kept for their memory. Shared by the operators of one sink on one worker.
#[derive(Clone, Default)]
pub(super) struct SpareBlocks(Rc<RefCell<Vec<RowBlock>>>);

impl SpareBlocks {
    /// An empty block.
    pub(super) fn take(&self, shard: usize) -> RowBlock {
        let block = self.0.borrow_mut().pop().unwrap_or_default();
        RowBlock { shard: u32::try_from(shard).expect("few shards"), ..block }
    }

    pub(super) fn give(&self, mut block: RowBlock) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_MAX {
            block.bytes.clear();
            block.ends.clear();
            spare.push(block);
        }
    }
}

/// Bytes as a whole, rather than one by one.
mod bytes {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_the_same_after_the_wire() {
        let block = RowBlock { shard: 3, bytes: b"keyrowrow2".to_vec(), ends: vec![(3, 6), (6, 10)] };
        let back: RowBlock = bincode::deserialize(&bincode::serialize(&block).unwrap()).unwrap();
        assert_eq!(back.shard, 3);
        assert_eq!(back.rows().collect::<Vec<_>>(), [(&b"key"[..], &b"row"[..]), (b"", b"row2")]);
    }

    #[test]
    fn memory_is_used_again_and_empty() {
        let spare = SpareBlocks::default();
        let mut block = spare.take(1);
        block.bytes.extend_from_slice(b"row");
        block.ends.push((0, 3));
        spare.give(block);
        let block = spare.take(2);
        assert_eq!((block.shard, block.bytes.len(), block.ends.len()), (2, 0, 0));
        assert!(block.bytes.capacity() >= 3);
    }
}
