//! Writes windows to checkpoints, and restores them.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::operators::aggregate::Aggregate;
use crate::state::key::{Key, key_group};
use crate::state::snapshot::{Placement, SLICE_BYTES, SLICE_ENTRIES, Slot};
use crate::state::windows::WindowStore;
use crate::time::{Epoch, EventTime};

/// An entry of a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) enum WindowEntry<K, S> {
    /// Windows that start at or before it are closed.
    Closed(EventTime),
    /// The state of a key in an open window. Several workers may have one for the same key and window.
    Open(EventTime, K, S),
}

/// Takes snapshots of the windows of one worker, a slice at a time.
pub(super) struct WindowSnapshots {
    slot: Slot,
    writing: bool,
}

impl WindowSnapshots {
    pub(super) fn new(slot: Slot) -> Self {
        WindowSnapshots { slot, writing: false }
    }

    /// Restores the entries of an earlier run into `store`, and returns through which start its windows were closed.
    pub(super) fn restore<T, K: Key, A: Aggregate<T>>(
        &mut self,
        store: &mut WindowStore<K, A::State>,
        aggregate: &A,
    ) -> Option<EventTime> {
        let mut closed = None;
        self.slot.restore(|kept| match kept {
            WindowEntry::Closed(through) => closed = closed.max(Some(through)),
            WindowEntry::Open(start, key, state) => {
                store.put(start, key, state, |into, more| aggregate.merge(into, more));
            }
        });
        closed
    }

    /// Starts a snapshot if one is due before `next`. Windows through `closed` are closed.
    pub(super) fn before<K: Key, S: Default + Serialize>(
        &mut self,
        next: Epoch,
        store: &mut WindowStore<K, S>,
        closed: Option<EventTime>,
    ) {
        let Some(epoch) = self.slot.due(next) else { return };
        if self.writing || !self.slot.begin(epoch) {
            return;
        }
        if let (true, Some(closed)) = (self.slot.is_first(), closed) {
            self.slot.give(Placement::Everywhere, &WindowEntry::<K, S>::Closed(closed));
        }
        store.freeze();
        self.writing = true;
        self.slot.pause();
    }

    /// Writes more of the snapshot in progress; returns whether some is left.
    pub(super) fn slice<T, K: Key, A: Aggregate<T>>(
        &mut self,
        store: &mut WindowStore<K, A::State>,
        aggregate: &A,
    ) -> bool {
        if !self.writing || !self.slot.resume() {
            return self.writing;
        }
        self.writing = self.write(store, aggregate, EventTime::MAX, SLICE_ENTRIES);
        if self.writing {
            self.slot.pause();
        } else {
            self.slot.end();
        }
        self.writing
    }

    /// Writes what is left of the windows that start at or before `last`.
    pub(super) fn write_through<T, K: Key, A: Aggregate<T>>(
        &mut self,
        store: &mut WindowStore<K, A::State>,
        aggregate: &A,
        last: EventTime,
    ) {
        if self.writing {
            self.write(store, aggregate, last, usize::MAX);
        }
    }

    /// Writes up to `entries` entries, or about as many bytes as a slice has, of the windows that start at or before
    /// `last`. Returns whether there may be more.
    fn write<T, K: Key, A: Aggregate<T>>(
        &mut self,
        store: &mut WindowStore<K, A::State>,
        aggregate: &A,
        last: EventTime,
        entries: usize,
    ) -> bool {
        let mut bytes = 0;
        for _ in 0..entries {
            let write = |start, key: &K, state: &A::State| {
                bytes += self.slot.give(Placement::Group(key_group(key)), &WindowEntry::Open(start, key, state));
            };
            if !store.thaw(last, write, |into, more| aggregate.merge(into, more)) {
                return false;
            }
            if entries != usize::MAX && bytes >= SLICE_BYTES {
                break;
            }
        }
        true
    }

    /// The input has ended, every window is closed, and all later snapshots are the same.
    pub(super) fn settle(&mut self, closed: Option<EventTime>) {
        if closed == Some(EventTime::MAX) {
            self.slot.settle(|slot| slot.give(Placement::Everywhere, &WindowEntry::<(), ()>::Closed(EventTime::MAX)));
        }
    }
}
