//! One try to log in, as the rules count it.

use std::net::Ipv6Addr;

use tidewatch::codec::openssh::{Address, AuthEvent, AuthLine};
use tidewatch::prelude::*;

/// A try to log in.
#[derive(Event)]
pub(super) struct Attempt {
    #[event(time)]
    pub at: EventTime,
    /// The address, or the network that it counts as.
    pub source: Text,
    pub user: Text,
    /// Whether the machine has no such user.
    pub unknown_user: bool,
    pub kind: Kind,
    /// How often it happened: the log folds repetitions into one line.
    pub times: u32,
    /// The number of the line: the order of those of one time.
    pub number: u64,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Failed,
    Accepted,
    /// The machine has no such user; whether a password was tried as well, another line says.
    Probed,
}

impl Attempt {
    /// The attempt that a line tells of, if it does.
    ///
    /// Passwords count, whether typed at once or in a dialogue, and names that the machine does not know. Keys do not: a client tries
    /// all that it has.
    pub(super) fn of(line: AuthLine, prefix: Prefix, disconnects_are_failures: bool) -> Option<Attempt> {
        let AuthLine { at, event, repeated, number, .. } = line;
        let (source, user, unknown_user, kind) = match event {
            AuthEvent::Failed { method, user, invalid_user, source_ip, .. } if is_password(&method) => {
                (source_ip, user, invalid_user, Kind::Failed)
            }
            AuthEvent::Accepted { method, user, source_ip, .. } if is_password(&method) => {
                (source_ip, user, false, Kind::Accepted)
            }
            AuthEvent::InvalidUser { user, source_ip, .. } => (source_ip, user, true, Kind::Probed),
            AuthEvent::Abandoned { user, invalid_user, source_ip, .. } if disconnects_are_failures => {
                (source_ip, user, invalid_user, Kind::Failed)
            }
            _ => return None,
        };
        Some(Attempt { at, source: prefix.of(&source), user, unknown_user, kind, times: repeated, number })
    }
}

fn is_password(method: &str) -> bool {
    method == "password" || method.starts_with("keyboard-interactive")
}

/// How many bits of an IPv6 address tell sources apart, 1 to 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(super) struct Prefix(u8);

impl TryFrom<u8> for Prefix {
    type Error = String;

    fn try_from(bits: u8) -> Result<Self, String> {
        if (1..=128).contains(&bits) { Ok(Prefix(bits)) } else { Err(format!("expected 1 to 128 bits, found {bits}")) }
    }
}

impl Prefix {
    /// The source that an address counts as: itself, or its network such as `2001:db8:1:2::/64`.
    fn of(self, address: &Address) -> Text {
        match address {
            Address::Ip(IpAddr::V6(ip)) if self.0 < 128 => {
                let network = Ipv6Addr::from_bits(ip.to_bits() & u128::MAX << (128 - self.0));
                format!("{network}/{}", self.0).into()
            }
            address => address.to_string().into(),
        }
    }
}

/// An aggregate over those attempts that a condition holds for.
pub(super) struct Only<A>(pub fn(&Attempt) -> bool, pub A);

impl<A: Aggregate<Attempt>> Aggregate<Attempt> for Only<A> {
    type State = A::State;
    type Output = A::Output;

    fn add(&self, state: &mut A::State, attempt: &Attempt) {
        if (self.0)(attempt) {
            self.1.add(state, attempt);
        }
    }

    fn merge(&self, state: &mut A::State, other: A::State) {
        self.1.merge(state, other);
    }

    fn result(&self, state: A::State) -> A::Output {
        self.1.result(state)
    }
}
