//! The life of a partition, as the worker that reads it sees it.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::checkpoint::bindings::{PartitionBinding, Phase};
use crate::operators::watermark::Standing;
use crate::record::Rejection;
use crate::telemetry::PartitionMetrics;
use crate::time::{Epoch, EventTime};

/// Where a partition is in its life: it says which of its records are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It is known, and no epoch has it yet. Nothing is taken.
    Unborn,
    /// Earlier runs read it: what comes before the offset `upto` belongs to the epoch that is replayed, and is taken; at whose end it
    /// was in this phase.
    Replaying { upto: u64, phase: Phase },
    /// It came, or came back, in the epoch `since`, when the watermark may have been past it. Nothing is taken until that is known.
    Waiting { since: Epoch },
    /// Everything is taken.
    Active,
    /// Nothing came for a while: the watermark goes on without it.
    Idle,
    /// Nothing will ever come.
    Ended,
}

impl Life {
    /// Records before this offset are taken; others are held back.
    #[inline]
    pub(super) fn limit(self) -> u64 {
        match self {
            Life::Active => u64::MAX,
            Life::Replaying { upto, .. } => upto,
            Life::Unborn | Life::Waiting { .. } | Life::Idle | Life::Ended => 0,
        }
    }

    /// What is bound of it.
    pub(super) fn phase(self) -> Phase {
        match self {
            Life::Replaying { phase, .. } => phase,
            Life::Unborn | Life::Waiting { .. } => Phase::Returned,
            Life::Active => Phase::Active,
            Life::Idle => Phase::Idle,
            Life::Ended => Phase::Ended,
        }
    }
}

/// How many records of a partition wait for their epoch to be replayed before its reader is asked to hold it.
pub(super) const HELD_RECORDS: usize = 10_000;

/// What a reader handed over and is not taken yet.
pub(super) enum Held {
    Record { offset: u64, bytes: Vec<u8> },
    Rejected { offset: u64, size: u64, head: Vec<u8>, rejection: Rejection },
}

impl Held {
    pub(super) fn offset(&self) -> u64 {
        let (Held::Record { offset, .. } | Held::Rejected { offset, .. }) = self;
        *offset
    }
}

/// What a worker knows of a partition that it reads.
pub(super) struct PartitionState {
    pub(super) id: u32,
    pub(super) label: Rc<str>,
    /// The offset from which on it is read.
    pub(super) from: u64,
    /// What tells it from another one that comes in its place.
    pub(super) identity: Option<String>,
    pub(super) life: Life,
    /// What the workers were told last.
    pub(super) announced: Option<Standing>,
    /// The reader has said that nothing will come any more.
    pub(super) ended: bool,
    /// Since when fetches come back empty.
    pub(super) empty_since_ms: Option<u64>,
    pub(super) held: VecDeque<Held>,
    /// The reader was asked to hold it.
    pub(super) full: bool,
    /// It was said that there is more of it than there should be.
    pub(super) beyond_end: bool,
    /// The offset after the last record that was taken.
    pub(super) next: u64,
    /// The watermark at which it came back in this epoch.
    pub(super) floor: Option<EventTime>,
    /// How far its watermark follows the clock, as of this epoch.
    pub(super) follows: Option<EventTime>,
    /// What was last bound.
    pub(super) bound: Option<(u64, Phase)>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) metrics: PartitionMetrics,
}

impl PartitionState {
    /// A partition of which nothing was read.
    pub(super) fn new(id: u32, label: &str, life: Life, metrics: PartitionMetrics) -> Self {
        PartitionState {
            id,
            label: label.into(),
            from: 0,
            identity: None,
            life,
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

    /// Goes live, in `epoch`. What no epoch had so far is new, if there were epochs before.
    pub(super) fn go_live(&mut self, epoch: Epoch, epochs_before: bool) {
        self.empty_since_ms = None;
        self.life = match self.life {
            Life::Unborn if epochs_before => Life::Waiting { since: epoch },
            Life::Unborn => Life::Active,
            life => match life.phase() {
                Phase::Returned => Life::Waiting { since: epoch },
                Phase::Idle if !self.held.is_empty() => Life::Waiting { since: epoch },
                Phase::Idle => Life::Idle,
                Phase::Active => Life::Active,
                Phase::Ended => Life::Ended,
            },
        };
    }

    /// An epoch ends in which it was live: what it is from now on. With `idle_after_ms` it is left behind when it was empty for so long.
    pub(super) fn end_epoch(&mut self, now_ms: u64, idle_after_ms: Option<u64>) {
        let is_idle = || idle_after_ms.zip(self.empty_for_ms(now_ms)).is_some_and(|(limit, empty)| empty >= limit);
        match self.life {
            // What it holds is still to come.
            Life::Waiting { .. } if !self.ended || !self.held.is_empty() => {}
            _ if self.ended => self.life = Life::Ended,
            Life::Active if is_idle() => self.life = Life::Idle,
            _ => {}
        }
    }

    /// How it stands at the end of an epoch.
    pub(super) fn standing(&self) -> Standing {
        match self.life.phase() {
            // There may be no other epoch in which to tell it.
            Phase::Ended => Standing::Ended,
            // The first mark is of an epoch before the one in which the records of the first poll are sent.
            _ if self.announced.is_none() => Standing::Joined,
            Phase::Returned => Standing::Joined,
            Phase::Idle => Standing::Idle,
            Phase::Active => Standing::Active,
        }
    }

    /// What is to be bound at the end of an epoch, if anything has changed; `told` says that its standing has.
    pub(super) fn bind(&mut self, told: bool) -> Option<PartitionBinding> {
        use crate::checkpoint::bindings::Joined;
        let (floor, follows, now) = (self.floor.take(), self.follows.take(), (self.next, self.life.phase()));
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
