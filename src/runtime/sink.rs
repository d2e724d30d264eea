//! A sink: encodes rows, hands them to connectors once the frontier has passed their epoch, and holds back the progress
//! of the dataflow until the connectors report them durable.
//!
//! The invariant: a row of epoch *e* is handed to a writer only after no row of *e* can follow, and the probe behind
//! the sinks passes *e* only after it is durable.
//!
//! A sink has shards, each with a writer of its own. Without a state directory every worker has one shard and writes
//! its own rows to it. With one, a row's shard must be the same in every generation, so it is a hash of the row, and
//! encoded rows are exchanged to the worker that owns the shard.

mod block;
mod encode;
mod write;

use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::StreamVec;

use self::block::SpareBlocks;
use super::control::Control;
use crate::connectors::sink::{Generation, SinkConnector};
use crate::record::Record;
use crate::telemetry::SinkMetrics;
use crate::time::{Epoch, Ticker};

/// How a sink chooses the key of a row, for systems that partition by key: it appends the key to the bytes.
pub type KeyOf<R> = Rc<dyn Fn(&R, &mut Vec<u8>)>;

/// The parts of a sink.
pub struct SinkStage<R> {
    /// The sink's name in the dataflow.
    pub name: String,
    /// This worker, from 0, over all processes.
    pub worker: usize,
    /// Workers in all processes.
    pub workers: usize,
    /// See [`SinkContext::run_ms`](crate::connectors::sink::SinkContext::run_ms).
    pub run_ms: u64,
    /// The run's generation and the number of shards, if it has a state directory.
    pub durable: Option<(Generation, usize)>,
    /// The external system that it writes to.
    pub connector: Arc<dyn SinkConnector>,
    /// The key of a row, if the flow chose one.
    pub key: Option<KeyOf<R>>,
    /// Stops the run.
    pub control: Control,
    /// The clock, for latencies.
    pub ticker: Ticker,
    /// The sink's metrics.
    pub metrics: SinkMetrics,
}

impl<R> SinkStage<R> {
    fn shards(&self) -> usize {
        self.durable.as_ref().map_or(self.workers, |(_, shards)| *shards)
    }
}

/// Builds a sink's operators; the stream they return carries no data, only the progress of the sink.
pub fn sink<'s, R: Record>(rows: StreamVec<'s, Epoch, R>, stage: SinkStage<R>) -> StreamVec<'s, Epoch, ()> {
    let spare = SpareBlocks::default();
    let blocks = encode::encode(rows, &stage, spare.clone());
    write::write(blocks, stage, spare)
}
