//! How many failures came before a source's last success.

use std::collections::BTreeMap;

use tidewatch::prelude::*;

use super::attempt::{Attempt, Kind};

/// Where an attempt stands among those of its source: by time, and within one time by the number of its line.
///
/// Lines of two partitions that have one time have no order; their numbers give them one that is always the same.
type Place = (EventTime, u64);

/// The failures of a source, and its last success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Guessing {
    last_success: Option<Place>,
    /// How many failures came before it.
    before: u64,
    /// The failures that did not, by their places: a later success may follow them.
    after: BTreeMap<Place, u64>,
}

impl Guessing {
    /// When the last success was.
    pub(super) fn last_success(&self) -> Option<EventTime> {
        self.last_success.map(|(at, _)| at)
    }

    /// How many failures came before the last success; none if there was no success.
    pub(super) fn before_success(&self) -> u64 {
        self.before
    }

    fn succeed(&mut self, place: Place) {
        if self.last_success.is_none_or(|last| last < place) {
            self.last_success = Some(place);
            let after = self.after.split_off(&place);
            self.before += std::mem::replace(&mut self.after, after).into_values().sum::<u64>();
        }
    }

    fn fail(&mut self, place: Place, times: u64) {
        if self.last_success.is_some_and(|last| place < last) {
            self.before += times;
        } else {
            *self.after.entry(place).or_default() += times;
        }
    }
}

/// Collects attempts in a [`Guessing`].
pub(super) struct Guess;

impl Aggregate<Attempt> for Guess {
    type State = Guessing;
    type Output = Guessing;

    fn add(&self, state: &mut Guessing, attempt: &Attempt) {
        let place = (attempt.at, attempt.number);
        if attempt.kind == Kind::Accepted {
            state.succeed(place);
        } else {
            state.fail(place, u64::from(attempt.times));
        }
    }

    fn merge(&self, state: &mut Guessing, other: Guessing) {
        // What came before the earlier of two successes came before the later one, too.
        if let Some(place) = other.last_success {
            state.succeed(place);
        }
        state.before += other.before;
        for (place, times) in other.after {
            state.fail(place, times);
        }
    }

    fn result(&self, state: Guessing) -> Guessing {
        state
    }
}
