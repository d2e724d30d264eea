//! The contract of a source connector.

use std::time::Duration;

use crate::checkpoint::bindings::KnownPartition;
use crate::checkpoint::journal::Journals;
use crate::error::{Error, Result};
use crate::record::Reason;
use crate::telemetry::SkipReason;

/// A partition of a source, numbered from 0; unique within the source over all workers, and the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Partition(pub u32);

/// The worker that a reader is for, which determines its share of the partitions.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// The source's name in the dataflow, for errors.
    pub name: String,
    /// This worker, from 0, over all processes.
    pub worker: usize,
    /// Workers in all processes.
    pub workers: usize,
    /// Records longer than this many bytes are rejected as [`Reason::TooLarge`].
    pub record_bytes_max: usize,
    /// The journals of sources that cannot be read again, in a run with a state directory.
    pub journals: Option<Journals>,
}

impl SourceContext {
    /// Whether this worker reads `partition`: the rule is partition modulo workers, so it survives restarts.
    pub fn owns(&self, partition: Partition) -> bool {
        partition.0 as usize % self.workers == self.worker
    }
}

/// A configured source, the same on every worker.
pub trait SourceConnector: Send + Sync {
    /// Opens the partitions of one worker. It is called once per worker, also on workers that own no partition.
    ///
    /// # Errors
    /// If the external system refuses; the dataflow then stops with exit code 3.
    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>>;

    /// Whether records can be read again by offset after the process has died, which a run with a state directory
    /// requires. Default: no.
    fn is_replayable(&self) -> bool {
        false
    }

    /// Whether records are written while they are read, rather than delivered in batches: the watermark of a quiet
    /// partition then follows the clock, unless the configuration says `live = false`. Default: no.
    fn is_live(&self) -> bool {
        false
    }

    /// Whether a run without a state directory that is stopped before the source ends closes open windows, as if it had
    /// ended: right for a source that was asked to read existing data. Default: no.
    fn drains(&self) -> bool {
        false
    }

    /// Whether event times are right by construction: then `past_max` and `jump_max` are off unless the configuration
    /// sets them. Default: no.
    fn is_trusted(&self) -> bool {
        false
    }

    /// Opens the partitions of one worker in a run that has a state directory: those in `known`, which earlier runs
    /// read and which have the same numbers in all runs, at the offset from which they are read again; and others, at
    /// the offset at which [`open`](Self::open) would start. `known` has the partitions of all workers, by number.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and if a known partition is gone. Default: that the source cannot be read again.
    fn reopen(&self, context: &SourceContext, _: &[KnownPartition]) -> Result<Box<dyn SourceReader>> {
        Err(not_replayable(&context.name))
    }

    /// The block of the source `name` at a location that [`Block::place`] returned in another process of this machine.
    /// Only called if some block returns one.
    ///
    /// # Errors
    /// If it is no such location, or what was there is gone.
    fn block_at(&self, name: &str, _: &[u8]) -> Result<Box<dyn Block>> {
        Err(Error::source(format!("source {name:?} has no blocks that other processes can read")))
    }
}

/// The error for a source that cannot be in a run with a state directory.
pub(crate) fn not_replayable(name: &str) -> Error {
    Error::config(format!("source {name:?} cannot be read again after a failure, so it cannot be read exactly once"))
        .hint("run without engine.state_dir, or read the same data from standard input, files that are not followed, or Kafka")
}

/// Reads one worker's partitions.
pub trait SourceReader {
    /// Hands what is available to `collector`, about `budget_bytes` at most, and returns without blocking.
    ///
    /// It is not called again once it has returned [`Polled::Finished`].
    ///
    /// Every partition is announced with [`Collector::joined`] before anything else is reported about it, and
    /// partitions known at start are announced in the *first* poll: the watermark waits for all of them.
    ///
    /// # Errors
    /// If a partition can no longer be read; a transient failure is retried inside the reader instead.
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled>;

    /// How long the first record of the last poll had been available when that poll began, for the measurement of
    /// latency. Default: zero, for readers that do not know.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// The first offset of a partition that is read. Called once, in the poll that announced it. Default: 0.
    fn begins_at(&self, _: Partition) -> u64 {
        0
    }

