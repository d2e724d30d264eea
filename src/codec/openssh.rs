//! OpenSSH's messages in syslog lines: who tried to log in, from where, and whether it worked.
//!
//! Every well-formed line of any program becomes an [`AuthLine`]; the messages of `sshd` and `sshd-session` about logins
//! become the [`AuthEvent`] they mean, everything else is [`AuthEvent::Other`]. Lines without a syslog header are refused.
//!
//! A line that is not UTF-8 is *not* refused: attackers choose the user names in these lines, and an attempt must not be
//! lost because of its name. Bytes that are no UTF-8 read as U+FFFD.
//!
//! Times without a zone are taken as UTC. This module does not read files, and does not pair lines of one session.

mod address;
mod header;
mod message;
mod year;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::address::Address;
use self::year::YearTracker;
use crate::record::{Decode, Decoder, Event, Reason, Rejection, Text};
use crate::settings::{Section, Value};
use crate::time::EventTime;

/// The years that the source's key `year` may name.
const YEARS: std::ops::RangeInclusive<i64> = 1970..=9999;

/// One line of an authentication log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuthLine {
    /// When it was written.
    pub at: EventTime,
    /// The machine that wrote it, as the line spells it.
    pub host: Text,
    /// The program that wrote it: `sshd`, `sudo`, `CRON`.
    pub program: Text,
    /// The program's process, where the line says so.
    pub pid: Option<u32>,
    /// What it says.
    pub event: AuthEvent,
    /// How often it happened: N for `message repeated N times: [ … ]`, else 1.
    pub repeated: u32,
}

/// What a line of an authentication log says.
///
/// A user name is what was typed at the other end: it may be empty, hold spaces, or imitate a log line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuthEvent {
    /// `Failed METHOD for [invalid user ]USER from ADDRESS port PORT`.
    Failed {
        /// `password`, `publickey`, `keyboard-interactive/pam`, `none` and others.
        method: Text,
        /// The user that was tried.
        user: Text,
        /// Whether the machine has no such user.
        invalid_user: bool,
        /// Where the attempt came from.
        source_ip: Address,
        /// The port that it came from.
        port: u16,
    },
    /// `Accepted METHOD for USER from ADDRESS port PORT`.
    Accepted {
        /// `password`, `publickey`, `keyboard-interactive/pam` and others.
        method: Text,
        /// The user that logged in.
        user: Text,
        /// Where the login came from.
        source_ip: Address,
        /// The port that it came from.
        port: u16,
    },
    /// `Invalid user USER from ADDRESS[ port PORT]`: precedes the failures of a user that the machine does not have.
    InvalidUser {
        /// The user that was tried.
        user: Text,
        /// Where the attempt came from.
        source_ip: Address,
        /// The port that it came from; sshd before 7.4 does not write it.
        port: Option<u16>,
    },
    /// `… POSSIBLE BREAK-IN ATTEMPT!`: the name of the address does not lead back to it.
    BreakIn {
        /// Where the connection came from.
        source_ip: Address,
    },
    /// Anything else, of any program.
    Other {
        /// The text after the program's name.
        message: Text,
    },
}

impl AuthEvent {
    /// Where it came from, for the events that say so.
    pub fn source_ip(&self) -> Option<&Address> {
        match self {
            AuthEvent::Failed { source_ip, .. }
            | AuthEvent::Accepted { source_ip, .. }
            | AuthEvent::InvalidUser { source_ip, .. }
            | AuthEvent::BreakIn { source_ip } => Some(source_ip),
            AuthEvent::Other { .. } => None,
        }
    }

    /// The user that was tried or logged in, for the events that say so.
    pub fn user(&self) -> Option<&Text> {
        match self {
            AuthEvent::Failed { user, .. } | AuthEvent::Accepted { user, .. } | AuthEvent::InvalidUser { user, .. } => {
                Some(user)
            }
            AuthEvent::BreakIn { .. } | AuthEvent::Other { .. } => None,
        }
    }

    /// How the user tried to log in or did, for the events that say so.
    pub fn method(&self) -> Option<&Text> {
        match self {
            AuthEvent::Failed { method, .. } | AuthEvent::Accepted { method, .. } => Some(method),
            _ => None,
        }
    }
}

impl Event for AuthLine {
    fn event_time(&self) -> EventTime {
        self.at
    }
}

/// How to read an authentication log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthOptions {
    /// The year of the first line of every partition, for lines that do not say it (key `year`, 1970 to 9999).
    ///
    /// By default it is the latest year that puts the first line at most a day after the epoch at which it is read.
    pub year: Option<i32>,
}

impl Decode for AuthLine {
    type Options = AuthOptions;
    type Decoder = AuthDecoder;

    fn options(section: &mut Section<'_>) -> AuthOptions {
        let year = match section.node("year").map(|node| &node.value) {
            None => None,
            Some(Value::Integer(year)) if YEARS.contains(year) => i32::try_from(*year).ok(),
            Some(_) => {
                section.fault("year", format!("expected a year from {} to {}", YEARS.start(), YEARS.end()));
                None
            }
        };
        AuthOptions { year }
    }

    fn decoder(options: &AuthOptions) -> AuthDecoder {
        AuthDecoder { years: YearTracker::new(options.year) }
    }

    fn time(&self) -> Option<EventTime> {
        Some(self.at)
    }
}

/// Reads the lines of one partition in their order, from which it knows the year of lines that do not say it.
#[derive(Clone, Debug)]
pub struct AuthDecoder {
    years: YearTracker,
}

impl Decoder<AuthLine> for AuthDecoder {
    fn decode(&mut self, bytes: &[u8], epoch_ms: u64) -> Result<AuthLine, Rejection> {
        let line = String::from_utf8_lossy(bytes);
        let refuse = |detail: &str| Rejection::new(Reason::Malformed, detail);
        let header = header::parse(line.trim_end_matches(['\r', '\n'])).map_err(refuse)?;
        let at = self.years.resolve(header.stamp, epoch_ms).map_err(|detail| refuse(&detail))?;
        let (repeated, text) = message::unfold(header.message);
        let event = match header.program {
            "sshd" | "sshd-session" => message::login(text),
            _ => None,
        };
        Ok(AuthLine {
            at,
            host: header.host.into(),
            program: header.program.into(),
            pid: header.pid,
            event: event.unwrap_or_else(|| AuthEvent::Other { message: text.into() }),
            repeated,
        })
    }

    fn state(&self) -> Option<Vec<u8>> {
        Some(serde_json::to_vec(&self.years).expect("years can be written as JSON"))
    }

    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        self.years = serde_json::from_slice(state).map_err(|why| why.to_string())?;
        Ok(())
    }
}

/// The entry point of the fuzzer: decodes `bytes` as lines of one partition, and must not panic whatever they are.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    for year in [None, Some(2024)] {
        let mut decoder = AuthLine::decoder(&AuthOptions { year });
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(line) = decoder.decode(line, 1_700_000_000_000) {
                assert!(!line.program.is_empty());
            }
        }
    }
}
