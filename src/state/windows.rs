//! Open windows and the state that each key has in them.
//!
//! Few windows are open at once and most records belong to the newest, so windows are a short list searched from its
//! end; each has a flat hash table of its own, with the states in it. A closed window's table is emptied and used
//! again, so closing never looks at a window that stays open.
//!
//! Memory per key and open window: the key, the state, one control byte, and the table's slack (it is between 7/16 and
//! 7/8 full); a test measures it.
//!
//! A snapshot freezes the windows: their entries are put back one after another, each when it has been written, into a
//! new table that records are still added to. So nothing is copied, and no record waits for more than a slice of it.

use std::hash::{BuildHasher, Hash};
use std::hint::black_box;

use hashbrown::hash_table::{Entry, IntoIter};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::time::EventTime;

/// The state of every key in every open window of a stage.
#[derive(Debug)]
pub struct WindowStore<K, S> {
    /// By window start, ascending.
    open: Vec<(EventTime, HashTable<(K, S)>)>,
    /// What is left of the windows of a snapshot in progress, in the same order.
    frozen: Vec<(EventTime, IntoIter<(K, S)>)>,
    /// Seeded randomly: an attacker cannot choose keys that collide, and the order in the tables is never visible.
    hasher: DefaultHashBuilder,
    spare: Vec<HashTable<(K, S)>>,
    /// Where a closed window's entries are sorted; kept to reuse its memory.
    closing: Vec<(K, S)>,
    entries: usize,
}

/// Emptied tables kept for reuse.
const SPARE_MAX: usize = 4;

impl<K, S> Default for WindowStore<K, S> {
    fn default() -> Self {
        WindowStore {
            open: Vec::new(),
            frozen: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            spare: Vec::new(),
            closing: Vec::new(),
            entries: 0,
        }
    }
}