    /// What distinguishes the partition from another one that replaced it under the same name and number, such as the
    /// id of its topic. It is bound with the partition, and passed to [`reopen`](SourceConnector::reopen). Called once,
    /// with [`begins_at`](Self::begins_at). Default: `None`, nothing does.
    fn identity(&self, _: Partition) -> Option<String> {
        None
    }

    /// Stops or resumes handing over records of a partition: it has all records of a replayed epoch, and other
    /// partitions have not. Records that are handed over nevertheless are buffered. Default: a no-op.
    fn hold(&mut self, _: Partition, _held: bool) {}

    /// Offsets of a partition before `next` will not be read again, not even after a restart: what was kept for that
    /// can be deleted. Default: a no-op.
    fn checkpointed(&mut self, _: Partition, _next: u64) {}

    /// The number of partitions on all workers together, as far as it is known when the reader opens. Where there are
    /// fewer than workers, all workers decode their records. Default: `None`, which counts as many.
    fn partitions(&self) -> Option<usize> {
        None
    }
}

/// The result of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// The budget was used up: poll again at once.
    More,
    /// Nothing more at present: poll again after this long.
    Wait(Duration),
    /// Every partition has ended and none can appear.
    Finished,
}

/// Whole lines of one partition that can be read later, by another thread of this process or by another process of this
/// machine: a reader that finds the ends of lines without looking at the lines leaves reading them to the worker that
/// decodes them.
pub trait Block: Send + Sync {
    /// The offset of the first byte. The offset of a line is that of its own first byte.
    fn offset(&self) -> u64;

    /// The size in bytes; less than 4 GiB.
    fn size(&self) -> usize;

    /// Appends the bytes to `buffer`. The last line ends with a newline like all others.
    ///
    /// # Errors
    /// If they no longer exist.
    fn read(&self, buffer: &mut Vec<u8>) -> Result<()>;

    /// The location of the block, for [`SourceConnector::block_at`] in another process of this machine. Default:
    /// `None`, other processes cannot read it.
    fn place(&self) -> Option<Vec<u8>> {
        None
    }
}

/// Receives what a reader reads. Offsets of one partition only ever grow.
pub trait Collector {
    /// A partition is being read from now on; `label` is its display name (a path, a partition number).
    fn joined(&mut self, partition: Partition, label: &str);

    /// One record, without its delimiter.
    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]);

    /// Whether [`block`](Self::block) may be called for the partition now. Default: no.
    fn takes_blocks(&self, _: Partition) -> bool {
        false
    }

    /// The approximate size of a block, in bytes. Default: half a mebibyte.
    fn block_bytes(&self) -> usize {
        512 * 1024
    }

    /// Many records at once, not read yet: the lines of `block`, without empty ones.
    ///
    /// # Panics
    /// If the collector does not take blocks.
    fn block(&mut self, _: Partition, _: Box<dyn Block>) {
        panic!("this collector takes no blocks");
    }

    /// Bytes that are not a record, such as a line longer than `record_bytes_max`; `head` is its beginning.
    fn rejected(&mut self, partition: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, detail: &str);

    /// A fetch of the partition came back empty: there is nothing to read, as opposed to slow. Called at every such
    /// fetch.
    fn caught_up(&mut self, partition: Partition);

    /// How many records (bytes, for a file) of the partition are not read yet.
    fn lag(&mut self, partition: Partition, lag: u64);

    /// `records` of the partition are gone, and reading continues at the offset `next`, as its configuration allows.
    /// Default: ignored.
    fn gap(&mut self, _: Partition, _next: u64, _records: u64) {}

    /// `paths` paths that match the source's patterns are not read, for `reason`, and were not reported before.
    /// Default: ignored.
    fn skipped(&mut self, _: SkipReason, _paths: u64) {}

    /// The journal of the partition has `bytes` bytes; `full`: nothing is read until it has fewer. Default: ignored.
    fn journal(&mut self, _: Partition, _bytes: u64, _full: bool) {}

    /// The partition has ended: there are no further records.
    fn ended(&mut self, partition: Partition);
}
