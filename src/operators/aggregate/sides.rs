//! Two streams side by side: a record of one or the other, and an aggregate for each.

use serde::{Deserialize, Serialize};

use super::Aggregate;
use crate::record::Event;
use crate::time::EventTime;

/// A record of one of two streams: see [`cogroup`](crate::flow::Keyed::cogroup).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side<T, U> {
    /// A record of the stream that was grouped with another.
    Left(T),
    /// A record of the other stream.
    Right(U),
}

impl<T: Event, U: Event> Event for Side<T, U> {
    #[inline]
    fn event_time(&self) -> EventTime {
        match self {
            Side::Left(record) => record.event_time(),
            Side::Right(record) => record.event_time(),
        }
    }
}

/// One aggregate for the records of each of two streams; its result is `None` for a side without records.
#[derive(Clone, Copy, Debug)]
pub struct Sides<A, B>(
    /// Of the left records.
    pub A,
    /// Of the right ones.
    pub B,
);

impl<T, U, A: Aggregate<T>, B: Aggregate<U>> Aggregate<Side<T, U>> for Sides<A, B> {
    type State = (Option<A::State>, Option<B::State>);
    type Output = (Option<A::Output>, Option<B::Output>);

    #[inline]
    fn add(&self, state: &mut Self::State, record: &Side<T, U>) {
        match record {
            Side::Left(record) => self.0.add(state.0.get_or_insert_default(), record),
            Side::Right(record) => self.1.add(state.1.get_or_insert_default(), record),
        }
    }

    fn merge(&self, state: &mut Self::State, other: Self::State) {
        if let Some(left) = other.0 {
            self.0.merge(state.0.get_or_insert_default(), left);
        }
        if let Some(right) = other.1 {
            self.1.merge(state.1.get_or_insert_default(), right);
        }
    }

    fn result(&self, (left, right): Self::State) -> Self::Output {
        (left.map(|state| self.0.result(state)), right.map(|state| self.1.result(state)))
    }
}
