//! One host's log, generated block by block.
//!
//! Lines arrive in the order of their times plus a delay that is at most the configured disorder, so that is how far
//! one can be behind an earlier one. A line is emitted once no later block can have one that arrives before it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::Ipv4Addr;

use crate::record::Text;
use rand_distr::{Distribution, Zipf};

use super::super::GeneratorConfig;
use super::super::random::{Random, RandomPurpose, private_address};
use super::lines::{LineHead, Style};
use super::plan::{Attempt, TRIED, attacks_of, cycle_start_ms, end_ms};
use super::sessions::{PlannedLine, SshClient, SshSession};
use super::{LogLine, ORDINARY_FAILURES_MAX, ORDINARY_GAP, host_name};
use crate::time::{EventTime, millis};

/// How many lines are generated at once.
const BLOCK_LINES: u64 = 2048;
/// The longest stay of an ordinary login, in milliseconds; it is also at most a block long.
const STAY_MAX_MS: i64 = 20 * 60_000;
/// The share of lines that arrive late.
const DELAYED: f64 = 0.05;
/// Strangers come from 198.18.0.0/15, which has this many addresses.
const STRANGERS: u64 = 1 << 17;

const PEOPLE: [&str; 20] = [
    "alice", "amir", "bruno", "chen", "dana", "elif", "farid", "grace", "hanna", "ivan", "jonas", "kofi", "lea",
    "mara", "nils", "olga", "priya", "rosa", "sven", "yuki",
];
const SERVICES: [&str; 4] = ["deploy", "ansible", "jenkins", "borg"];

/// The lines of one host, in the order of their arrival.
pub(in super::super) struct HostLog {
    config: GeneratorConfig,
    host: u32,
    name: Text,
    ranks: Zipf<f64>,
    limit: u64,
    end_ms: i64,
    block: u64,
    made: u64,
    given: u64,
    /// Attempts of attacks on this host that are not in a block yet, by time.
    attempts: VecDeque<Attempt>,
    next_cycle: Option<u64>,
    /// When an ordinary address last failed.
    failed_ms: BTreeMap<Ipv4Addr, i64>,
    /// Lines that are generated but not emitted, by arrival.
    waiting: BinaryHeap<Reverse<WaitingLine>>,
}

/// Ordered by arrival, then by the number of the line.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct WaitingLine {
    arrives_ms: i64,
    number: u64,
    at_ms: i64,
    malformed: bool,
    bytes: Vec<u8>,
}

