//! Driving one reader of ours by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Instant;

use tidewatch::checkpoint::bindings::KnownPartition;
use tidewatch::connectors::kafka::KafkaSource;
use tidewatch::connectors::source::{Collector, Partition, Polled, SourceConnector, SourceContext, SourceReader};
use tidewatch::error::Error;
use tidewatch::record::Reason;

use super::broker::PATIENCE;

/// How much one poll takes, in bytes.
const BUDGET: usize = 1 << 20;

/// A reader and what it said, by partition.
pub(crate) struct Reading {
    reader: Box<dyn SourceReader>,
    pub(crate) seen: Seen,
}

/// What a reader said, by partition.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    records: BTreeMap<u32, Vec<String>>,
    pub(crate) caught_up: BTreeMap<u32, usize>,
    pub(crate) lag: BTreeMap<u32, u64>,
    pub(crate) ended: BTreeSet<u32>,
    /// How many records are gone.
    pub(crate) gone: BTreeMap<u32, u64>,
}

impl Seen {
    /// The partitions.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        self.records.keys().copied().collect()
    }

    /// The values, partition by partition, each in order.
    pub(crate) fn values(&self) -> Vec<&str> {
        self.records.values().flatten().map(String::as_str).collect()
    }

    /// How many records there were.
    pub(crate) fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }
}

impl Reading {
    /// Opens the share of one of `workers`.
    pub(crate) fn open(source: &KafkaSource, worker: usize, workers: usize) -> Reading {
        let context =
            SourceContext { name: "logins".into(), worker, workers, record_bytes_max: 1 << 20, journals: None };
        Reading { reader: source.open(&context).expect("the source opens"), seen: Seen::default() }
    }

    /// Goes on, as the only worker, where an earlier run was.
    pub(crate) fn reopen(source: &KafkaSource, known: &[KnownPartition]) -> Result<Reading, Error> {
        let context =
            SourceContext { name: "logins".into(), worker: 0, workers: 1, record_bytes_max: 1 << 20, journals: None };
        Ok(Reading { reader: source.reopen(&context, known)?, seen: Seen::default() })
    }

    /// What a later run would know of this one, which has read all partitions from their beginning.
    pub(crate) fn known(&self, ended: bool) -> Vec<KnownPartition> {
        let known = |(partition, records): (&u32, &Vec<String>)| {
            let (label, next) = (partition.to_string(), records.len() as u64);
            let identity = self.reader.identity(Partition(*partition));
            KnownPartition { partition: *partition, label, from: next, next, ended, identity }
        };
        self.seen.records.iter().map(known).collect()
    }

    /// Goes on, as the only worker, with every partition at offset `from`, as after a run that has read so far.
    pub(crate) fn resume(source: &KafkaSource, from: u64) -> Reading {
        let known = |partition: u32| {
            let label = partition.to_string();
            KnownPartition { partition, label, from, next: from, ended: false, identity: None }
        };
        Self::reopen(source, &[0, 1, 2, 3].map(known)).expect("the source opens")
    }

    /// The values that a finite source has.
    pub(crate) fn to_end(source: &KafkaSource) -> Reading {
        let mut reading = Reading::open(source, 0, 1);
        assert!(reading.until(|_| false), "the source ends");
        reading
    }

    /// Polls once, and says whether the source has finished.
    pub(crate) fn poll(&mut self) -> Result<bool, Error> {
        match self.reader.poll(BUDGET, &mut self.seen)? {
            Polled::More => {}
            Polled::Wait(wait) => thread::sleep(wait),
            Polled::Finished => return Ok(true),
        }
        Ok(false)
    }

    /// Polls until `done`, or until the source has finished, and says whether it has.
    pub(crate) fn until(&mut self, done: impl Fn(&Seen) -> bool) -> bool {
        let start = Instant::now();
        while !done(&self.seen) {
            assert!(start.elapsed() < PATIENCE, "waited too long: {:?} {:?}", self.seen.caught_up, self.seen.lag);
            if self.poll().expect("the source can be read") {
                return true;
            }
        }
        false
    }

    /// Polls until the source fails, and says how.
    pub(crate) fn failure(&mut self) -> String {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "waited too long for a failure");
            match self.poll() {
                Ok(finished) => assert!(!finished, "it finished instead of failing"),
                Err(error) => return error.to_string(),
            }
        }
    }
}

impl Collector for Seen {
    fn joined(&mut self, partition: Partition, _: &str) {
        assert!(self.records.insert(partition.0, Vec::new()).is_none(), "{partition:?} joined twice");
    }
    fn record(&mut self, partition: Partition, _: u64, bytes: &[u8]) {
        let value = String::from_utf8(bytes.to_vec()).expect("the tests write UTF-8");
        self.records.get_mut(&partition.0).expect("joined before its first record").push(value);
    }
    fn rejected(&mut self, partition: Partition, offset: u64, _: u64, _: &[u8], reason: Reason, detail: &str) {
        panic!("{partition:?} {offset}: {reason} {detail}");
    }
    fn gap(&mut self, partition: Partition, _: u64, records: u64) {
        *self.gone.entry(partition.0).or_default() += records;
    }
    fn caught_up(&mut self, partition: Partition) {
        *self.caught_up.entry(partition.0).or_default() += 1;
    }
    fn lag(&mut self, partition: Partition, lag: u64) {
        self.lag.insert(partition.0, lag);
    }
    fn ended(&mut self, partition: Partition) {
        assert!(self.ended.insert(partition.0), "{partition:?} ended twice");
    }
}
