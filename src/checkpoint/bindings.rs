//! Bindings: which records of which partition belong to which epoch.
//!
//! A source holds an epoch open until its binding is on disk; so whatever left the dataflow came from epochs that can
//! be replayed, record by record, by a process that knows nothing but the bindings and the source.
//!
//! Each process of a generation appends to a file of its own, and starts another one now and then, so that what is
//! older than the oldest checkpoint can be deleted file by file. A frame is one line: a CRC-32 in hexadecimal, a space,
//! and JSON. The first frame identifies the file; each further one holds what was bound between two flushes. Only the
//! last frame of a file can be torn.

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
use crate::operators::watermark::{NO_PARTITION, WatermarkState};
use crate::time::{Epoch, EventTime};

/// The version of the format of a frame.
const VERSION: u32 = 1;

/// The state of a partition at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It joined, or came back after it was idle, and the watermark may be past it: its records are held back until
    /// that is known.
    Returned,
    /// It takes part in the watermark.
    Active,
    /// It had no records for a while: the watermark advances without it.
    Idle,
    /// It has ended: there are no further records.
    Ended,
}

/// Where a partition is at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionBinding {
    /// The partition's number in its source.
    pub partition: u32,
    /// Where it begins; present in the first epoch that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
    /// Records with smaller offsets belong to this epoch or to earlier ones; all others to later ones.
    pub next: u64,
    /// Whether the watermark waits for it.
    pub phase: Phase,
    /// Events earlier than this are late after idle from this epoch on: the watermark was here when the partition came
    /// back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<EventTime>,
    /// Where the partition's watermark was at the end of this epoch if it followed the clock. Earlier events are late
    /// after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<EventTime>,
}

/// Where a partition begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its display name.
    pub label: String,
    /// The first offset that is read.
    pub from: u64,
    /// What distinguishes it from another one that replaces it, if the source knows something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// What one worker's source read in one epoch. Epochs in which nothing changed have no binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The source's name in the dataflow.
    pub source: String,
    /// The epoch.
    pub epoch: Epoch,
    /// The partitions that changed.
    pub partitions: Vec<PartitionBinding>,
}

/// Where a partition was at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Its number in its source.
    pub partition: u32,
    /// Its display name.
    pub label: String,
    /// Records with smaller offsets are in the checkpoint.
    pub next: u64,
    /// Whether the watermark waits for it.
    pub phase: Phase,
    /// Earlier events are late after idle.
    pub floor: EventTime,
    /// What distinguishes it from another one that replaces it, if the source knows something.
    pub identity: Option<String>,
}

/// The admission state of a partition at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// Its number in its source.
    pub partition: u32,
    /// The event times seen so far.
    pub admission: AdmissionState,
    /// How long its events took to be read.
    pub delays: Delays,
    /// The state of its decoder.
    pub decoder: Vec<u8>,
}

/// Everything that a checkpoint has on one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceBase {
    /// By partition.
    pub positions: BTreeMap<u32, Position>,
    /// Admission states, by partition.
    pub admitted: BTreeMap<u32, Admitted>,
    /// The fold of the watermark updates of its partitions.
    pub watermark: WatermarkState,
}

/// The start of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The checkpoint, if there is one: bindings of epochs up to it are not needed.
    pub checkpoint: Option<CheckpointName>,
    /// By source.
    pub sources: BTreeMap<String, SourceBase>,
}

/// Everything that was bound, in all generations and by all processes, after a checkpoint if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By source.
    pub sources: BTreeMap<String, SourceHistory>,
    /// The newest epoch that was bound: later ones are free.
    pub last: Option<Epoch>,
}

/// What was bound of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHistory {
    /// Its state at the checkpoint.
    pub base: SourceBase,
    /// By epoch, then by partition.
    pub epochs: BTreeMap<Epoch, BTreeMap<u32, PartitionBinding>>,
}

/// A partition that earlier generations read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPartition {
    /// Its number in the source.
    pub partition: u32,
    /// Its display name.
    pub label: String,
    /// The first offset that is read again.
    pub from: u64,
    /// Records before this offset must be there.
    pub next: u64,
    /// Whether it ended there: later records do not belong to it.
    pub ended: bool,
    /// What distinguishes it from another one that replaces it, if the source knew something.
    pub identity: Option<String>,
}

impl SourceHistory {
    /// The partitions of this history, by number.
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
                // `check` has refused it when the history was read.
                (None, None) => {}
            }
        }
        known.into_values().collect()
    }
}
