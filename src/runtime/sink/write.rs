//! Hands complete epochs to the writers of this worker's shards, and releases those that are durable.

use std::collections::BTreeMap;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;

use super::SinkStage;
use super::block::{RowBlock, SpareBlocks};
use crate::connectors::sink::{SinkContext, SinkWriter};
use crate::error::Result;
use crate::error::stage::StageName;
use crate::operators::pending::Pending;
use crate::time::Epoch;

/// Builds the operator. A connector that cannot be opened fails the run.
pub(super) fn write<'s, R: 'static>(
    blocks: StreamVec<'s, Epoch, RowBlock>,
    stage: SinkStage<R>,
    spare: SpareBlocks,
) -> StreamVec<'s, Epoch, ()> {
    let workers = stage.workers as u64;
    if stage.durable.is_some() && workers > 1 {
        let to_shard = Exchange::new(move |block: &RowBlock| u64::from(block.shard) % workers);
        write_from(to_shard, blocks, stage, spare)
    } else {
        write_from(Pipeline, blocks, stage, spare)
    }
}

fn write_from<'s, R: 'static>(
    pact: impl ParallelizationContract<Epoch, Vec<RowBlock>>,
    blocks: StreamVec<'s, Epoch, RowBlock>,
    stage: SinkStage<R>,
    spare: SpareBlocks,
) -> StreamVec<'s, Epoch, ()> {
    // A stage may have the same name; operators are told apart by theirs.
    let name = format!("{}.sink", stage.name);
    let (scope, stage_name) = (blocks.scope(), StageName::of(&name));
    let shards = open(&stage).unwrap_or_else(|error| {
        stage.control.fail(error);
        Vec::new()
    });
    blocks.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(pact, &name, move |initial, info| {
        drop(initial);
        let activator = scope.activator_for(info.address);
        let mut writing =
            SinkOperator { stage, shards, spare, pending: Pending::new(0), sealed: BTreeMap::new(), sealed_before: 0 };
        move |(input, frontier), _output| {
            let _stage = stage_name.enter();
            input.for_each(|capability, batch| {
                if let Some(blocks) = writing.pending.at(&capability) {
                    blocks.append(batch);
                }
            });
            if writing.stage.control.failed() {
                writing.abandon();
                return;
            }
            match writing.advance(frontier.frontier().first().copied()) {
                Ok(None) => {}
                Ok(Some(again)) => activator.activate_after(again),
                Err(error) => writing.stage.control.fail(error),
            }
        }
    })
}

/// Opens the writers of this worker's shards: shard modulo workers.
fn open<R>(stage: &SinkStage<R>) -> Result<Vec<OpenShard>> {
    let shards = stage.shards();
    (stage.worker..shards)
        .step_by(stage.workers)
        .map(|shard| {
            let context = SinkContext {
                name: stage.name.clone(),
                shard,
                shards,
                run_ms: stage.run_ms,
                generation: stage.durable.as_ref().map(|(generation, _)| generation.clone()),
            };
            let writer = stage.connector.open(&context)?;
            let committed = writer.committed();
            if let Some(epoch) = committed {
                tracing::info!(sink = stage.name, shard, epoch, "rows up to this epoch are written already");
            }
            Ok(OpenShard { number: shard, writer, committed })
        })
        .collect()
}

struct OpenShard {
    number: usize,
    writer: Box<dyn SinkWriter>,
    /// The last epoch that an earlier generation committed.
    committed: Option<Epoch>,
}

/// One worker's shards of a sink.
struct SinkOperator<R> {
    stage: SinkStage<R>,
    /// Ascending. Empty once the sink is finished, and on workers without a shard.
    shards: Vec<OpenShard>,
    /// Blocks of epochs that are not complete yet.
    pending: Pending<Vec<RowBlock>>,
    spare: SpareBlocks,
    /// Epochs that were handed to the writers and are not durable yet.
    sealed: BTreeMap<Epoch, Capability<Epoch>>,
    /// Epochs before this one are sealed.
    sealed_before: Epoch,
}

impl<R> SinkOperator<R> {
    /// Hands complete epochs to the writers and releases durable ones. Returns when to check again, if something is not
    /// durable yet.
    fn advance(&mut self, open: Option<Epoch>) -> Result<Option<Duration>> {
        while let Some((capability, blocks)) = self.pending.take_complete(open) {
            let epoch = *capability.time();
            self.give(epoch, blocks)?;
            self.seal(epoch)?;
            self.sealed.insert(epoch, capability);
        }
        // Sealed whenever the frontier moves, also without rows: files roll by epochs.
        if let Some(open) = open
            && open > self.sealed_before
        {
            self.seal(open - 1)?;
        }
        let mut durable = Epoch::MAX;
        for shard in &mut self.shards {
            durable = durable.min(shard.writer.durable()?.map_or(0, |epoch| epoch + 1));
        }
        if open.is_none() && self.sealed.keys().next_back().is_none_or(|last| *last < durable) {
            for mut shard in self.shards.drain(..) {
                shard.writer.finish()?;
            }
        }
        while let Some(entry) = self.sealed.first_entry()
            && *entry.key() < durable
        {
            let latency = self.stage.ticker.now_ms().saturating_sub(*entry.key());
            self.stage.metrics.durable(*entry.key(), Duration::from_millis(latency));
            entry.remove();
        }
        let again = self.shards.iter().map(|shard| shard.writer.poll_interval()).min();
        Ok(again.filter(|_| !self.sealed.is_empty()))
    }

    /// Hands the rows of an epoch to the writers of their shards, except those that an earlier generation committed.
    fn give(&mut self, epoch: Epoch, blocks: Vec<RowBlock>) -> Result<()> {
        let keyed = self.stage.key.is_some();
        for block in blocks {
            let shard = self.shards.iter_mut().find(|shard| shard.number == block.shard as usize);
            let shard = shard.expect("blocks go to the worker of their shard, and it is not finished");
            if shard.committed.is_none_or(|committed| epoch > committed) {
                for (key, row) in block.rows() {
                    shard.writer.write(keyed.then_some(key), row)?;
                }
                self.stage.metrics.written(block.ends.len() as u64, block.bytes.len() as u64);
            }
            self.spare.give(block);
        }
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.sealed_before = epoch + 1;
        self.shards.iter_mut().try_for_each(|shard| shard.writer.seal(epoch))
    }

    /// Writes nothing more: the run has failed. Epochs stay open, since rows that are not written must not look
    /// durable.
    fn abandon(&mut self) {
        self.shards.clear();
    }
}
