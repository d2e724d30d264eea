//! The planted attacks, which certainly exceed the thresholds of the shipped detectors, and their times.
//!
//! A brute force makes at least [`BRUTE_FAILURES_MIN`] failures within one window of 5 minutes, a spraying tries at
//! least [`SPRAY_USERS_MIN`] users within one window of an hour, windows being aligned to the Unix epoch as those of
//! the engine are. A spraying stays below 5 failures in any window of 5 minutes, so it is no brute force as well.
//!
//! An attack that would not fit, because the log is too short or has too few lines, is omitted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::record::Text;

use super::super::GeneratorConfig;
use super::super::random::{Random, RandomPurpose};
use super::{host_name, in_range};
use crate::time::{EventTime, millis};

/// The least failures of a brute force in one aligned window of 5 minutes.
pub const BRUTE_FAILURES_MIN: u64 = 12;
/// The least users of a spraying in one aligned hour.
pub const SPRAY_USERS_MIN: u64 = 10;
const SPRAY_USERS_MAX: u64 = 15;
/// The time between two users of a spraying: two users of two failures each in 5 minutes.
const SPRAY_STEP_MS: i64 = 180_000;

const WINDOW_MS: i64 = 300_000;
const HOUR_MS: i64 = 3_600_000;
/// Attacks are planned for this much event time at once.
const CYCLE_MS: i64 = 6 * HOUR_MS;
const KINDS: [AttackKind; 8] = [
    AttackKind::BruteForce,
    AttackKind::Spraying,
    AttackKind::SuccessAfterFailures,
    AttackKind::BruteForce,
    AttackKind::Spraying,
    AttackKind::BruteForce,
    AttackKind::SuccessAfterFailures,
    AttackKind::BruteForce,
];
/// The attack of a cycle that lasts for three windows.
const LONG: usize = 5;
/// The most lines that one failure takes.
const LINES_PER_FAILURE: u64 = 6;
/// How long after its beginning the last line of an attempt may be written, in milliseconds.
pub(super) const ATTEMPT_MS: i64 = 15_000;

/// Names that attackers try; the first three exist on the hosts.
pub(super) const TRIED: [&str; 20] = [
    "root",
    "postgres",
    "www-data",
    "admin",
    "test",
    "oracle",
    "ubuntu",
    "user",
    "guest",
    "ftpuser",
    "pi",
    "support",
    "mysql",
    "git",
    "hadoop",
    "nagios",
    "tomcat",
    "es",
    "dev",
    "administrator",
];
/// A name that imitates the rest of sshd's message, to blame another address.
const FORGED: &str = "root from 192.0.2.66 port 22 ssh2";

/// What kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AttackKind {
    /// One address guesses passwords of one host, many times in minutes.
    BruteForce,
    /// One address tries many users, a few times each, on all hosts.
    Spraying,
    /// A brute force whose last guess is right.
    SuccessAfterFailures,
}

/// An attack that is in the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attack {
    /// What kind of attack.
    pub kind: AttackKind,
    /// The address that it comes from, and nothing else does.
    pub source_ip: IpAddr,
    /// The time of its first line, at the earliest.
    pub from: EventTime,
    /// Every line is earlier.
    pub until: EventTime,
    /// How many logins fail.
    pub failures: u64,
    /// The users that are tried, sorted, each once.
    pub users: Vec<Text>,
    /// The hosts that are tried, in the order of their partitions.
    pub hosts: Vec<Text>,
    pub(super) attempts: Vec<Attempt>,
}

/// One connection of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub host: u32,
    pub at_ms: i64,
    pub source_ip: IpAddr,
    pub user: Text,
    pub failures: u64,
    pub succeeds: bool,
}

impl Attempt {
    /// Whether the hosts know the user.
    pub fn known_user(&self) -> bool {
        self.succeeds || TRIED[..3].contains(&self.user.as_str())
    }
}

/// All planted attacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    attacks: Vec<Attack>,
}

/// The most event time that a plan covers, in cycles of 6 hours: 250 days.
const PLAN_CYCLES_MAX: u64 = 1000;

