//! Aggregates: what a window keeps of its records, and its result when it closes.
//!
//! An aggregate's result must be a function of the *multiset* of its records: whatever the order they came in, and
//! however they were split over workers before being merged. So sums are kept in integers or fixed point, never in
//! floats.

mod distinct;
mod max_by;
mod numeric;
mod sides;
mod tuple;

pub use distinct::Distinct;
pub use max_by::MaxBy;
pub use numeric::{Fixed, Max, Mean, Min, Number, Sum, Variance};
pub use sides::{Side, Sides};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::Record;

/// Folds records of type `T` into a result. Several at once are a tuple: `(Count, Sum::of(|e: &Event| e.bytes))`.
///
/// A user's own aggregate is a type with these three functions:
///
/// ```
/// use tidewatch::prelude::*;
///
/// /// The longest name seen.
/// #[derive(Clone)]
/// struct Longest;
///
/// impl Aggregate<String> for Longest {
///     type State = usize;
///     type Output = usize;
///     fn add(&self, state: &mut usize, name: &String) {
///         *state = (*state).max(name.len());
///     }
///     fn merge(&self, state: &mut usize, other: usize) {
///         *state = (*state).max(other);
///     }
///     fn result(&self, state: usize) -> usize {
///         state
///     }
/// }
/// ```
pub trait Aggregate<T>: 'static {
    /// What is kept per key and window. `Default` is the state of no records.
    type State: Default + Clone + Serialize + DeserializeOwned + Send + 'static;
    /// The result when the window closes.
    type Output: Record;

    /// Adds one record.
    fn add(&self, state: &mut Self::State, record: &T);

    /// Adds everything in `other`. Together with `add` it must not matter how records were grouped or ordered.
    fn merge(&self, state: &mut Self::State, other: Self::State);

    /// The result over a state to which at least one record was added.
    fn result(&self, state: Self::State) -> Self::Output;
}

/// How many records there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count;

impl<T> Aggregate<T> for Count {
    type State = u64;
    type Output = u64;

    #[inline]
    fn add(&self, state: &mut u64, _: &T) {
        *state += 1;
    }

    fn merge(&self, state: &mut u64, other: u64) {
        *state += other;
    }

    fn result(&self, state: u64) -> u64 {
        state
    }
}
