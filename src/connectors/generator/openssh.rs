//! The profile `openssh`: authentication logs of several servers, with attacks planted among ordinary logins.
//!
//! Every host is a partition. Even ones write times as RFC 3164 (no year, no zone: UTC is meant), odd ones as RFC 3339,
//! as mixed fleets do. A [`Plan`] lists what was planted. Everyone else stays below it: no address but the planted ones
//! fails more than [`ORDINARY_FAILURES_MAX`] times within [`ORDINARY_GAP`], so at most that often in any 5 minutes and
//! for at most two users in any hour.
//!
//! It imitates what servers write, not how they work: passwords, keys and the clients' side do not exist.

mod host;
mod lines;
mod plan;
mod sessions;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::record::Text;

pub(super) use self::host::HostLog;
pub use self::plan::{Attack, AttackKind, Plan};
use super::{GeneratorConfig, Profile};
use crate::time::EventTime;

/// The most failures of an ordinary address within [`ORDINARY_GAP`].
pub const ORDINARY_FAILURES_MAX: u64 = 2;
/// The least time between two ordinary sessions of one address in which a login fails.
pub const ORDINARY_GAP: Duration = Duration::from_secs(2400);

/// A generated line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The host's number, which is its partition.
    pub partition: u32,
    /// The name of the host that writes it.
    pub host: Text,
    /// Its time, if it is well-formed; in milliseconds, where the line may have whole seconds.
    pub at: EventTime,
    /// The line without a line break; not always UTF-8.
    pub bytes: Vec<u8>,
    /// Whether it was planted to be refused.
    pub malformed: bool,
}

/// 60 000 lines of 4 hosts over 6 hours of event time, with 8 planted attacks: a demonstration's size.
///
/// The lines without a year are of 2026, which a source of them has to be configured with (key `year`).
pub fn demo(seed: u64) -> GeneratorConfig {
    GeneratorConfig {
        events: Some(60_000),
        partitions: 4,
        seed,
        events_per_second: 60_000.0 / (6.0 * 3600.0),
        ..GeneratorConfig::of(Profile::Openssh)
    }
}

/// The name of the host that is partition `partition`.
pub fn host_name(partition: u32) -> Text {
    const ROLES: [&str; 4] = ["bastion", "web", "build", "db"];
    let role = ROLES[partition as usize % ROLES.len()];
    format!("{role}-{:02}", partition as usize / ROLES.len() + 1).into()
}

fn in_range(config: &GeneratorConfig) -> GeneratorConfig {
    GeneratorConfig { profile: Profile::Openssh, ..config.clone() }.clamped()
}

/// The lines of all hosts, in the order in which they arrive: the generator's partitions, merged.
pub struct AuthLog {
    /// Every host that has lines left, with its next line and the time of its arrival.
    hosts: Vec<(i64, LogLine, HostLog)>,
}

impl AuthLog {
    /// The logs that `config` describes; its profile and its rate are ignored.
    pub fn new(config: &GeneratorConfig) -> Self {
        let config = in_range(config);
        let logs = (0..config.partitions).map(|partition| HostLog::new(&config, partition));
        let hosts = logs.filter_map(|mut log| log.next_arrival().map(|(at, line)| (at, line, log))).collect();
        AuthLog { hosts }
    }
}

impl Iterator for AuthLog {
    type Item = LogLine;

    fn next(&mut self) -> Option<LogLine> {
        let (index, _) = self.hosts.iter().enumerate().min_by_key(|(_, (at, line, _))| (*at, line.partition))?;
        let (at, line, log) = &mut self.hosts[index];
        match log.next_arrival() {
            Some((next_at, next)) => {
                *at = next_at;
                Some(std::mem::replace(line, next))
            }
            None => Some(self.hosts.swap_remove(index).1),
        }
    }
}
