//! The records that are greatest by some measure, whole.

use std::cmp::Ordering;
use std::marker::PhantomData;

use super::Aggregate;
use crate::record::Record;

/// The records whose measure is the greatest: all of them where several are equal, in their own order.
///
/// Each of them is kept, so a measure that many records share takes memory for all of them. The least by a measure are
/// those with the greatest [`Reverse`](std::cmp::Reverse) of it.
///
/// ```
/// use tidewatch::prelude::*;
///
/// #[derive(Event, PartialEq, Eq, PartialOrd, Ord)]
/// struct Transfer {
///     #[event(time)]
///     at: EventTime,
///     user: Text,
///     bytes: u64,
/// }
///
/// fn build(flow: &Flow, _: &NoParams) -> Result<()> {
///     let transfers = flow.source::<Transfer>("transfers")?;
///     let largest = transfers
///         .key_by(|transfer| transfer.user.clone())
///         .window("largest", Tumbling::of(Duration::from_secs(60)))
///         .aggregate(MaxBy::of(|transfer: &Transfer| transfer.bytes));
///     largest.flat_map("transfer", |window| window.value).sink("out")
/// }
/// # fn main() {}
/// ```
pub struct MaxBy<F, M>(F, PhantomData<fn() -> M>);

impl MaxBy<(), ()> {
    /// The records with the greatest `measure(record)`: `MaxBy::of(|e: &Event| e.bytes)`.
    pub fn of<T, M: Record + Ord, F: Fn(&T) -> M + 'static>(measure: F) -> MaxBy<F, M> {
        MaxBy(measure, PhantomData)
    }
}

impl<T: Record + Ord, M: Record + Ord, F: Fn(&T) -> M + 'static> Aggregate<T> for MaxBy<F, M> {
    type State = Option<(M, Vec<T>)>;
    type Output = Vec<T>;

    #[inline]
    fn add(&self, state: &mut Self::State, record: &T) {
        let measure = (self.0)(record);
        // Most records are less than the greatest.
        if state.as_ref().is_none_or(|(greatest, _)| measure >= *greatest) {
            self.merge(state, Some((measure, vec![record.clone()])));
        }
    }

    fn merge(&self, state: &mut Self::State, other: Self::State) {
        let Some((measure, mut records)) = other else { return };
        match state {
            Some((greatest, all)) => match measure.cmp(greatest) {
                Ordering::Less => {}
                Ordering::Equal => all.append(&mut records),
                Ordering::Greater => *state = Some((measure, records)),
            },
            None => *state = Some((measure, records)),
        }
    }

    fn result(&self, state: Self::State) -> Vec<T> {
        let (_, mut records) = state.expect("a window has at least one record");
        records.sort_unstable();
        records
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_what_sorting_gives(records in prop::collection::vec((0u8..5, 0u8..50), 1..60), cut in 0usize..60) {
            let max = MaxBy::of(|record: &(u8, u8)| record.0);
            let (mut one, mut other) = (None, None);
            for (i, record) in records.iter().enumerate() {
                max.add(if i < cut { &mut one } else { &mut other }, record);
            }
            max.merge(&mut one, other);
            let mut expected = records.clone();
            expected.sort();
            let greatest = expected.last().expect("there is one").0;
            expected.retain(|record| record.0 == greatest);
            prop_assert_eq!(max.result(one), expected);
        }
    }
}
