//! A broker in memory: it keeps records for ever, gets more records and partitions in random turns, and fetches from it
//! are empty, slow or fail at random.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidewatch::checkpoint::bindings::KnownPartition;
use tidewatch::connectors::source::{Collector, Partition, Polled, SourceConnector, SourceContext, SourceReader};
use tidewatch::error::{Error, Result};
use tidewatch::record::Reason;

use super::chance::Chance;
use super::input::{Input, RECORD_BYTES_MAX};

/// The wait that a reader without records asks for; no simulation sleeps that long.
const WAIT: Duration = Duration::from_millis(1);

/// Why a fetch fails for good.
pub(crate) const BROKER_SAYS: &str = "the broker says no";

/// Clones are the same broker.
#[derive(Clone)]
pub(crate) struct Broker {
    input: Arc<Input>,
    chance: Chance,
    state: Arc<Mutex<State>>,
}

struct State {
    /// How many partitions there are by now.
    partitions: usize,
    /// How many records of each partition there are by now.
    produced: Vec<usize>,
    /// How unreliable it is.
    faults: Faults,
}

/// How often fetches go wrong: once in this many times.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    /// Nothing comes, and nothing is reported.
    pub(crate) slow: u64,
    /// The error is fatal: the run ends with it. Never, if 0.
    pub(crate) fatal: u64,
}

impl Broker {
    pub(crate) fn new(input: Arc<Input>, chance: Chance) -> Self {
        let faults = Faults { slow: 3, fatal: 0 };
        let (partitions, produced) = (input.at_start, vec![0; input.partitions.len()]);
        let state = Arc::new(Mutex::new(State { partitions, produced, faults }));
        Broker { input, chance, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// One of its turns: adds a few records, or a partition. Returns whether more is to come.
    pub(crate) fn turn(&self) -> bool {
        let mut state = self.state();
        let all = self.input.partitions.len();
        let short: Vec<usize> =
            (0..state.partitions).filter(|p| state.produced[*p] < self.input.partitions[*p].records.len()).collect();
        if state.partitions < all && (short.is_empty() || self.chance.one_in(10)) {
            state.partitions += 1;
        } else if !short.is_empty() {
            let partition = short[self.chance.below(short.len() as u64) as usize];
            let more = 1 << self.chance.below(5);
            state.produced[partition] =
                (state.produced[partition] + more).min(self.input.partitions[partition].records.len());
        }
        !short.is_empty() || state.partitions < all
    }
}

impl SourceConnector for Broker {
    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        self.reopen(context, &[])
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn reopen(&self, context: &SourceContext, known: &[KnownPartition]) -> Result<Box<dyn SourceReader>> {
        let partitions = self.state().partitions;
        for known in known {
            let base = self.input.partitions[known.partition as usize].base;
            assert!((known.partition as usize) < partitions, "partition {} is not there yet", known.partition);
            assert!(known.from >= base && known.label == label(known.partition), "{known:?}");
        }
        let from = known.iter().map(|known| (known.partition, known.from)).collect();
        let told = (!self.chance.one_in(3)).then_some(partitions);
        Ok(Box::new(Reader {
            broker: self.clone(),
            context: context.clone(),
            from,
            parts: Vec::new(),
            announced: 0,
            told,
        }))
    }
}

fn label(partition: u32) -> String {
    format!("p{partition}")
}

struct Reader {
    broker: Broker,
    context: SourceContext,
    /// Where partitions begin that an earlier generation read.
    from: BTreeMap<u32, u64>,
    parts: Vec<Part>,
    /// Partitions that were looked at, owned or not.
    announced: usize,
    /// How many there were at the start, if that is reported.
    told: Option<usize>,
}

struct Part {
    partition: Partition,
    /// How many of its records were handed over.
    read: usize,
    held: bool,
    ended: bool,
}

impl Reader {
    fn announce(&mut self, partitions: usize, collector: &mut dyn Collector) {
        for number in self.announced..partitions {
            let partition = Partition(number as u32);
            if self.context.owns(partition) {
                let read = (self.begins_at(partition) - self.broker.input.partitions[number].base) as usize;
                self.parts.push(Part { partition, read, held: false, ended: false });
                collector.joined(partition, &label(partition.0));
            }
        }
        self.announced = partitions;
    }

    /// Hands over some of what is available.
    fn fetch(&mut self, index: usize, collector: &mut dyn Collector) {
        let (chance, state) = (&self.broker.chance, self.broker.state());
        let part = &mut self.parts[index];
        let PartitionOf { base, records } = PartitionOf::of(&self.broker.input, part.partition);
        let there = state.produced[part.partition.0 as usize];
        if there == part.read {
            if there == records.len() {
                // A reader that has read everything may be told so at once, or only by the next fetch.
                part.ended = chance.one_in(2);
                if part.ended {
                    collector.ended(part.partition);
                    return;
                }
            }
            collector.caught_up(part.partition);
            return;
        }
        let until = there.min(part.read + (1 << chance.below(6)));
        for (number, record) in records.iter().enumerate().take(until).skip(part.read) {
            let offset = base + number as u64;
            if record.len() > RECORD_BYTES_MAX {
                let size = record.len() as u64;
                collector.rejected(part.partition, offset, size, &record[..9], Reason::TooLarge, "too long");
            } else {
                collector.record(part.partition, offset, record);
            }
        }
        part.read = until;
    }
}

/// A partition of the input.
struct PartitionOf<'a> {
    base: u64,
    records: &'a [Vec<u8>],
}

impl<'a> PartitionOf<'a> {
    fn of(input: &'a Input, partition: Partition) -> Self {
        let of = &input.partitions[partition.0 as usize];
        PartitionOf { base: of.base, records: &of.records }
    }
}

impl SourceReader for Reader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        let State { partitions, faults, .. } = *self.broker.state();
        self.announce(partitions, collector);
        if budget_bytes == 0 {
            return Ok(Polled::More);
        }
        if faults.fatal > 0 && self.broker.chance.one_in(faults.fatal) {
            return Err(Error::source(BROKER_SAYS));
        }
        for index in 0..self.parts.len() {
            let part = &self.parts[index];
            // A fetch that fails and is retried looks like a slow one.
            if part.ended || part.held || self.broker.chance.one_in(faults.slow) {
                continue;
            }
            self.fetch(index, collector);
        }
        let over = partitions == self.broker.input.partitions.len() && self.parts.iter().all(|part| part.ended);
        Ok(match over {
            true => Polled::Finished,
            false if self.broker.chance.one_in(2) => Polled::More,
            false => Polled::Wait(WAIT),
        })
    }

    fn begins_at(&self, partition: Partition) -> u64 {
        let base = PartitionOf::of(&self.broker.input, partition).base;
        self.from.get(&partition.0).copied().unwrap_or(base)
    }

    fn hold(&mut self, partition: Partition, held: bool) {
        let part = self.parts.iter_mut().find(|part| part.partition == partition);
        part.expect("only partitions of this reader are held").held = held;
    }

    fn partitions(&self) -> Option<usize> {
        self.told
    }
}
