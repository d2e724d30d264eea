//! The sink operator: encodes rows, gives them to a connector once the frontier has passed their epoch, and holds back the
//! progress of the dataflow until the connector says they are durable.
//!
//! The invariant: a row of epoch *e* is given to the writer only after no row of *e* can follow, and the probe behind the
//! sinks passes *e* only after it is durable.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::{Capability, InputCapability};

use super::control::Control;
use crate::connectors::sink::{SinkConnector, SinkContext, SinkWriter};
use crate::error::stage::StageName;
use crate::error::{Error, ErrorKind, Result};
use crate::operators::pending::Pending;
use crate::record::Record;
use crate::telemetry::SinkMetrics;
use crate::time::{Epoch, Ticker};

/// How a sink chooses the key of a row, for systems that partition by key: it appends the key to the bytes.
pub type KeyOf<R> = Rc<dyn Fn(&R, &mut Vec<u8>)>;

/// What a sink operator is made of.
pub struct SinkStage<R> {
    /// Where it runs.
    pub context: SinkContext,
    /// Whom it writes to.
    pub connector: Arc<dyn SinkConnector>,
    /// The key of a row, if the flow chose one.
    pub key: Option<KeyOf<R>>,
    /// Whether to stop.
    pub control: Control,
    /// The clock, for latencies.
    pub ticker: Ticker,
    /// Where the sink counts.
    pub metrics: SinkMetrics,
}

/// How many bytes of rows are encoded into one block; a row may run over.
const BLOCK_BYTES: usize = 64 * 1024;

/// Emptied blocks kept for reuse.
const SPARE_MAX: usize = 64;

/// Encoded rows of one epoch, end to end.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    /// Where each key and each row ends; equal ends mean there is no key.
    ends: Vec<(usize, usize)>,
}

/// Builds a sink operator; the stream it returns carries no data, only how far the sink is.
pub fn sink<'s, R: Record>(rows: StreamVec<'s, Epoch, R>, stage: SinkStage<R>) -> StreamVec<'s, Epoch, ()> {
    // A stage may have the same name; operators are told apart by it.
    let name = format!("{}.sink", stage.context.name);
    let writer = match stage.connector.open(&stage.context) {
        Ok(writer) => Some(writer),
        Err(error) => {
            stage.control.fail(error);
            None
        }
    };
    let scope = rows.scope();
    let stage_name = StageName::of(&name);
    rows.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, &name, move |initial, info| {
        drop(initial);
        let activator = scope.activator_for(info.address);
        let mut shard = Shard::new(stage, writer);
        move |(input, frontier), _output| {
            let _stage = stage_name.enter();
            input.for_each(|capability, batch| {
                shard.take(&capability, batch);
            });
            if shard.stage.control.failed() {
                shard.abandon();
                return;
            }
            match shard.advance(frontier.frontier().first().copied()) {
                Ok(None) => {}
                Ok(Some(again)) => activator.activate_after(again),
                Err(error) => shard.stage.control.fail(error),
            }
        }
    })
}

/// One worker's part of a sink.
struct Shard<R> {
    stage: SinkStage<R>,
    /// `None` once it is finished, or if it never opened.
    writer: Option<Box<dyn SinkWriter>>,
    /// Rows of epochs that may still get more.
    pending: Pending<Vec<Block>>,
    /// Emptied blocks, kept for their memory.
    spare: Vec<Block>,
    /// Epochs given to the writer and not yet durable.
    sealed: BTreeMap<Epoch, Capability<Epoch>>,
    /// Epochs before this one are sealed.
    sealed_before: Epoch,
}

impl<R: Record> Shard<R> {
    fn new(stage: SinkStage<R>, writer: Option<Box<dyn SinkWriter>>) -> Self {
        Shard { stage, writer, pending: Pending::new(0), spare: Vec::new(), sealed: BTreeMap::new(), sealed_before: 0 }
    }

    /// Encodes rows of an epoch.
    fn take(&mut self, capability: &InputCapability<Epoch>, batch: &mut Vec<R>) {
        let Some(blocks) = self.pending.at(capability) else { return };
        for row in batch.drain(..) {
            if blocks.last().is_none_or(|block| block.bytes.len() >= BLOCK_BYTES) {
                blocks.push(self.spare.pop().unwrap_or_default());
            }
            let block = blocks.last_mut().expect("a block was just made sure of");
            if let Some(key) = &self.stage.key {
                key(&row, &mut block.bytes);
            }
            let key_end = block.bytes.len();
            if let Err(why) = serde_json::to_writer(&mut block.bytes, &row) {
                let message = format!("sink {:?}: a row cannot be written as JSON", self.stage.context.name);
                self.stage.control.fail(Error::new(ErrorKind::Internal, message).because(why));
                return;
            }
            block.ends.push((key_end, block.bytes.len()));
        }
    }

    /// Gives complete epochs to the writer and lets durable ones pass. Returns when to look again, if something is not
    /// durable yet.
    fn advance(&mut self, open: Option<Epoch>) -> Result<Option<Duration>> {
        let Some(writer) = self.writer.as_mut() else { return Ok(None) };
        let mut last = None;
        while let Some((capability, blocks)) = self.pending.take_complete(open) {
            let epoch = *capability.time();
            for mut block in blocks {
                let mut start = 0;
                for &(key_end, end) in &block.ends {
                    let key = self.stage.key.is_some().then_some(&block.bytes[start..key_end]);
                    writer.write(key, &block.bytes[key_end..end])?;
                    start = end;
                }
                self.stage.metrics.written(block.ends.len() as u64, block.bytes.len() as u64);
                block.bytes.clear();
                block.ends.clear();
                if self.spare.len() < SPARE_MAX {
                    self.spare.push(block);
                }
            }
            self.sealed.insert(epoch, capability);
            last = Some(epoch);
        }
        // Sealed at every move of the frontier, also without rows: files roll by epochs.
        let complete = open.unwrap_or(last.map_or(self.sealed_before, |last| last + 1));
        if complete > self.sealed_before {
            writer.seal(complete - 1)?;
            self.sealed_before = complete;
        }
        let durable = writer.durable()?;
        if open.is_none() && self.sealed.keys().next_back().is_none_or(|last| Some(*last) <= durable) {
            writer.finish()?;
            self.writer = None;
        }
        while let Some(entry) = self.sealed.first_entry()
            && Some(*entry.key()) <= durable
        {
            let latency = self.stage.ticker.now_ms().saturating_sub(*entry.key());
            self.stage.metrics.durable(*entry.key(), Duration::from_millis(latency));
            entry.remove();
        }
        Ok(self.writer.as_ref().filter(|_| !self.sealed.is_empty()).map(|writer| writer.poll_interval()))
    }

    /// Lets go of everything: the run has failed.
    fn abandon(&mut self) {
        self.pending.clear();
        self.sealed.clear();
        self.writer = None;
    }
}