impl Plan {
    /// The attacks in the logs that `config` describes: in the first 6 hours of endless logs, in the first 250 days of
    /// others.
    pub fn new(config: &GeneratorConfig) -> Self {
        let config = in_range(config);
        let cycles = if config.events.is_some() { PLAN_CYCLES_MAX } else { 1 };
        let mut attacks: Vec<Attack> = (0..cycles).map_while(|n| attacks_of(&config, n)).flatten().collect();
        attacks.sort_by_key(|attack| (attack.from, attack.source_ip));
        Plan { attacks }
    }

    /// The attacks, by time.
    pub fn attacks(&self) -> &[Attack] {
        &self.attacks
    }
}

/// When the logs end; `None` if they do not.
pub(super) fn end_ms(config: &GeneratorConfig) -> Option<i64> {
    config.events.map(|events| config.time_of(u128::from(events)))
}

/// When cycle `number` begins; `None` if it is after the end.
pub(super) fn cycle_start_ms(config: &GeneratorConfig, number: u64) -> Option<i64> {
    let offset = i64::try_from(number).ok()?.checked_mul(CYCLE_MS)?;
    let start = config.start.millis().checked_add(offset)?;
    (start < end_ms(config).unwrap_or(i64::MAX - 2 * CYCLE_MS)).then_some(start)
}

/// The attacks that begin in cycle `number`; `None` if it is after the end.
pub(super) fn attacks_of(config: &GeneratorConfig, number: u64) -> Option<Vec<Attack>> {
    let start_ms = cycle_start_ms(config, number)?;
    // Delayed lines, and lines that follow an attempt's last one.
    let margin_ms = millis(config.disorder) + 60_000;
    let end_ms = end_ms(config).map_or(i64::MAX, |end| end.saturating_sub(margin_ms));
    let slot_ms = (end_ms.saturating_sub(start_ms).min(CYCLE_MS) / KINDS.len() as i64).max(1);
    let planned = KINDS.iter().enumerate().filter_map(|(index, kind)| {
        let slot = start_ms + slot_ms * index as i64;
        let random = Random::new(config.seed, RandomPurpose::Attack, number, index as u64);
        let number = number.saturating_mul(KINDS.len() as u64).saturating_add(index as u64);
        let mut planner = Planner { config, random, source_ip: source_ip(config.seed, number), number };
        let attempts = match kind {
            AttackKind::Spraying => planner.spraying(slot, end_ms),
            _ => planner.brute_force(slot, slot_ms, end_ms, if index == LONG { 3 } else { 1 }, *kind),
        }?;
        Some(Attack::of(*kind, attempts))
    });
    Some(planned.collect())
}

/// The address of attack `number`, which no other attack has: from the ranges for documentation.
fn source_ip(seed: u64, number: u64) -> IpAddr {
    const NETWORKS: [[u8; 3]; 2] = [[203, 0, 113], [198, 51, 100]];
    // 37 and 254 have no common factor, so 254 numbers in a row have different addresses.
    let host = ((number % 254) * 37 + seed % 254) % 254 + 1;
    match NETWORKS.get((number / 254) as usize) {
        // Every eighth address is an IPv6 one.
        Some([a, b, c]) if number % 8 != 3 => Ipv4Addr::new(*a, *b, *c, host as u8).into(),
        _ => Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(number)).into(),
    }
}

impl Attack {
    fn of(kind: AttackKind, attempts: Vec<Attempt>) -> Self {
        let mut users: Vec<Text> = attempts.iter().map(|attempt| attempt.user.clone()).collect();
        users.sort_unstable();
        users.dedup();
        let mut hosts: Vec<u32> = attempts.iter().map(|attempt| attempt.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let (first, last) = (&attempts[0], &attempts[attempts.len() - 1]);
        Attack {
            kind,
            source_ip: first.source_ip,
            from: EventTime::from_millis(first.at_ms),
            until: EventTime::from_millis(last.at_ms + ATTEMPT_MS),
            failures: attempts.iter().map(|attempt| attempt.failures).sum(),
            users,
            hosts: hosts.into_iter().map(host_name).collect(),
            attempts,
        }
    }
}

struct Planner<'a> {
    config: &'a GeneratorConfig,
    random: Random,
    source_ip: IpAddr,
    number: u64,
}

