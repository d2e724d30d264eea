//! The contract of a sink connector.

use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::time::Epoch;

/// How often each row of a committed epoch reaches the outside, after any failure. Stated per sink, in one of three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Once.
    ExactlyOnce,
    /// Once or more; alerts carry a stable `alert_id` so that receivers can drop repeats.
    AtLeastOnce,
    /// Perhaps not at all.
    None,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::ExactlyOnce => "exactly-once",
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::None => "none",
        })
    }
}

/// Where a writer runs.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The sink's name in the dataflow, for errors and file names.
    pub name: String,
    /// This worker, from 0, over all processes.
    pub worker: usize,
    /// Workers in all processes.
    pub workers: usize,
    /// When this run started, in milliseconds since the Unix epoch: tells its files from those of other runs.
    pub run_ms: u64,
}

/// A configured sink, the same on every worker.
pub trait SinkConnector: Send + Sync {
    /// Opens one worker's shard of the sink.
    ///
    /// # Errors
    /// If the external system says no; the dataflow then stops with exit code 4.
    fn open(&self, context: &SinkContext) -> Result<Box<dyn SinkWriter>>;

    /// What this sink promises.
    fn delivery(&self) -> Delivery;
}

/// Writes one worker's rows. Epochs arrive in order and only after the frontier has passed them.
pub trait SinkWriter {
    /// Takes one encoded row, without a delimiter; `key` is the flow's choice for systems that partition by key.
    ///
    /// # Errors
    /// If the row can never be written; a failure that may pass is retried inside.
    fn write(&mut self, key: Option<&[u8]>, row: &[u8]) -> Result<()>;

    /// All rows of `epoch` and before have been given. The writer makes them durable in its own time.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn seal(&mut self, epoch: Epoch) -> Result<()>;

    /// The newest sealed epoch whose rows are all durable, or `None` before the first. Never waits; called often.
    ///
    /// # Errors
    /// If rows turned out not to be writable.
    fn durable(&mut self) -> Result<Option<Epoch>>;

    /// How long to wait before asking [`durable`](Self::durable) again while something is not.
    fn poll_interval(&self) -> Duration {
        Duration::from_millis(2)
    }

    /// The input has ended and everything sealed is durable: finish files, close connections.
    ///
    /// # Errors
    /// If the last file cannot be finished.
    fn finish(&mut self) -> Result<()>;
}
