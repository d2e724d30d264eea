//! The lifecycle of a partition, as the worker that reads it sees it.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::checkpoint::bindings::{PartitionBinding, Phase};
use crate::operators::watermark::Participation;
use crate::record::Rejection;
use crate::telemetry::PartitionMetrics;
use crate::time::{Epoch, EventTime};

/// The stage of a partition's lifecycle, which decides which of its records are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// It is known, and no epoch includes it yet. Nothing is taken.
    Discovered,
    /// Earlier runs read it: records before the offset `upto` belong to the epoch that is replayed, and are taken; at
    /// the end of that epoch it was in this phase.
    Replaying { upto: u64, phase: Phase },
    /// It joined or came back in the epoch `since`, when the watermark may have been past it. Nothing is taken until
    /// that is known.
    Waiting { since: Epoch },
    /// Everything is taken.
    Active,
    /// Nothing came for a while: the watermark advances without it.
    Idle,
    /// There are no further records.
    Ended,
}

impl Lifecycle {
    /// Records before this offset are taken; others are held back.
    #[inline]
    pub(super) fn limit(self) -> u64 {
        match self {
            Lifecycle::Active => u64::MAX,
            Lifecycle::Replaying { upto, .. } => upto,
            Lifecycle::Discovered | Lifecycle::Waiting { .. } | Lifecycle::Idle | Lifecycle::Ended => 0,
        }
    }

    /// The phase that is bound for it.
    pub(super) fn phase(self) -> Phase {
        match self {
            Lifecycle::Replaying { phase, .. } => phase,
            Lifecycle::Discovered | Lifecycle::Waiting { .. } => Phase::Returned,
            Lifecycle::Active => Phase::Active,
            Lifecycle::Idle => Phase::Idle,
            Lifecycle::Ended => Phase::Ended,
        }
    }
}

/// How many records of a partition are buffered until their epoch is replayed; beyond that its reader is asked to hold
/// it.
pub(super) const HELD_RECORDS: usize = 10_000;

/// What a reader handed over and is not taken yet.
pub(super) enum HeldBack {
    Record { offset: u64, bytes: Vec<u8> },
    Rejected { offset: u64, size: u64, head: Vec<u8>, rejection: Rejection },
}

impl HeldBack {
    pub(super) fn offset(&self) -> u64 {
        let (HeldBack::Record { offset, .. } | HeldBack::Rejected { offset, .. }) = self;
        *offset
    }
}

/// The state of a partition that a worker reads.
pub(super) struct PartitionState {
    pub(super) id: u32,
    pub(super) label: Rc<str>,
    /// The first offset that is read.
    pub(super) from: u64,
    /// What distinguishes it from another one that replaces it.
    pub(super) identity: Option<String>,
    pub(super) lifecycle: Lifecycle,
    /// The participation that was last announced.
    pub(super) announced: Option<Participation>,
    /// The reader has said that it has ended.
    pub(super) ended: bool,
    /// Since when fetches have come back empty.
    pub(super) empty_since_ms: Option<u64>,
    pub(super) held: VecDeque<HeldBack>,
    /// The reader was asked to hold it.
    pub(super) full: bool,
    /// The warning that it has grown past its end was logged.
    pub(super) beyond_end: bool,
    /// The offset after the last record that was taken.
    pub(super) next: u64,
    /// The watermark at which it came back in this epoch.
    pub(super) floor: Option<EventTime>,
    /// How far its watermark follows the clock, as of this epoch.
    pub(super) follows: Option<EventTime>,
    /// What was bound last.
    pub(super) bound: Option<(u64, Phase)>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) metrics: PartitionMetrics,
}

impl PartitionState {
    /// A partition of which nothing was read.
    pub(super) fn new(id: u32, label: &str, lifecycle: Lifecycle, metrics: PartitionMetrics) -> Self {
        PartitionState {
            id,
            label: label.into(),
            from: 0,
            identity: None,
            lifecycle,
            announced: None,
            ended: false,
            empty_since_ms: None,
            held: VecDeque::new(),
            full: false,
            beyond_end: false,
            next: 0,
            floor: None,
            follows: None,
            bound: None,
            records: 0,
            bytes: 0,
            metrics,
        }
    }

    /// The offset after the last record that the reader handed over.
    pub(super) fn seen(&self) -> u64 {
        self.held.back().map_or(self.next, |held| held.offset() + 1)
    }

    /// For how long fetches have come back empty.
    pub(super) fn empty_for_ms(&self, now_ms: u64) -> Option<u64> {
        self.empty_since_ms.map(|since| now_ms.saturating_sub(since))
    }

    /// Goes live, in `epoch`. A partition that no epoch includes is new, if there were epochs before.
    pub(super) fn go_live(&mut self, epoch: Epoch, epochs_before: bool) {
        self.empty_since_ms = None;
        self.lifecycle = match self.lifecycle {
            Lifecycle::Discovered if epochs_before => Lifecycle::Waiting { since: epoch },
            Lifecycle::Discovered => Lifecycle::Active,
            lifecycle => match lifecycle.phase() {
                Phase::Returned => Lifecycle::Waiting { since: epoch },
                Phase::Idle if !self.held.is_empty() => Lifecycle::Waiting { since: epoch },
                Phase::Idle => Lifecycle::Idle,
                Phase::Active => Lifecycle::Active,
                Phase::Ended => Lifecycle::Ended,
            },
        };
    }

    /// Ends an epoch in which it was live: updates its lifecycle. With `idle_after_ms` it becomes idle when it was
    /// empty for so long.
    pub(super) fn end_epoch(&mut self, now_ms: u64, idle_after_ms: Option<u64>) {
        let is_idle = || idle_after_ms.zip(self.empty_for_ms(now_ms)).is_some_and(|(limit, empty)| empty >= limit);
        match self.lifecycle {
            // What is held back is still to come.
            Lifecycle::Waiting { .. } if !self.ended || !self.held.is_empty() => {}
            _ if self.ended => self.lifecycle = Lifecycle::Ended,
            Lifecycle::Active if is_idle() => self.lifecycle = Lifecycle::Idle,
            _ => {}
        }
    }

    /// Its participation at the end of an epoch.
    pub(super) fn participation(&self) -> Participation {
        match self.lifecycle.phase() {
            // There may be no other epoch in which to announce it.
            Phase::Ended => Participation::Ended,
            // The first update belongs to an epoch before the one in which the records of the first poll are sent.
            _ if self.announced.is_none() => Participation::Joined,
            Phase::Returned => Participation::Joined,
            Phase::Idle => Participation::Idle,
            Phase::Active => Participation::Active,
        }
    }

    /// What to bind at the end of an epoch, if anything has changed; `told`: its participation has.
    pub(super) fn bind(&mut self, told: bool) -> Option<PartitionBinding> {
        use crate::checkpoint::bindings::Joined;
        let (floor, follows, now) = (self.floor.take(), self.follows.take(), (self.next, self.lifecycle.phase()));
        if !told && floor.is_none() && follows.is_none() && self.bound == Some(now) {
            return None;
        }
        let joined = self.bound.is_none().then(|| Joined {
            label: self.label.to_string(),
            from: self.from,
            identity: self.identity.clone(),
        });
        self.bound = Some(now);
        let (next, phase) = now;
        Some(PartitionBinding { partition: self.id, joined, next, phase, floor, follows })
    }
}
