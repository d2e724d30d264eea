//! Bindings: which records of which partition belong to which epoch.
//!
//! A source holds an epoch open until its binding is on the disk; so whatever left the dataflow came from epochs that can be
//! made again, record by record, by a process that knows nothing but the bindings and the source.
//!
//! Each process of a generation appends to a file of its own, and begins another one now and then, so that what is older than the
//! oldest checkpoint can be deleted file by file. A frame is one line: a CRC-32 in hexadecimal, a space, and JSON. The first frame
//! says whose file it is; each further one holds what was bound between two flushes to the disk. Only the last frame of a file can
//! be torn.

mod prune;
mod read;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use prune::prune;
pub(crate) use read::fuzz;
pub use read::recover;
pub use write::{Binder, BindingLog, BindingWriter, LogObserver};

use crate::checkpoint::manifest::CheckpointName;
use crate::operators::admission::{AdmissionState, Delays};
use crate::operators::watermark::{Marked, NO_PARTITION};
use crate::time::{Epoch, EventTime};

/// The version of the frames.
const VERSION: u32 = 1;

/// How a partition is at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It came, or came back, when the watermark may be past it: its records wait until that is known.
    Returned,
    /// It takes part in the watermark.
    Active,
    /// It had nothing for a while: the watermark goes on without it.
    Idle,
    /// It will never have another record.
    Ended,
}

/// How far a partition is at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionBinding {
    /// The partition's number in its source.
    pub partition: u32,
    /// Its beginning, in the first epoch that knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
    /// Records with smaller offsets belong to this epoch or to earlier ones; all others to later ones.
    pub next: u64,
    /// Whether the watermark waits for it.
    pub phase: Phase,
    /// Events before it came too late from this epoch on, since the partition came back when the watermark was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<EventTime>,
    /// How far its watermark followed the clock at the end of this epoch, if it did. Earlier events come too late after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<EventTime>,
}

/// Where a partition begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its name for people.
    pub label: String,
    /// The offset from which on it is read.
    pub from: u64,
    /// What tells it from another one that came in its place, if the source knows something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// What one worker's source read in one epoch. An epoch in which nothing changed is not bound: it can be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The source's name in the dataflow.
    pub source: String,
    /// The epoch.
    pub epoch: Epoch,
    /// The partitions that changed.
    pub partitions: Vec<PartitionBinding>,
}

/// How far a partition was at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Its number in its source.
    pub partition: u32,
    /// Its name for people.
    pub label: String,
    /// Records with smaller offsets are in the checkpoint.
    pub next: u64,
    /// Whether the watermark waits for it.
    pub phase: Phase,
    /// Events before it come too late.
    pub floor: EventTime,
    /// What tells it from another one that came in its place, if the source knows something.
    pub identity: Option<String>,
}

/// How far a partition was decoded and decided on at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// Its number in its source.
    pub partition: u32,
    /// What is known of the event times before.
    pub admission: AdmissionState,
    /// How long its events took to be read.
    pub delays: Delays,
    /// What its decoder knows.
    pub decoder: Vec<u8>,
}

/// Everything that is known of one source at a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceBase {
    /// By partition.
    pub positions: BTreeMap<u32, Position>,
    /// How far they were decided on, by partition.
    pub admitted: BTreeMap<u32, Admitted>,
    /// What their marks came to.
    pub marked: Marked,
}

/// Where a history begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The checkpoint, if there is one: bindings of epochs up to it are not asked for.
    pub checkpoint: Option<CheckpointName>,
    /// By source.
    pub sources: BTreeMap<String, SourceBase>,
}

/// Everything that was bound, in all generations and by all processes, after a checkpoint if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By source, then by epoch, then by partition.
    pub sources: BTreeMap<String, SourceHistory>,
    /// The newest epoch of all: later ones are free.
    pub last: Option<Epoch>,
}

/// What was bound of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHistory {
    /// How it was at the checkpoint.
    pub base: SourceBase,
    /// By epoch, then by partition.
    pub epochs: BTreeMap<Epoch, BTreeMap<u32, PartitionBinding>>,
}

/// A partition that earlier generations read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPartition {
    /// Its number in the source.
    pub partition: u32,
    /// Its name for people.
    pub label: String,
    /// The offset from which on it is to be read again.
    pub from: u64,
    /// Records before this offset must be there.
    pub next: u64,
    /// Whether it ended there: nothing after that belongs to it.
    pub ended: bool,
    /// What tells it from another one that came in its place, if the source knew something.
    pub identity: Option<String>,
}

impl SourceHistory {
    /// The partitions that it speaks of, by number.
    pub fn partitions(&self) -> Vec<KnownPartition> {
        let at_checkpoint = |position: &Position| {
            let Position { partition, label, next, phase, identity, .. } = position.clone();
            (partition, KnownPartition { partition, label, from: next, next, ended: phase == Phase::Ended, identity })
        };
        let mut known: BTreeMap<u32, KnownPartition> = self.base.positions.values().map(at_checkpoint).collect();
        let bindings = self.epochs.values().flat_map(BTreeMap::values);
        for binding in bindings.filter(|binding| binding.partition != NO_PARTITION) {
            let partition = binding.partition;
            match (known.get_mut(&partition), &binding.joined) {
                (Some(known), _) => {
                    known.next = binding.next;
                    known.ended = binding.phase == Phase::Ended;
                }
                (None, Some(Joined { label, from, identity })) => {
                    let (label, from, next, identity) = (label.clone(), *from, binding.next, identity.clone());
                    let ended = binding.phase == Phase::Ended;
                    known.insert(partition, KnownPartition { partition, label, from, next, ended, identity });
                }
                // Refused when it was read.
                (None, None) => {}
            }
        }
        known.into_values().collect()
    }
}
