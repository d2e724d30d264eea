//! Hands generated records to the collector: from every partition of this worker in turn, at the configured rate.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::auth_events::AuthEvents;
use super::nexmark::Nexmark;
use super::openssh::HostLog;
use super::{GeneratorConfig, Profile};
use crate::checkpoint::bindings::KnownPartition;
use crate::connectors::source::{Collector, Partition, Polled, SourceContext, SourceReader};
use crate::error::Result;
use crate::record::Reason;

/// How many bytes of a record that is too long are handed on.
const HEAD_BYTES: usize = 256;

/// Reads one worker's partitions.
pub(super) struct GeneratorReader {
    partitions: Vec<GeneratedPartition>,
    /// How many partitions all workers have together.
    all: usize,
    joined: bool,
    /// The index of the next partition.
    turn: usize,
    pace: Option<GeneratorPace>,
    line: Vec<u8>,
    record_bytes_max: usize,
    waited: Duration,
}

struct GeneratedPartition {
    partition: Partition,
    label: String,
    next: u64,
    records: Records,
}

enum Records {
    /// Each can be generated alone. `end` of them, if they end.
    Numbered { make: Rc<Make>, end: Option<u64> },
    /// Each follows from those before it.
    Openssh(Box<HostLog>),
}

/// Writes the record of a partition and number into a line.
type Make = dyn Fn(u32, u64, &mut Vec<u8>);

/// The generator of a profile whose records can be generated alone.
fn numbered(config: &GeneratorConfig) -> Option<Rc<Make>> {
    match config.profile {
        Profile::AuthEvents => {
            let events = AuthEvents::new(config);
            Some(Rc::new(move |partition, number, line| events.write(partition, number, line)))
        }
        Profile::Nexmark => {
            let events = Nexmark::new(config);
            Some(Rc::new(move |partition, number, line| events.write(partition, number, line)))
        }
        Profile::Openssh => None,
    }
}

impl GeneratedPartition {
    fn new(config: &GeneratorConfig, partition: u32, numbered: Option<&Rc<Make>>) -> Self {
        let (label, records) = match numbered {
            Some(make) => {
                let end = config.events_of(partition);
                (partition.to_string(), Records::Numbered { make: Rc::clone(make), end })
            }
            None => {
                let log = HostLog::new(config, partition);
                (log.name().to_owned(), Records::Openssh(Box::new(log)))
            }
        };
        GeneratedPartition { partition: Partition(partition), label, next: 0, records }
    }

    /// Skips the first `records` records.
    fn skip(&mut self, records: u64) {
        if let Records::Openssh(log) = &mut self.records {
            (0..records).for_each(|_| drop(log.next()));
        }
        self.next = records;
    }

    /// Writes the next record into `line` and returns its offset; `None` after the last one.
    fn next(&mut self, line: &mut Vec<u8>) -> Option<u64> {
        match &mut self.records {
            Records::Numbered { end: Some(end), .. } if self.next >= *end => return None,
            Records::Numbered { make, .. } => make(self.partition.0, self.next, line),
            Records::Openssh(log) => *line = log.next()?.bytes,
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

impl GeneratorReader {
    /// `config` is in range.
    pub fn new(config: &GeneratorConfig, context: &SourceContext) -> Self {
        let owned = (0..config.partitions).filter(|p| context.owns(Partition(*p)));
        let numbered = numbered(config);
        let partitions: Vec<GeneratedPartition> =
            owned.map(|p| GeneratedPartition::new(config, p, numbered.as_ref())).collect();
        let share = partitions.len() as f64 / f64::from(config.partitions);
        GeneratorReader {
            pace: config.rate.map(|rate| GeneratorPace { per_second: rate * share, since: None, given: 0, at_once: 0 }),
            partitions,
            all: config.partitions as usize,
            joined: false,
            turn: 0,
            line: Vec::new(),
            record_bytes_max: context.record_bytes_max,
            waited: Duration::ZERO,
        }
    }

    /// If the partition is this worker's, it resumes from its checkpoint, and what an earlier run has read since then
    /// is due at once: it was, when that run read it.
    pub fn resume(&mut self, known: &KnownPartition) {
        let own = |generated: &&mut GeneratedPartition| generated.partition.0 == known.partition;
        let Some(generated) = self.partitions.iter_mut().find(own) else { return };
        generated.skip(known.from);
        if let Some(pace) = &mut self.pace {
            pace.at_once += known.next - known.from;
        }
    }

    /// Hands over one record, or ends one partition; returns the size of the record in bytes.
    fn step(&mut self, collector: &mut dyn Collector) -> usize {
        self.turn %= self.partitions.len();
        let generated = &mut self.partitions[self.turn];
        let Some(offset) = generated.next(&mut self.line) else {
            collector.ended(generated.partition);
            self.partitions.remove(self.turn);
            return 0;
        };
        self.turn += 1;
        if let Some(pace) = &mut self.pace {
            pace.given += 1;
        }
        let size = self.line.len();
        if size > self.record_bytes_max {
            let head = &self.line[..size.min(HEAD_BYTES)];
            let detail = format!("{size} bytes, at most {} are read", self.record_bytes_max);
            collector.rejected(generated.partition, offset, size as u64, head, Reason::TooLarge, &detail);
        } else {
            collector.record(generated.partition, offset, &self.line);
        }
        size
    }
}

impl SourceReader for GeneratorReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        if !self.joined {
            self.joined = true;
            for generated in &self.partitions {
                collector.joined(generated.partition, &generated.label);
            }
        }
        let (mut due, waited) = self.pace.as_mut().map_or((u64::MAX, Duration::ZERO), GeneratorPace::due);
        self.waited = waited;
        let mut bytes = 0;
        while !self.partitions.is_empty() {
            if due == 0 {
                for generated in &self.partitions {
                    collector.caught_up(generated.partition);
                }
                return Ok(Polled::Wait(self.pace.as_ref().map_or(Duration::ZERO, GeneratorPace::until_next)));
            }
            if bytes > budget_bytes {
                return Ok(Polled::More);
            }
            due -= 1;
            bytes += self.step(collector);
        }
        Ok(Polled::Finished)
    }

    fn partitions(&self) -> Option<usize> {
        Some(self.all)
    }

    /// Since the first record was due: the pace does not wait for the reader.
    fn waited(&self) -> Duration {
        self.waited
    }
}

/// Spreads records over the wall clock, from the first poll on.
struct GeneratorPace {
    per_second: f64,
    since: Option<Instant>,
    given: u64,
    /// Records that are due whatever the time.
    at_once: u64,
}

impl GeneratorPace {
    /// How many records are due now, and for how long the first of them has been.
    fn due(&mut self) -> (u64, Duration) {
        let elapsed = self.since.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
        let due = ((elapsed * self.per_second) as u64).saturating_add(self.at_once).saturating_sub(self.given);
        (due, Duration::from_secs_f64((elapsed - self.next_due()).max(0.0)))
    }

    /// When the next record is due, in seconds from the first poll on.
    fn next_due(&self) -> f64 {
        (self.given + 1).saturating_sub(self.at_once) as f64 / self.per_second
    }

    /// How long until the next record is due.
    fn until_next(&self) -> Duration {
        let elapsed = self.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        Duration::from_secs_f64((self.next_due() - elapsed).clamp(0.000_1, 1.0))
    }
}
