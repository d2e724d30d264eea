//! OpenSSH's messages in syslog lines: who tried to log in, from where, and whether it worked.
//!
//! Every line of any program that has a time and a tag becomes an [`AuthLine`]; the messages of `sshd`, `sshd-session` and
//! `sshd-auth` about logins become the [`AuthEvent`] they mean, everything else is [`AuthEvent::Other`]. Refused are lines
//! without a time or a tag, and messages of sshd that begin like one about a login and go on in another way.
//!
//! A line that is not UTF-8 is *not* refused: attackers choose the user names in these lines, and an attempt must not be
//! lost because of its name. Bytes that are no UTF-8 read as U+FFFD.
//!
//! Times without a zone are in the zone of [`AuthOptions`]. This module does not read files, and of the lines of one session it
//! pairs only those that report the same failure.

mod address;
mod clock;
mod decoder;
mod header;
mod last;
mod message;
mod month;
mod pairs;
mod stamp;
mod tag;
mod year;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::address::Address;
pub use self::clock::Zone;
pub use self::decoder::{AuthDecoder, fuzz};
use crate::record::{Decode, Event, Text, clock_of};
use crate::settings::{Section, Value};
use crate::time::EventTime;

/// The years that the source's key `year` may name.
const YEARS: std::ops::RangeInclusive<i64> = 1970..=9999;

/// One line of an authentication log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuthLine {
    /// When it was written.
    pub at: EventTime,
    /// The machine that wrote it, as the line spells it; empty where the line does not say it.
    pub host: Text,
    /// The program that wrote it, without its folder: `sshd`, `sudo`, `CRON`.
    pub program: Text,
    /// The program's process, where the line says so.
    pub pid: Option<u32>,
    /// What it says.
    pub event: AuthEvent,
    /// How often it happened, at least 1: N for `message repeated N times: [ … ]`, and for `last message repeated N times`,
    /// which stands for N more of the message before.
    pub repeated: u32,
    /// How many lines its partition had before it, refused ones included: the order of lines of one time.
    pub number: u64,
}

impl AuthLine {
    /// Whether sshd wrote it, under one of its names: `sshd`, `sshd-session`, `sshd-auth`, or `sshd(pam_unix)`.
    pub fn is_of_sshd(&self) -> bool {
        tag::is_of_sshd(&self.program)
    }
}

/// What a line of an authentication log says.
///
/// A user name is what was typed at the other end: it may be empty, hold spaces, or imitate a log line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuthEvent {
    /// `Failed METHOD for [invalid user ]USER from ADDRESS[ port PORT]`, and `error: PAM: REASON for [illegal user ]USER from ADDRESS`.
    Failed {
        /// `password`, `publickey`, `keyboard-interactive/pam` (also where PAM reports it), `none` and others.
        method: Text,
        /// The user that was tried.
        user: Text,
        /// Whether the machine has no such user.
        invalid_user: bool,
        /// Where the attempt came from.
        source_ip: Address,
        /// The port that it came from, where the line says it.
        port: Option<u16>,
    },
    /// A failed dialogue that another line reported before: servers can write of one both `error: PAM: …` and `Failed
    /// keyboard-interactive/pam …`. Whichever comes first is [`Failed`](AuthEvent::Failed).
    Duplicate {
        /// The user that was tried.
        user: Text,
        /// Where the attempt came from.
        source_ip: Address,
    },
    /// `Accepted METHOD for USER from ADDRESS[ port PORT]`.
    Accepted {
        /// `password`, `publickey`, `keyboard-interactive/pam` and others.
        method: Text,
        /// The user that logged in.
        user: Text,
        /// Where the login came from.
        source_ip: Address,
        /// The port that it came from, where the line says it.
        port: Option<u16>,
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
    /// `Connection closed by authenticating user USER ADDRESS port PORT` and its likes (`reset by`, `Disconnected from`,
    /// `Disconnecting … : Too many authentication failures`, `invalid user`): a connection that named a user and ended before a login.
    ///
    /// Where there are no passwords it is all that sshd says of a try; elsewhere it follows the failures.
    Abandoned {
        /// The user that was named.
        user: Text,
        /// Whether the machine has no such user.
        invalid_user: bool,
        /// Where the connection came from.
        source_ip: Address,
        /// The port that it came from.
        port: u16,
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
            | AuthEvent::Duplicate { source_ip, .. }
            | AuthEvent::Accepted { source_ip, .. }
            | AuthEvent::InvalidUser { source_ip, .. }
            | AuthEvent::Abandoned { source_ip, .. }
            | AuthEvent::BreakIn { source_ip } => Some(source_ip),
            AuthEvent::Other { .. } => None,
        }
    }

    /// The user that was tried or logged in, for the events that say so.
    pub fn user(&self) -> Option<&Text> {
        match self {
            AuthEvent::Failed { user, .. }
            | AuthEvent::Duplicate { user, .. }
            | AuthEvent::Accepted { user, .. }
            | AuthEvent::InvalidUser { user, .. }
            | AuthEvent::Abandoned { user, .. } => Some(user),
            AuthEvent::BreakIn { .. } | AuthEvent::Other { .. } => None,
        }
    }

    /// A failure that another line reported before.
    fn into_duplicate(self) -> AuthEvent {
        match self {
            AuthEvent::Failed { user, source_ip, .. } => AuthEvent::Duplicate { user, source_ip },
            other => other,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthOptions {
    /// The year of the first line of every partition, for lines that do not say it (key `year`, 1970 to 9999).
    ///
    /// By default it is the latest year that puts the first line at most a day after the epoch at which it is read.
    pub year: Option<i32>,
    /// The zone of the clocks, for lines that do not say it (key `zone`: an IANA name such as `Europe/Berlin`, or an offset
    /// from UTC such as `+02:00`). Default: UTC.
    ///
    /// A time that the clocks skipped is moved on by as much as they skipped. Of a time that they show twice the earlier is
    /// meant, until lines say that the clocks of the partition have gone back.
    pub zone: Option<Zone>,
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
        let zone = section.optional::<String>("zone").and_then(|name| {
            Zone::parse(&name).map_err(|why| section.fault("zone", format!("{why}, found {name:?}"))).ok()
        });
        AuthOptions { year, zone }
    }

    fn decoder(options: &AuthOptions) -> AuthDecoder {
        AuthDecoder::new(options)
    }

    fn time(&self) -> Option<EventTime> {
        Some(self.at)
    }

    fn clock_fields() -> &'static [&'static str] {
        &["host"]
    }

    /// Several hosts write into one log where it is a central one.
    fn clock(&self, _field: usize) -> u64 {
        clock_of(&self.host)
    }
}