impl HostLog {
    /// The log of `host`; `config` is in range.
    pub fn new(config: &GeneratorConfig, host: u32) -> Self {
        HostLog {
            host,
            name: host_name(host),
            ranks: Zipf::new(config.keys as f64, config.skew).expect("at least one key, and a skew that is a number"),
            limit: config.events_of(host).unwrap_or(u64::MAX),
            end_ms: end_ms(config).unwrap_or(i64::MAX),
            block: 0,
            made: 0,
            given: 0,
            attempts: VecDeque::new(),
            next_cycle: Some(0),
            failed_ms: BTreeMap::new(),
            waiting: BinaryHeap::new(),
            config: config.clone(),
        }
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next line.
    pub fn next(&mut self) -> Option<LogLine> {
        self.next_arrival().map(|(_, line)| line)
    }

    /// The next line, and when it arrives, in milliseconds of event time.
    pub fn next_arrival(&mut self) -> Option<(i64, LogLine)> {
        if self.given >= self.limit {
            return None;
        }
        while self.made < self.limit
            && self.waiting.peek().is_none_or(|Reverse(line)| line.arrives_ms >= self.block_start_ms(self.block))
        {
            self.make_block();
        }
        let Reverse(line) = self.waiting.pop()?;
        self.given += 1;
        let WaitingLine { arrives_ms, at_ms, malformed, bytes, .. } = line;
        let at = EventTime::from_millis(at_ms);
        Some((arrives_ms, LogLine { partition: self.host, host: self.name.clone(), at, bytes, malformed }))
    }

    /// The mean time of the first line of `block`; no line of it is earlier.
    fn block_start_ms(&self, block: u64) -> i64 {
        let nth = u128::from(block) * u128::from(BLOCK_LINES);
        self.config.time_of(nth * u128::from(self.config.partitions))
    }

    fn make_block(&mut self) {
        let (start_ms, block_end_ms) = (self.block_start_ms(self.block), self.block_start_ms(self.block + 1));
        let end_ms = block_end_ms.min(self.end_ms);
        let mut random = Random::new(self.config.seed, RandomPurpose::Block, u64::from(self.host), self.block);
        self.block += 1;
        let target = self.block.saturating_mul(BLOCK_LINES).min(self.limit);
        self.failed_ms.retain(|_, at| *at + millis(ORDINARY_GAP) > start_ms);

        self.attack(end_ms, &mut random);
        let room = target.saturating_sub(self.made);
        let malformed = (0..room).filter(|_| random.chance(self.config.malformed)).count() as u64;
        for _ in 0..malformed {
            let at_ms = start_ms + random.below((end_ms - start_ms).max(1) as u64) as i64;
            let head = self.head(at_ms, "sshd", None);
            let bytes = head.malformed(&mut random);
            self.push(at_ms, true, bytes, &mut random);
        }
        let ordinary = target.saturating_sub(self.made);
        let stay_ms = STAY_MAX_MS.min(end_ms - start_ms).max(0) as u64;
        let mut said = Vec::new();
        let mut left = ordinary;
        while left > 0 {
            // Sessions are spread evenly over the block.
            let step_ms = (u128::from(ordinary - left) * (end_ms - start_ms) as u128 / u128::from(ordinary)) as i64;
            said.clear();
            self.ordinary(start_ms + step_ms, stay_ms, &mut random, &mut said);
            said.truncate(left as usize);
            left -= said.len() as u64;
            self.write(&said, &mut random);
        }
    }

    /// Writes the attempts that begin before `end_ms`.
    fn attack(&mut self, end_ms: i64, random: &mut Random) {
        while let Some(cycle) = self.next_cycle
            && cycle_start_ms(&self.config, cycle).is_none_or(|start| start < end_ms)
        {
            let attacks = attacks_of(&self.config, cycle);
            self.next_cycle = attacks.is_some().then_some(cycle + 1);
            let attempts = attacks.into_iter().flatten().flat_map(|attack| attack.attempts);
            self.attempts.extend(attempts.filter(|attempt| attempt.host == self.host));
            self.attempts.make_contiguous().sort_by_key(|attempt| attempt.at_ms);
        }
        let mut said = Vec::new();
        while let Some(attempt) = self.attempts.pop_front_if(|attempt| attempt.at_ms < end_ms) {
            said.clear();
            let (pid, port) = (random.between(1_000, 60_999), random.between(1_024, 65_023));
            SshSession { random, said: &mut said, now_ms: attempt.at_ms, pid }.attempt(&attempt, port);
            self.write(&said, random);
        }
    }

    /// One ordinary activity at `now_ms`.
    fn ordinary(&mut self, now_ms: i64, stay_ms: u64, random: &mut Random, said: &mut Vec<PlannedLine>) {
        let (pid, port) = (random.between(1_000, 60_999), random.between(1_024, 65_023));
        let rank = (self.ranks.sample(random.raw()) as u64).clamp(1, self.config.keys) - 1;
        let hosts = u64::from(self.config.partitions);
        let kind = random.below(100);
        match kind {
            0..70 => {
                let service = rank.is_multiple_of(5);
                let user = if service { SERVICES[rank as usize / 5 % 4] } else { PEOPLE[rank as usize % 20] };
                let client = SshClient { user, ip: private_address(rank).into(), port };
                let by_key = service || rank.is_multiple_of(3);
                // An address fails on one host only, so that this host alone can keep count.
                let mistypes = !by_key && rank % hosts == u64::from(self.host) && random.below(4) == 0;
                let mistypes = mistypes && self.may_fail(private_address(rank), now_ms);
                let mistypes = if mistypes { random.between(1, ORDINARY_FAILURES_MAX) } else { 0 };
                SshSession { random, said, now_ms, pid }.login(client, by_key, mistypes, stay_ms);
            }
            70..85 => SshSession { random, said, now_ms, pid }.cron(),
            _ => {
                let number = (random.below(STRANGERS / hosts) * hosts + u64::from(self.host)) as u32;
                let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
                let user = random.pick(&TRIED[3..]);
                let fails = kind < 93 && self.may_fail(ip, now_ms);
                let mut session = SshSession { random, said, now_ms, pid };
                if fails {
                    session.stray(SshClient { user, ip: ip.into(), port });
                } else {
                    session.probe(ip.into(), port);
                }
            }
        }
    }

    /// Whether a session of `ip` may fail now; if so it counts as one that does.
    fn may_fail(&mut self, ip: Ipv4Addr, now_ms: i64) -> bool {
        if self.failed_ms.get(&ip).is_some_and(|before| now_ms < before + millis(ORDINARY_GAP)) {
            return false;
        }
        self.failed_ms.insert(ip, now_ms);
        true
    }

    fn head(&self, at_ms: i64, program: &'static str, pid: Option<u64>) -> LineHead<'_> {
        let style = if self.host.is_multiple_of(2) { Style::Rfc3164 } else { Style::Rfc3339 };
        LineHead { style, at_ms, host: &self.name, program, pid }
    }

    fn write(&mut self, said: &[PlannedLine], random: &mut Random) {
        for PlannedLine { at_ms, program, pid, message } in said {
            // Whoever is logged in at the end logs out then.
            let at_ms = (*at_ms).min(self.end_ms.saturating_sub(1));
            let bytes = self.head(at_ms, program, *pid).line(message);
            self.push(at_ms, false, bytes, random);
        }
    }

    fn push(&mut self, at_ms: i64, malformed: bool, bytes: Vec<u8>, random: &mut Random) {
        // Times of whole seconds are up to a second older than they should be.
        let delay_max_ms = millis(self.config.disorder).saturating_sub(1000).max(0) as u64;
        let delay_ms = if random.chance(DELAYED) { random.between(0, delay_max_ms) as i64 } else { 0 };
        let arrives_ms = at_ms.saturating_add(delay_ms);
        self.waiting.push(Reverse(WaitingLine { arrives_ms, number: self.made, at_ms, malformed, bytes }));
        self.made += 1;
    }
}
