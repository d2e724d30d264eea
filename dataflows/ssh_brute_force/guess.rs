//! How many failures came before a source's last success.

use std::collections::BTreeMap;

use tidewatch::prelude::*;

use super::attempt::{Attempt, Kind};

/// The position of an attempt among those of its source: by time, and within one time by the number of its line.
///
/// Lines of two partitions with the same time have no order; their numbers give them a reproducible one.
type AttemptPosition = (EventTime, u64);

/// The result over a source's attempts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Guessed {
    /// How many failures came before the last success; none if there was no success.
    pub failures_before: u64,
    pub last_success: Option<EventTime>,
}

/// The failures of a source, and its last success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Guessing {
    last_success: Option<AttemptPosition>,
    /// How many failures came before it.
    before: u64,
    /// The failures after it, by their positions: a later success may follow them.
    after: BTreeMap<AttemptPosition, u64>,
}

impl Guessing {
    fn succeed(&mut self, place: AttemptPosition) {
        if self.last_success.is_none_or(|last| last < place) {
            self.last_success = Some(place);
            let after = self.after.split_off(&place);
            self.before += std::mem::replace(&mut self.after, after).into_values().sum::<u64>();
        }
    }

    fn fail(&mut self, place: AttemptPosition, times: u64) {
        if self.last_success.is_some_and(|last| place < last) {
            self.before += times;
        } else {
            *self.after.entry(place).or_default() += times;
        }
    }
}

/// Counts the failures before the last success.
pub(super) struct Guess;

impl Aggregate<Attempt> for Guess {
    type State = Guessing;
    type Output = Guessed;

    fn add(&self, state: &mut Guessing, attempt: &Attempt) {
        let place = (attempt.at, attempt.number);
        if attempt.kind == Kind::Accepted {
            state.succeed(place);
        } else {
            state.fail(place, u64::from(attempt.times));
        }
    }

    fn merge(&self, state: &mut Guessing, other: Guessing) {
        // What precedes the earlier of two successes precedes the later one, too.
        if let Some(place) = other.last_success {
            state.succeed(place);
        }
        state.before += other.before;
        for (place, times) in other.after {
            state.fail(place, times);
        }
    }

    fn result(&self, state: Guessing) -> Guessed {
        Guessed { failures_before: state.before, last_success: state.last_success.map(|(at, _)| at) }
    }
}

#[cfg(test)]
mod tests {
    use tidewatch::testing::oracle::assert_lawful;

    use super::*;

    fn attempt(at: i64, number: u64, kind: Kind) -> Attempt {
        let (source, user) = (Text::from("192.0.2.1"), Text::from("root"));
        Attempt { at: EventTime::from_millis(at), source, user, unknown_user: false, kind, times: 1, number }
    }

    #[test]
    fn it_does_not_matter_how_attempts_are_ordered_and_grouped() {
        let kinds = [Kind::Failed, Kind::Failed, Kind::Accepted, Kind::Failed, Kind::Accepted, Kind::Failed];
        let nth = |(n, kind): (u32, &Kind)| attempt(i64::from(n / 4), u64::from(n * 7 % 24), *kind);
        let attempts: Vec<_> = (0..24).zip(kinds.iter().cycle()).map(nth).collect();
        assert_lawful(&Guess, &attempts);
        let mut state = Guessing::default();
        for (number, kind) in (0..).zip(kinds) {
            Guess.add(&mut state, &attempt(0, number, kind));
        }
        let last_success = Some(EventTime::from_millis(0));
        assert_eq!(Guess.result(state), Guessed { failures_before: 3, last_success });
    }
}
