//! Bindings: which records of which partition belong to which epoch.
//!
//! A source holds an epoch open until its binding is on the disk; so whatever left the dataflow came from epochs that can be
//! made again, record by record, by a process that knows nothing but the bindings and the source.
//!
//! Each process of a generation appends to a file of its own. A frame is one line: a CRC-32 in hexadecimal, a space, and JSON.
//! The first frame says whose file it is; each further one holds what was bound between two flushes to the disk. Only the last
//! frame of a file can be torn.

mod frame;
mod read;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use read::recover;
pub use write::{Binder, BindingLog, BindingWriter, LogObserver};

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
}

/// Where a partition begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its name for people.
    pub label: String,
    /// The offset from which on it is read.
    pub from: u64,
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

/// Everything that was bound, in all generations and by all processes.
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
}

impl SourceHistory {
    /// The partitions that it speaks of, by number.
    pub fn partitions(&self) -> Vec<KnownPartition> {
        let mut known: BTreeMap<u32, KnownPartition> = BTreeMap::new();
        for binding in self.epochs.values().flat_map(BTreeMap::values) {
            let partition = binding.partition;
            match (known.get_mut(&partition), &binding.joined) {
                (Some(known), _) => {
                    known.next = binding.next;
                    known.ended = binding.phase == Phase::Ended;
                }
                (None, Some(Joined { label, from })) => {
                    let (label, from, next) = (label.clone(), *from, binding.next);
                    let ended = binding.phase == Phase::Ended;
                    known.insert(partition, KnownPartition { partition, label, from, next, ended });
                }
                // Refused when it was read.
                (None, None) => {}
            }
        }
        known.into_values().collect()
    }
}
