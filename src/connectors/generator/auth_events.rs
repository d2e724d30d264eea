//! The profile `auth-events`: JSON lines of what users do on servers, each of which can be generated without earlier
//! ones.
//!
//! A few addresses fail most of the time, most rarely. A malformed line is cut short, is not JSON, lacks a field, or
//! has one of the wrong type.

use std::io::Write;

use rand_distr::{Distribution, Zipf};

use super::GeneratorConfig;
use super::random::{Random, RandomPurpose, private_address};
use crate::time::millis;

const ACTIONS: [&str; 6] = ["login", "logout", "sudo", "file_read", "file_write", "api_call"];
const USERS: u64 = 10_000;
const HOSTS: u64 = 200;
/// Four of five records are at most this late, in milliseconds.
const USUALLY_LATE_MAX_MS: u64 = 50;

/// Writes records by partition and number.
#[derive(Clone, Debug)]
pub(super) struct AuthEvents {
    config: GeneratorConfig,
    ranks: Zipf<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Malformation {
    CutShort,
    NoJson,
    NoAddress,
    TimeIsText,
}

impl AuthEvents {
    /// `config` is in range.
    pub fn new(config: &GeneratorConfig) -> Self {
        let ranks = Zipf::new(config.keys as f64, config.skew).expect("at least one key, and a skew that is a number");
        AuthEvents { config: config.clone(), ranks }
    }

    /// Replaces `line` by the record `index` of `partition`, without a line break.
    pub fn write(&self, partition: u32, index: u64, line: &mut Vec<u8>) {
        line.clear();
        self.append(partition, index, line).expect("writing to memory does not fail");
    }

    fn append(&self, partition: u32, index: u64, line: &mut Vec<u8>) -> std::io::Result<()> {
        let mut random = Random::new(self.config.seed, RandomPurpose::AuthEvent, u64::from(partition), index);
        let fault = random.chance(self.config.malformed).then(|| {
            random.pick(&[
                Malformation::CutShort,
                Malformation::NoJson,
                Malformation::NoAddress,
                Malformation::TimeIsText,
            ])
        });
        let ts = self.time(partition, index, &mut random);
        let rank = (self.ranks.sample(random.raw()) as u64).clamp(1, self.config.keys) - 1;
        let mut character = Random::new(self.config.seed, RandomPurpose::Character, rank, 0);
        let (usual_user, attacker) = (character.below(USERS), character.below(128) == 0);
        let address = private_address(rank);
        let user = match random.below(10) {
            0 => random.below(USERS),
            _ => (usual_user + random.below(4) * random.below(4)) % USERS,
        };
        let failed = random.below(10) < if attacker { 8 } else { 1 };
        let outcome = if failed { "failure" } else { "success" };
        let action = ACTIONS[(random.below(3) * random.below(3) + random.below(2)) as usize % ACTIONS.len()];
        let root = random.below(256);
        let bytes = root * root + random.below(1000);
        let (host, pid, port) = (random.below(HOSTS), random.between(1000, 60_999), random.between(1024, 65_023));

        if fault == Some(Malformation::NoJson) {
            return write!(line, "<13>Jan  1 00:00:00 web-{host:03} kernel: eth0 link is down {pid} {port}");
        }
        match fault {
            Some(Malformation::TimeIsText) => write!(line, "{{\"ts\":\"n/a\"")?,
            _ => write!(line, "{{\"ts\":{ts}")?,
        }
        write!(line, ",\"host\":\"web-{host:03}.prod.example\"")?;
        if fault != Some(Malformation::NoAddress) {
            write!(line, ",\"src_ip\":\"{address}\"")?;
        }
        write!(line, ",\"user\":\"u{user:05}\",\"action\":\"{action}\",\"outcome\":\"{outcome}\",\"bytes\":{bytes}")?;
        match random.below(20) {
            // Escapes and a letter beyond ASCII, which decoders must get right.
            0 => {
                let command = r#"COMMAND=\"/bin/cat /etc/p\\w\" café"#;
                write!(line, ",\"message\":\"sudo[{pid}]: u{user:05} : TTY=pts/1 ; {command}\"}}")?;
            }
            1..=9 => {
                let verb = if failed { "Failed" } else { "Accepted" };
                write!(
                    line,
                    ",\"message\":\"sshd[{pid}]: {verb} password for u{user:05} from {address} port {port} ssh2\"}}"
                )?;
            }
            _ => {
                let verb = if failed { "refused" } else { "opened" };
                write!(line, ",\"message\":\"session {verb} for user u{user:05} by (uid=0) pid={pid} port={port}\"}}")?;
            }
        }
        if fault == Some(Malformation::CutShort) {
            // Before the message, where all is ASCII.
            line.truncate(random.between(20, 100) as usize);
        }
        Ok(())
    }

    fn time(&self, partition: u32, index: u64, random: &mut Random) -> i64 {
        let nth = u128::from(index) * u128::from(self.config.partitions) + u128::from(partition);
        let disorder = millis(self.config.disorder) as u64;
        let late = match random.below(5) {
            0 => random.between(0, disorder),
            _ => random.between(0, disorder.min(USUALLY_LATE_MAX_MS)),
        };
        self.config.time_of(nth).saturating_sub(late as i64).max(self.config.start.millis())
    }
}
