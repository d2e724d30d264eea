//! The contract of a sink connector.

use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::time::Epoch;

/// How often each row of a committed epoch reaches the external system, after any failure. Stated per sink, in one of
/// three words.
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

/// The shard of a sink that a writer is for.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The sink's name in the dataflow, for errors and file names.
    pub name: String,
    /// The shard, from 0. A row's shard depends on the row alone while `shards` stays the same.
    pub shard: usize,
    /// Shards of the sink: as many as workers, or as many as the state directory was created for.
    pub shards: usize,
    /// When this run started, in milliseconds since the Unix epoch, or when its state directory was created:
    /// distinguishes its files from those of other runs.
    pub run_ms: u64,
    /// The run's generation of its state directory; `None` without one: then a failed run is not resumed.
    pub generation: Option<Generation>,
}

/// Identifies a run among those that resume each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The identity of the state directory: letters and digits, the same in all generations.
    pub state: String,
    /// Counts the runs on the state directory, from 1. A process of a lower number may still be alive, and must be
    /// fenced from writing.
    pub number: u64,
}

/// A configured sink, the same on every worker.
pub trait SinkConnector: Send + Sync {
    /// Opens one worker's shard of the sink.
    ///
    /// # Errors
    /// If the external system refuses; the dataflow then stops with exit code 4.
    fn open(&self, context: &SinkContext) -> Result<Box<dyn SinkWriter>>;

    /// The guarantee of this sink if the dataflow has a state directory. Without one, what was not durable when a run
    /// was killed is lost, and what was may be written again by the next.
    fn delivery(&self) -> Delivery;
}

/// Writes the rows of one shard. Epochs arrive in order and only after the frontier has passed them.
///
/// A writer that delivers exactly once records, atomically with the rows, the newest epoch whose rows it has made
/// durable, and returns it from [`committed`](Self::committed) when it is opened again. It never records an epoch
/// without rows: only for epochs with rows is it certain that the next generation does not reuse them.
pub trait SinkWriter {
    /// Takes one encoded row, without a delimiter; `key` is the flow's choice for systems that partition by key.
    ///
    /// # Errors
    /// If the row can never be written; a transient failure is retried inside.
    fn write(&mut self, key: Option<&[u8]>, row: &[u8]) -> Result<()>;

    /// The newest epoch whose rows an earlier generation made durable, as found when the writer was opened: rows up to
    /// it are not written again. Default: `None`.
    fn committed(&self) -> Option<Epoch> {
        None
    }

    /// All rows of `epoch` and before have been written. The writer makes them durable in its own time. Called for
    /// every epoch with rows, and now and then for one without.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn seal(&mut self, epoch: Epoch) -> Result<()>;

    /// The newest sealed epoch whose rows are all durable, or `None` before the first. Never blocks; called often.
    ///
    /// # Errors
    /// If rows turned out not to be writable.
    fn durable(&mut self) -> Result<Option<Epoch>>;

    /// How long to wait before calling [`durable`](Self::durable) again while something is not.
    fn poll_interval(&self) -> Duration {
        Duration::from_millis(2)
    }

    /// The input has ended and everything sealed is durable: finish files, close connections.
    ///
    /// # Errors
    /// If the last file cannot be finished.
    fn finish(&mut self) -> Result<()>;
}