/// A key with its hash in one store.
#[derive(Clone, Copy, Debug)]
pub struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K: Clone + Ord + Hash, S: Default> WindowStore<K, S> {
    /// Hashes a key for this store.
    #[inline]
    pub fn hashed(&self, key: K) -> Hashed<K> {
        Hashed { hash: self.hasher.hash_one(&key), key }
    }

    /// Brings the state of a key into the cache, if there is one; changes nothing.
    ///
    /// Prefetching several keys before their states are used pays off, since their cache misses overlap. So nothing
    /// here waits for what it fetches: the first entry whose tag is the key's is nearly always the key's.
    #[inline]
    pub fn fetch(&self, start: EventTime, key: &Hashed<K>) {
        if let Some((_, table)) = self.open.iter().rfind(|(open, _)| *open <= start) {
            let first = table.find(key.hash, |_| true);
            black_box(first.is_some_and(|(known, _)| *known == key.key));
        }
    }

    /// The state of `key` in the window that starts at `start`, created if it is new.
    #[inline]
    pub fn state(&mut self, start: EventTime, key: &Hashed<K>) -> &mut S {
        let index = self.window(start);
        let (entries, hasher) = (&mut self.entries, &self.hasher);
        let table = &mut self.open[index].1;
        let entry = table.entry(key.hash, |(known, _)| *known == key.key, |(known, _)| hasher.hash_one(known));
        let entry = entry.or_insert_with(|| {
            *entries += 1;
            (key.key.clone(), S::default())
        });
        &mut entry.into_mut().1
    }

    /// Adds a state of a key, merged by `merge` into the present one.
    pub fn put(&mut self, start: EventTime, key: K, state: S, merge: impl FnOnce(&mut S, S)) {
        let (index, hash) = (self.window(start), self.hasher.hash_one(&key));
        let hasher = &self.hasher;
        let table = &mut self.open[index].1;
        match table.entry(hash, |(known, _)| *known == key, |(known, _)| hasher.hash_one(known)) {
            Entry::Occupied(mut there) => merge(&mut there.get_mut().1, state),
            Entry::Vacant(place) => {
                self.entries += 1;
                place.insert((key, state));
            }
        }
    }

    /// The index of the window that starts at `start`, opened if it is new.
    #[inline]
    fn window(&mut self, start: EventTime) -> usize {
        match self.open.iter().rposition(|(open, _)| *open <= start) {
            Some(index) if self.open[index].0 == start => index,
            before => self.open_window(before.map_or(0, |i| i + 1), start),
        }
    }

    #[cold]
    fn open_window(&mut self, index: usize, start: EventTime) -> usize {
        self.open.insert(index, (start, self.spare.pop().unwrap_or_default()));
        index
    }

    /// Entries, one per key and open window.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Windows that are open.
    pub fn windows(&self) -> usize {
        self.open.len()
    }

    /// Size of the tables in bytes, without what keys and states allocate.
    pub fn bytes(&self) -> usize {
        self.open.iter().map(|(_, table)| table.allocation_size()).sum()
    }

    /// Starts a snapshot: everything present is to be [thawed](Self::thaw).
    pub fn freeze(&mut self) {
        for (start, table) in std::mem::take(&mut self.open) {
            // With room for all that comes back: growing tables would block the worker.
            self.open.push((start, HashTable::with_capacity(table.len())));
            self.frozen.push((start, table.into_iter()));
        }
    }

    /// Whether a snapshot is incomplete.
    pub fn is_frozen(&self) -> bool {
        !self.frozen.is_empty()
    }

    /// Passes one frozen entry of a window that starts at or before `last` to `each`, and then puts it back, merged by
    /// `merge` into what has been added for its key meanwhile. Returns whether there was one.
    pub fn thaw(
        &mut self,
        last: EventTime,
        each: impl FnOnce(EventTime, &K, &S),
        merge: impl FnOnce(&mut S, S),
    ) -> bool {
        while let Some((start, entries)) = self.frozen.first_mut().filter(|(start, _)| *start <= last) {
            let start = *start;
            let Some((key, state)) = entries.next() else {
                self.frozen.remove(0);
                continue;
            };
            each(start, &key, &state);
            self.entries -= 1;
            self.put(start, key, state, merge);
            return true;
        }
        false
    }

    /// Closes the windows that start at or before `last`, in order, passing their keys to `each` in the keys' order.
    /// None of them may be frozen.
    pub fn close_through(&mut self, last: EventTime, mut each: impl FnMut(EventTime, K, S)) {
        let closed = self.open.partition_point(|(start, _)| *start <= last);
        for (start, mut table) in self.open.drain(..closed) {
            self.entries -= table.len();
            // Sorted, so that rows leave in an order that does not depend on how records arrived.
            self.closing.extend(table.drain());
            self.closing.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            self.closing.drain(..).for_each(|(key, state)| each(start, key, state));
            if self.spare.len() < SPARE_MAX {
                self.spare.push(table);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(ms: i64) -> EventTime {
        EventTime::from_millis(ms)
    }

    #[test]
    fn closes_in_order_of_window_then_key() {
        let mut store: WindowStore<&'static str, u32> = WindowStore::default();
        for (start, key) in [(20, "b"), (10, "z"), (20, "a"), (10, "z"), (30, "c")] {
            let key = store.hashed(key);
            store.fetch(time(start), &key);
            *store.state(time(start), &key) += 1;
        }
        assert_eq!((store.entries(), store.windows()), (4, 3));
        let mut rows = Vec::new();
        store.close_through(time(20), |start, key, n| rows.push((start.millis(), key, n)));
        assert_eq!(rows, [(10, "z", 2), (20, "a", 1), (20, "b", 1)]);
        assert_eq!((store.entries(), store.windows()), (1, 1));
        store.close_through(EventTime::MAX, |_, key, _| assert_eq!(key, "c"));
        assert_eq!(store.entries(), 0);
    }

    #[test]
    fn a_snapshot_is_what_was_there_when_it_began() {
        let mut store: WindowStore<u32, u32> = WindowStore::default();
        let add = |store: &mut WindowStore<u32, u32>, start, key| {
            let key = store.hashed(key);
            *store.state(time(start), &key) += 1;
        };
        (0..20).for_each(|i| add(&mut store, i64::from(i % 2) * 10, i));
        store.freeze();
        let mut kept = Vec::new();
        let mut thaw = |store: &mut WindowStore<u32, u32>, last| {
            let each = |start: EventTime, key: &u32, n: &u32| kept.push((start.millis(), *key, *n));
            store.thaw(time(last), each, |n, more| *n += more)
        };
        (0..5).for_each(|_| assert!(thaw(&mut store, 10)));
        // Added to keys that are back, to keys that are not, and to a new one.
        (0..22).for_each(|i| add(&mut store, i64::from(i % 2) * 10, i));
        while thaw(&mut store, 0) {}
        let mut closed = Vec::new();
        store.close_through(time(0), |_, key, n| closed.push((key, n)));
        assert_eq!(closed, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20].map(|key| (key, if key < 20 { 2 } else { 1 })));
        assert!(store.is_frozen());
        while thaw(&mut store, 10) {}
        assert!(!store.is_frozen());
        assert_eq!(store.entries(), 11);
        kept.sort_unstable();
        let mut expected: Vec<_> = (0..20).map(|i| (i64::from(i % 2) * 10, i as u32, 1)).collect();
        expected.sort_unstable();
        assert_eq!(kept, expected);
    }

    #[test]
    fn memory_per_key_is_the_entry_and_the_tables_slack() {
        let mut store: WindowStore<u64, [u64; 4]> = WindowStore::default();
        for key in 0..100_000 {
            let key = store.hashed(key);
            store.state(time(0), &key)[0] += 1;
        }
        let (entry, bytes) = (size_of::<(u64, [u64; 4])>() + 1, store.bytes() / store.entries());
        // 100 000 of 131 072 buckets are taken.
        assert!((entry..=entry * 4 / 3).contains(&bytes), "{bytes} bytes per key of {entry}");
    }
}
