//! How far a clock has come, by events of which single ones may be wrong.
//!
//! A clock that moves on by no more than `jump_max` is believed at once. A jump beyond that is kept in mind, and counts once the next
//! [`CONFIRMATIONS`] events of the clock lie within `jump_max` of it or later; an event that is earlier shows that the jump was
//! none, and it is forgotten. Whatever is decided, the events themselves are on time: only the clock's progress waits.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

/// How many events confirm a jump.
pub(super) const CONFIRMATIONS: usize = 16;

/// How far one clock has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    greatest: EventTime,
    /// A jump, and what came after it. Empty unless a jump waits to be confirmed.
    unconfirmed: VecDeque<EventTime>,
}

impl Default for Reached {
    fn default() -> Self {
        Reached { greatest: EventTime::MIN, unconfirmed: VecDeque::new() }
    }
}

impl Reached {
    /// The greatest event time that counts; [`EventTime::MIN`] if none does yet.
    #[inline]
    pub(super) fn greatest(&self) -> EventTime {
        self.greatest
    }

    /// What the clock shows: the greatest event time that counts, or, as long as none does, the last one.
    pub(super) fn shown(&self) -> EventTime {
        match (self.greatest, self.unconfirmed.back()) {
            (EventTime::MIN, Some(last)) => *last,
            (greatest, _) => greatest,
        }
    }

    /// An event of `time` comes from the clock, which is known to have come as far as `from`, whatever its events say.
    #[inline]
    pub(super) fn advance(&mut self, time: EventTime, from: EventTime, jump_max_ms: i64) {
        if self.unconfirmed.is_empty() {
            if time <= self.greatest {
                return;
            }
            if is_believed(time, self.greatest.max(from), jump_max_ms) {
                self.greatest = time;
                return;
            }
        }
        self.doubt(time, from, jump_max_ms);
    }

    /// Events of which none is later than `greatest` come from the clock, and none is a jump in whatever order they come: then, and
    /// only then, they are taken, and the answer is yes.
    #[inline]
    pub(super) fn advance_all(&mut self, greatest: EventTime, jump_max_ms: i64) -> bool {
        let believed = self.unconfirmed.is_empty()
            && (greatest <= self.greatest || is_believed(greatest, self.greatest, jump_max_ms));
        if believed {
            self.greatest = self.greatest.max(greatest);
        }
        believed
    }

    #[cold]
    fn doubt(&mut self, time: EventTime, from: EventTime, jump_max_ms: i64) {
        self.unconfirmed.push_back(time);
        while let Some(&jump) = self.unconfirmed.front() {
            let after = self.unconfirmed.iter().skip(1);
            let is_refuted = || after.clone().any(|later| later.millis() < jump.millis().saturating_sub(jump_max_ms));
            if is_believed(jump, self.greatest.max(from), jump_max_ms) {
                self.greatest = self.greatest.max(jump);
            } else if is_refuted() {
                // It was one event with a wrong time.
            } else if self.unconfirmed.len() > CONFIRMATIONS {
                self.greatest = jump;
            } else {
                return;
            }
            self.unconfirmed.pop_front();
        }
    }
}

/// Whether a clock that has come as far as `reached` may show `time` next. A clock of which nothing is known may show nothing.
#[inline]
fn is_believed(time: EventTime, reached: EventTime, jump_max_ms: i64) -> bool {
    // Not subtracted: the difference of two times may be more than there is room for.
    jump_max_ms == i64::MAX
        || (reached != EventTime::MIN && time.millis() <= reached.millis().saturating_add(jump_max_ms))
}
