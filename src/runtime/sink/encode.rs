//! Encodes rows on the worker that has them, in blocks for the shards of the sink.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use super::block::{BLOCK_BYTES, RowBlock, SpareBlocks};
use super::{KeyOf, SinkStage};
use crate::error::stage::StageName;
use crate::error::{Error, ErrorKind};
use crate::record::Record;
use crate::state::key::key_group;
use crate::time::Epoch;

/// Turns rows into blocks. A row that cannot be encoded fails the run.
pub(super) fn encode<'s, R: Record>(
    rows: StreamVec<'s, Epoch, R>,
    stage: &SinkStage<R>,
    spare: SpareBlocks,
) -> StreamVec<'s, Epoch, RowBlock> {
    let name = format!("{}.encode", stage.name);
    let stage_name = StageName::of(&name);
    let (sink, control, shards) = (stage.name.clone(), stage.control.clone(), stage.shards());
    let own = stage.durable.is_none().then_some(stage.worker);
    let mut encoder = Encoder { key: stage.key.clone(), own, open: (0..shards).map(|_| None).collect(), spare };
    let mut ready = Vec::new();
    rows.unary::<CapacityContainerBuilder<Vec<RowBlock>>, _, _, _>(Pipeline, &name, move |_, _| {
        move |input, output| {
            let _stage = stage_name.enter();
            input.for_each(|capability, batch| {
                for row in batch.drain(..) {
                    if let Err(why) = encoder.encode(&row, &mut ready) {
                        let message = format!("sink {sink:?}: a row cannot be written as JSON");
                        control.fail(Error::new(ErrorKind::Internal, message).because(why));
                        return;
                    }
                }
                ready.extend(encoder.open.iter_mut().filter_map(Option::take));
                output.session(&capability).give_iterator(ready.drain(..));
            });
        }
    })
}

struct Encoder<R> {
    key: Option<KeyOf<R>>,
    /// The shard of all rows, if it does not depend on the row.
    own: Option<usize>,
    /// By shard.
    open: Vec<Option<RowBlock>>,
    spare: SpareBlocks,
}

impl<R: Record> Encoder<R> {
    /// Adds a row to the open block of its shard; blocks that are full go to `ready`.
    fn encode(&mut self, row: &R, ready: &mut Vec<RowBlock>) -> serde_json::Result<()> {
        // A row's shard is known once the row is encoded, so with several shards it is encoded separately.
        let mut block = match self.own.or((self.open.len() == 1).then_some(0)) {
            Some(shard) => self.open[shard].take().unwrap_or_else(|| self.spare.take(shard)),
            None => self.spare.take(0),
        };
        let start = block.bytes.len();
        if let Some(key) = &self.key {
            key(row, &mut block.bytes);
        }
        let key_end = block.bytes.len();
        serde_json::to_writer(&mut block.bytes, row)?;
        let ends = |block: &RowBlock, from: usize| {
            let at = |end: usize| u32::try_from(end).expect("a block and a row are far below 4 GiB");
            (at(from + key_end - start), at(block.bytes.len()))
        };
        if self.own.is_none() && self.open.len() > 1 {
            let shard = shard_of(&block.bytes[start..key_end], &block.bytes[key_end..], self.open.len());
            let mut target = self.open[shard].take().unwrap_or_else(|| self.spare.take(shard));
            let from = target.bytes.len();
            target.bytes.extend_from_slice(&block.bytes);
            target.ends.push(ends(&target, from));
            self.spare.give(block);
            block = target;
        } else {
            block.ends.push(ends(&block, start));
        }
        if block.bytes.len() >= BLOCK_BYTES {
            ready.push(block);
        } else {
            let shard = block.shard as usize;
            self.open[shard] = Some(block);
        }
        Ok(())
    }
}

/// The shard of a row: rows of one key are in one, in order.
fn shard_of(key: &[u8], row: &[u8], shards: usize) -> usize {
    key_group(if key.is_empty() { row } else { key }) as usize % shards
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn encode_all(encoder: &mut Encoder<u64>, rows: std::ops::Range<u64>) -> Vec<RowBlock> {
        let mut ready = Vec::new();
        rows.for_each(|row| encoder.encode(&row, &mut ready).unwrap());
        ready.extend(encoder.open.iter_mut().filter_map(Option::take));
        ready
    }

    fn encoder(own: Option<usize>, shards: usize) -> Encoder<u64> {
        Encoder { key: None, own, open: (0..shards).map(|_| None).collect(), spare: SpareBlocks::default() }
    }

    #[test]
    fn a_rows_shard_depends_on_the_row_alone() {
        let place = |range: std::ops::Range<u64>| {
            let mut found = Vec::new();
            for block in encode_all(&mut encoder(None, 4), range) {
                found.extend(block.rows().map(|(_, row)| (String::from_utf8(row.to_vec()).unwrap(), block.shard)));
            }
            found.sort();
            found
        };
        let mut parts = [place(0..300), place(300..1_000)].concat();
        parts.sort();
        assert_eq!(parts, place(0..1_000));
        let shards: std::collections::BTreeSet<u32> = parts.iter().map(|(_, shard)| *shard).collect();
        assert_eq!(shards.len(), 4);
    }

    #[test]
    fn rows_of_one_key_share_a_shard() {
        let mut encoder = encoder(None, 8);
        encoder.key = Some(Rc::new(|row, bytes| bytes.extend_from_slice(&(row % 3).to_be_bytes())));
        let blocks = encode_all(&mut encoder, 0..300);
        let mut keys = std::collections::BTreeMap::new();
        for block in &blocks {
            for (key, _) in block.rows() {
                assert_eq!(*keys.entry(key.to_vec()).or_insert(block.shard), block.shard);
            }
        }
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn without_a_state_directory_rows_stay_in_order_with_their_worker() {
        let blocks = encode_all(&mut encoder(Some(1), 2), 0..50_000);
        assert!(blocks.len() > 1 && blocks.iter().all(|block| block.shard == 1));
        let rows: Vec<u64> = blocks
            .iter()
            .flat_map(|block| block.rows().map(|(_, row)| serde_json::from_slice(row).unwrap()).collect::<Vec<_>>())
            .collect();
        assert!(rows.iter().copied().eq(0..50_000));
    }
}
