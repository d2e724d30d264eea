//! Open windows and the state that each key has in them.
//!
//! Few windows are open at once and most records belong to the newest, so windows are a short list searched from its end;
//! each has a hash table of its own. A closed window's table is emptied and used again.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::time::EventTime;

/// The state of every key in every open window of a stage.
#[derive(Debug)]
pub struct WindowStore<K, S> {
    /// By window start, ascending.
    open: Vec<(EventTime, HashMap<K, S>)>,
    spare: Vec<HashMap<K, S>>,
    /// Where a closed window's entries are sorted; kept for its memory.
    closing: Vec<(K, S)>,
    entries: usize,
}

/// Emptied tables kept for reuse.
const SPARE_MAX: usize = 4;

impl<K, S> Default for WindowStore<K, S> {
    fn default() -> Self {
        WindowStore { open: Vec::new(), spare: Vec::new(), closing: Vec::new(), entries: 0 }
    }
}

impl<K: Ord + Hash, S: Default> WindowStore<K, S> {
    /// The state of `key` in the window that starts at `start`, made if it is new.
    #[inline]
    pub fn state(&mut self, start: EventTime, key: K) -> &mut S {
        let index = match self.open.iter().rposition(|(open, _)| *open <= start) {
            Some(index) if self.open[index].0 == start => index,
            before => self.open_window(before.map_or(0, |i| i + 1), start),
        };
        let entries = &mut self.entries;
        self.open[index].1.entry(key).or_insert_with(|| {
            *entries += 1;
            S::default()
        })
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

    /// Closes the windows that start at or before `last`, in order, handing their keys to `each` in the keys' order.
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
            *store.state(time(start), key) += 1;
        }
        assert_eq!((store.entries(), store.windows()), (4, 3));
        let mut rows = Vec::new();
        store.close_through(time(20), |start, key, n| rows.push((start.millis(), key, n)));
        assert_eq!(rows, [(10, "z", 2), (20, "a", 1), (20, "b", 1)]);
        assert_eq!((store.entries(), store.windows()), (1, 1));
        store.close_through(EventTime::MAX, |_, key, _| assert_eq!(key, "c"));
        assert_eq!(store.entries(), 0);
    }
}
