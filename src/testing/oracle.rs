//! The right results of a dataflow, computed in the plainest way: over all records at once, without epochs, watermarks
//! or hashing.
//!
//! It shares nothing with the engine but the user's own aggregate, so that the two can be compared.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rows::{difference, json};
use crate::operators::aggregate::Aggregate;
use crate::operators::interval::{Intervals, Window};
use crate::record::Event;
use crate::time::{EventTime, millis};

/// The windows of `records`: what [`aggregate`](crate::flow::Windows::aggregate) gives if all of them are on time,
/// sorted by start and key.
pub fn windows<T: Event, K: Ord, A: Aggregate<T>>(
    records: impl IntoIterator<Item = T>,
    intervals: Intervals,
    key: impl Fn(&T) -> K,
    aggregate: &A,
) -> Vec<Window<K, A::Output>> {
    let (size, hop) = (millis(intervals.size()), millis(intervals.hop()));
    let mut groups: BTreeMap<(i64, K), Vec<T>> = BTreeMap::new();
    for record in records {
        let time = record.event_time().millis();
        // Every multiple of the hop in (time - size, time] is the start of a window that holds the record.
        let mut start = (time - size).div_euclid(hop) * hop + hop;
        while start <= time {
            groups.entry((start, key(&record))).or_default().push(record.clone());
            start += hop;
        }
    }
    let window = |((start, key), records): ((i64, K), Vec<T>)| {
        let mut state = A::State::default();
        records.iter().for_each(|record| aggregate.add(&mut state, record));
        let (start, end) = (EventTime::from_millis(start), EventTime::from_millis(start + size));
        Window { key, start, end, value: aggregate.result(state) }
    };
    groups.into_iter().map(window).collect()
}

/// The records of `partitions` that are on time, and those that are late: more than `out_of_order` before an earlier
/// record of the same partition.
pub fn on_time<T: Event>(partitions: &[Vec<T>], out_of_order: Duration) -> (Vec<T>, Vec<T>) {
    let (mut on_time, mut late) = (Vec::new(), Vec::new());
    for records in partitions {
        let mut greatest = None;
        for record in records {
            let time = record.event_time();
            if greatest.is_some_and(|greatest: EventTime| time < greatest - out_of_order) {
                late.push(record.clone());
            } else {
                on_time.push(record.clone());
            }
            greatest = greatest.max(Some(time));
        }
    }
    (on_time, late)
}

/// Fails the test if the result of `aggregate` over `records` depends on their order or grouping, which it must not:
/// workers aggregate what they have, and merge.
///
/// ```
/// use tidewatch::prelude::*;
/// use tidewatch::testing::oracle::assert_lawful;
///
/// assert_lawful(&(Count, Sum::of(|n: &u64| *n)), &[3, 1, 2]);
/// ```
///
/// # Panics
/// With two results that should be the same, if there are fewer than two records, or if a result cannot be written as
/// JSON.
#[track_caller]
pub fn assert_lawful<T, A: Aggregate<T>>(aggregate: &A, records: &[T]) {
    assert!(records.len() > 1, "one record has no order; give at least two");
    let state = |records: &mut dyn Iterator<Item = &T>| {
        let mut state = A::State::default();
        records.for_each(|record| aggregate.add(&mut state, record));
        state
    };
    let expected = json(&aggregate.result(state(&mut records.iter())));
    let check = |how: &str, found: A::State| {
        let found = json(&aggregate.result(found));
        if let Some(difference) = difference([&expected], [&found]) {
            panic!("the aggregate's result depends on {how}: {difference}");
        }
    };
    check("the order of records", state(&mut records.iter().rev()));
    for cut in 0..=records.len() {
        let (head, tail) = records.split_at(cut);
        let parts = || (state(&mut head.iter()), state(&mut tail.iter()));
        let (mut merged, other) = parts();
        aggregate.merge(&mut merged, other);
        check(&format!("how records are grouped (first {cut}, then the others, merged)"), merged);
        let (other, mut merged) = parts();
        aggregate.merge(&mut merged, other);
        check(&format!("the order of merging (first {cut} into the others)"), merged);
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::operators::aggregate::Count;
    use crate::operators::interval::{Hopping, Tumbling};

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    struct At(i64);

    impl Event for At {
        fn event_time(&self) -> EventTime {
            EventTime::from_millis(self.0)
        }
    }

    fn starts(times: &[i64], intervals: Intervals) -> Vec<(i64, u64)> {
        let windows = windows(times.iter().map(|t| At(*t)), intervals, |_| (), &Count);
        windows.into_iter().map(|w| (w.start.millis(), w.value)).collect()
    }

    #[test]
    fn windows_by_hand() {
        let ms = Duration::from_millis;
        assert_eq!(starts(&[0, 9, 10, -1], Tumbling::of(ms(10))), [(-10, 1), (0, 2), (10, 1)]);
        assert_eq!(starts(&[7], Hopping::of(ms(10)).every(ms(3))), [(0, 1), (3, 1), (6, 1)]);
        assert_eq!(starts(&[9], Hopping::of(ms(10)).every(ms(5))), [(0, 1), (5, 1)]);
    }

    #[test]
    fn lateness_by_hand() {
        let partitions = [vec![At(10), At(5), At(4), At(20), At(14)], vec![At(1)]];
        let (on_time, late) = on_time(&partitions, Duration::from_millis(5));
        assert_eq!((on_time, late), (vec![At(10), At(5), At(20), At(1)], vec![At(4), At(14)]));
    }

    struct Last;

    impl Aggregate<i64> for Last {
        type State = i64;
        type Output = i64;
        fn add(&self, state: &mut i64, record: &i64) {
            *state = *record;
        }
        fn merge(&self, state: &mut i64, other: i64) {
            *state = (*state).max(other);
        }
        fn result(&self, state: i64) -> i64 {
            state
        }
    }

    #[test]
    #[should_panic(expected = "depends on the order of records")]
    fn an_aggregate_that_keeps_the_last_record_is_not_lawful() {
        assert_lawful(&Last, &[1, 2]);
    }
}
