//! Writes baselines to checkpoints.
//!
//! Keys are written group by group, a slice at a time. A group that is not written yet is written before one of its
//! keys changes.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::{BaselineState, KeyStatistics, Keys, Measured};
use crate::record::Record;
use crate::state::key::{KEY_GROUPS, Key, key_group};
use crate::state::snapshot::{Placement, SLICE_BYTES, Slot};
use crate::time::{Epoch, EventTime};

/// An entry of a checkpoint.
#[derive(Serialize, Deserialize)]
enum BaselineEntry<K, M> {
    /// Windows that end by it have been scored.
    Watermark(EventTime),
    /// The statistics of a key.
    Known(K, KeyStatistics),
    /// A window that waits for the watermark, and its measure.
    Held(M),
}

/// Takes snapshots of the baselines of one worker, a slice at a time.
pub(super) struct BaselineSnapshots {
    slot: Slot,
    /// Which groups of the snapshot in progress are written; `None` if all are.
    written: Option<Vec<bool>>,
    /// Earlier groups are written.
    next: usize,
}

impl BaselineSnapshots {
    pub(super) fn new(slot: Slot) -> Self {
        BaselineSnapshots { slot, written: None, next: 0 }
    }

    pub(super) fn restore<K: Key, V: Record>(&mut self, state: &mut BaselineState<K, V>) {
        self.slot.restore(|kept: BaselineEntry<K, Measured<K, V>>| match kept {
            BaselineEntry::Watermark(watermark) => state.watermark = watermark,
            BaselineEntry::Known(key, known) => {
                state.keys.newest = state.keys.newest.max(known.last);
                state.keys.len += 1;
                state.keys.groups[key_group(&key) as usize].insert(key, known);
            }
            BaselineEntry::Held((measure, window)) => state.held.hold(measure, window),
        });
    }

    /// Starts a snapshot if one is due before `next`.
    pub(super) fn before<K: Key, V: Record>(&mut self, next: Epoch, state: &BaselineState<K, V>) {
        let Some(epoch) = self.slot.due(next) else { return };
        if self.written.is_some() || !self.slot.begin(epoch) {
            return;
        }
        if self.slot.is_first() {
            self.slot.give(Placement::Everywhere, &BaselineEntry::<(), ()>::Watermark(state.watermark));
        }
        // Usually there are none: the windows of an epoch come with the watermark that has passed them.
        for held in state.held.0.values().flatten() {
            self.slot.give(Placement::Group(key_group(&held.1.key)), &BaselineEntry::<(), _>::Held(held));
        }
        self.written = Some(vec![false; KEY_GROUPS as usize]);
        self.next = 0;
        self.slot.pause();
    }

    pub(super) fn is_writing(&self) -> bool {
        self.written.is_some()
    }

    /// Writes a group, unless it is written, and returns its size in bytes. To be called before one of its keys
    /// changes.
    pub(super) fn write<K: Key>(&mut self, group: usize, keys: &Keys<K>) -> usize {
        let Some(written) = &mut self.written else { return 0 };
        if std::mem::replace(&mut written[group], true) {
            return 0;
        }
        let place = Placement::Group(group as u64);
        let write =
            |(key, known): (&K, &KeyStatistics)| self.slot.give(place, &BaselineEntry::<_, ()>::Known(key, *known));
        keys.groups[group].iter().map(write).sum()
    }

    /// Writes more of the snapshot in progress; returns whether some is left.
    pub(super) fn slice<K: Key>(&mut self, keys: &Keys<K>) -> bool {
        if self.written.is_none() || !self.slot.resume() {
            return self.written.is_some();
        }
        let mut bytes = 0;
        while self.next < keys.groups.len() && bytes < SLICE_BYTES {
            bytes += self.write(self.next, keys);
            self.next += 1;
        }
        if self.next < keys.groups.len() {
            self.slot.pause();
            return true;
        }
        self.written = None;
        self.slot.end();
        false
    }

    /// The input has ended, and every window has been scored: the statistics are not needed any more.
    pub(super) fn settle(&mut self) {
        if !self.is_writing() {
            self.slot
                .settle(|slot| slot.give(Placement::Everywhere, &BaselineEntry::<(), ()>::Watermark(EventTime::MAX)));
        }
    }
}