impl Planner<'_> {
    /// The most lines for attacks on one host in 5 minutes: half of what it writes.
    fn lines_max(&self) -> u64 {
        let per_second = self.config.events_per_second / f64::from(self.config.partitions);
        (per_second * (1.0 - self.config.malformed) * 150.0) as u64
    }

    fn attempt(&self, host: u32, at_ms: i64, user: &str, failures: u64) -> Attempt {
        Attempt { host, at_ms, source_ip: self.source_ip, user: user.into(), failures, succeeds: false }
    }

    /// `windows` aligned windows of 5 minutes, all full of failures, within the first half of the slot if there is
    /// room.
    fn brute_force(
        &mut self,
        slot_start_ms: i64,
        slot_ms: i64,
        end_ms: i64,
        windows: i64,
        kind: AttackKind,
    ) -> Option<Vec<Attempt>> {
        let earliest = slot_start_ms + self.random.below((slot_ms as u64 / 2).max(1)) as i64;
        let start_ms = earliest.checked_add(WINDOW_MS - 1)? / WINDOW_MS * WINDOW_MS;
        let failures_max = (self.lines_max() / LINES_PER_FAILURE).min(40);
        if start_ms + windows * WINDOW_MS > end_ms || failures_max < BRUTE_FAILURES_MIN {
            return None;
        }
        let host = (self.number % u64::from(self.config.partitions)) as u32;
        let mut attempts = Vec::new();
        for window in 0..windows {
            let failures = self.random.between(BRUTE_FAILURES_MIN, failures_max);
            let from_ms = start_ms + window * WINDOW_MS + self.random.between(5_000, 25_000) as i64;
            self.guess(host, from_ms, failures, &mut attempts);
        }
        if kind == AttackKind::SuccessAfterFailures {
            let last = attempts.last().expect("a brute force has attempts").at_ms;
            let user = self.random.pick(&["root", "postgres", "backup"]);
            attempts.push(Attempt { succeeds: true, ..self.attempt(host, last + 20_000, user, 0) });
        }
        Some(attempts)
    }

    /// `failures` guesses over 4 minutes, three per connection of a known user, one per connection of another.
    fn guess(&mut self, host: u32, from_ms: i64, failures: u64, attempts: &mut Vec<Attempt>) {
        let step_ms = 220_000 / failures as i64;
        let mut made = 0;
        while made < failures {
            let user = if self.random.below(3) == 0 { self.random.pick(&TRIED[..3]) } else { self.random.pick(&TRIED) };
            let known = TRIED[..3].contains(&user);
            let of_this = if known { (failures - made).min(3) } else { 1 };
            attempts.push(self.attempt(host, from_ms + step_ms * made as i64, user, of_this));
            made += of_this;
        }
    }

    /// Many users within one aligned hour, on the hosts in turn.
    fn spraying(&mut self, slot_start_ms: i64, end_ms: i64) -> Option<Vec<Attempt>> {
        let users = self.random.between(SPRAY_USERS_MIN, SPRAY_USERS_MAX) as i64;
        let needed_ms = 60_000 + users * SPRAY_STEP_MS;
        let hour_end_ms = (slot_start_ms / HOUR_MS + 1) * HOUR_MS;
        let start_ms = if slot_start_ms + needed_ms <= hour_end_ms { slot_start_ms } else { hour_end_ms };
        if start_ms + needed_ms > end_ms || self.lines_max() < 2 * 2 * LINES_PER_FAILURE {
            return None;
        }
        let first = self.random.below(TRIED.len() as u64) as usize;
        let attempts = (0..users as usize).map(|n| {
            let user = if n == 2 { FORGED } else { TRIED[(first + n) % TRIED.len()] };
            let host = (n as u64 % u64::from(self.config.partitions)) as u32;
            let at_ms = start_ms + 30_000 + SPRAY_STEP_MS * n as i64;
            let failures = self.random.between(1, 2);
            self.attempt(host, at_ms, user, failures)
        });
        Some(attempts.collect::<Vec<_>>())
    }
}
