//! The rows that are exchanged: parts of windows with a set of users, parts that only count, and a plain record of 42
//! bytes.

use columnar::Columnar;
use serde::{Deserialize, Serialize};
#[cfg(feature = "abomonation")]
use tidewatch::abomonate;
use tidewatch::operators::exchange::KeyedRow;
use tidewatch::prelude::*;

#[cfg(not(feature = "abomonation"))]
macro_rules! abomonate {
    ($item:item) => {
        $item
    };
}

const START: i64 = 1_767_225_600_000;

fn address(i: usize) -> String {
    format!("10.{}.{}.{}", i % 200 + 20, i * 7 % 250, i * 13 % 250)
}

/// What a window stage sends of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part<S> {
    start: EventTime,
    key: Text,
    state: S,
}

impl<S: tidewatch::record::Record> KeyedRow for Part<S> {
    type Key = Text;
    type Value = S;

    fn columns(&self) -> (EventTime, &Text, &S) {
        (self.start, &self.key, &self.state)
    }

    fn of_columns(start: EventTime, key: Text, state: S) -> Self {
        Part { start, key, state }
    }
}

pub struct Login {
    user: Text,
    failed: bool,
    bytes: u32,
}

type State = (u64, u64, <UsersOf as Aggregate<Login>>::State, u64);
type UsersOf = Distinct<fn(&Login) -> &Text, Text>;

/// The part of an address in a minute of `dataflows/auth_windows.rs`: one to six logins, of as many users or fewer.
pub fn part(i: usize) -> Part<State> {
    let user: fn(&Login) -> &Text = |login| &login.user;
    let aggregate = (
        Count,
        Sum::of(|login: &Login| u32::from(login.failed)),
        Distinct::of(user),
        Sum::of(|login: &Login| login.bytes),
    );
    let mut state = State::default();
    for j in 0..=i % 6 {
        let user = format!("u{:05}", (i + j * 3 / 2) % 9_000).into();
        aggregate.add(&mut state, &Login { user, failed: j % 3 == 0, bytes: 3_000 + 17 * j as u32 });
    }
    Part { start: EventTime::from_millis(START), key: address(i).into(), state }
}

abomonate! {
    /// What a part that only counts says.
    #[derive(Clone, Debug, Serialize, Deserialize, Columnar)]
    pub struct Totals {
        count: u64,
        failures: u64,
        bytes: u64,
    }
}

abomonate! {
    /// A part that only counts.
    #[derive(Clone, Debug, Serialize, Deserialize, Columnar)]
    pub struct Counts {
        start: i64,
        key: String,
        totals: Totals,
    }
}

impl KeyedRow for Counts {
    type Key = String;
    type Value = Totals;

    fn columns(&self) -> (EventTime, &String, &Totals) {
        (EventTime::from_millis(self.start), &self.key, &self.totals)
    }

    fn of_columns(start: EventTime, key: String, totals: Totals) -> Self {
        Counts { start: start.millis(), key, totals }
    }
}

pub fn counts(i: usize) -> Counts {
    let count = i as u64 % 6 + 1;
    Counts { start: START, key: address(i), totals: Totals { count, failures: count / 3, bytes: count * 3_517 } }
}

abomonate! {
    /// What a record says.
    #[derive(Clone, Debug, Serialize, Deserialize, Columnar)]
    pub struct Said {
        value: i64,
        text: String,
    }
}

abomonate! {
    /// Three numbers and a text of 18 bytes.
    #[derive(Clone, Debug, Serialize, Deserialize, Columnar)]
    pub struct Record {
        at: i64,
        key: u64,
        said: Said,
    }
}

impl KeyedRow for Record {
    type Key = u64;
    type Value = Said;

    fn columns(&self) -> (EventTime, &u64, &Said) {
        (EventTime::from_millis(self.at), &self.key, &self.said)
    }

    fn of_columns(at: EventTime, key: u64, said: Said) -> Self {
        Record { at: at.millis(), key, said }
    }
}

pub fn record(i: usize) -> Record {
    let said = Said { value: i as i64 * 7_919 - 300_000, text: format!("session-{:010}", i * 65_537) };
    Record { at: START + i as i64, key: (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), said }
}
