//! A source that generates its records: for demonstrations, tests and measurements without an external system.
//!
//! The content is a function of the seed, the partition and the record's number in it, so a replay sees the same
//! records on any number of workers. The wall clock paces records where a rate is set, and never decides what is in
//! them. Samples of the Zipf distribution use the platform's floating-point power, so two platforms may differ in rare
//! records.

mod auth_events;
mod nexmark;
pub mod openssh;
mod random;
mod reader;
mod settings;

use std::time::Duration;

use self::reader::GeneratorReader;
use crate::checkpoint::bindings::KnownPartition;
use crate::connectors::source::{SourceConnector, SourceContext, SourceReader};
use crate::error::Result;
use crate::settings::Section;
use crate::time::EventTime;

/// The most partitions that are generated.
pub const PARTITIONS_MAX: u32 = 1024;
/// The most distinct source addresses: those of 10.0.0.0/8.
pub const KEYS_MAX: u64 = 1 << 24;
/// The largest exponent of the addresses' distribution; from about 10 on there is in effect one address.
pub const SKEW_MAX: f64 = 20.0;
/// The largest disorder: delayed lines wait in memory.
pub const DISORDER_MAX: Duration = Duration::from_secs(600);
/// The lowest rate, of the wall clock or of event time, in events per second.
pub const RATE_MIN: f64 = 0.001;
/// The highest rate, of the wall clock or of event time, in events per second.
pub const RATE_MAX: f64 = 1e9;
/// The highest rate of event time for [`Profile::Openssh`], whose delayed lines wait in memory, in lines per second.
pub const OPENSSH_RATE_MAX: f64 = 20_000.0;
/// The latest time of the first event: 9000-01-01T00:00:00Z.
pub const START_MAX: EventTime = EventTime::from_millis(221_845_392_000_000);
/// The default time of the first event: 2026-01-01T00:00:00Z.
pub const START_DEFAULT: EventTime = EventTime::from_millis(1_767_225_600_000);

/// The kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// JSON lines of logins and file accesses, with `ts`, `host`, `src_ip`, `user`, `action`, `outcome`, `bytes`,
    /// `message`.
    AuthEvents,
    /// Syslog lines of OpenSSH servers, one host per partition, with planted attacks: see [`openssh`].
    Openssh,
    /// JSON lines of the people, auctions and bids of NEXMark.
    Nexmark,
}

impl Profile {
    /// The highest rate of event time, in events per second.
    fn rate_max(self) -> f64 {
        match self {
            Profile::AuthEvents | Profile::Nexmark => RATE_MAX,
            Profile::Openssh => OPENSSH_RATE_MAX,
        }
    }
}

/// What to generate. Values out of range are clamped.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorConfig {
    /// The kind of records.
    pub profile: Profile,
    /// How many records over all partitions; `None` for no end.
    pub events: Option<u64>,
    /// Records per second of the wall clock over all partitions; `None` for as fast as they are read.
    pub rate: Option<f64>,
    /// How many partitions, from 1 to [`PARTITIONS_MAX`].
    pub partitions: u32,
    /// Seeds all random choices.
    pub seed: u64,
    /// The exponent of the Zipf distribution of source addresses; 0 for a uniform one.
    pub skew: f64,
    /// How many distinct source addresses, from 1 to [`KEYS_MAX`].
    pub keys: u64,
    /// A record is at most this far behind the newest record before it in its partition.
    pub disorder: Duration,
    /// The share of records that are malformed, from 0 to 1.
    pub malformed: f64,
    /// The event time at which the records begin.
    pub start: EventTime,
    /// Records per second of event time over all partitions.
    pub events_per_second: f64,
}

impl GeneratorConfig {
    /// The defaults of `profile`: one endless partition, seed 42, skew 1.1, 5 s of disorder, 0.1 % malformed;
    /// 5 000 events per second of 100 000 addresses, or 3 lines per second of 2 000 addresses for OpenSSH; for NEXMark
    /// 10 000 events per second, no disorder, none malformed, and no addresses.
    pub fn of(profile: Profile) -> Self {
        let (keys, events_per_second) = match profile {
            Profile::AuthEvents => (100_000, 5_000.0),
            Profile::Openssh => (2_000, 3.0),
            Profile::Nexmark => (1, 10_000.0),
        };
        let (disorder, malformed) = match profile {
            Profile::Nexmark => (Duration::ZERO, 0.0),
            _ => (Duration::from_secs(5), 0.001),
        };
        GeneratorConfig {
            profile,
            events: None,
            rate: None,
            partitions: 1,
            seed: 42,
            skew: 1.1,
            keys,
            disorder,
            malformed,
            start: START_DEFAULT,
            events_per_second,
        }
    }

    /// A copy with every value in its range; NaN counts as the lowest one.
    fn clamped(&self) -> Self {
        let clamp = |value: f64, min: f64, max: f64| if value.is_nan() { min } else { value.clamp(min, max) };
        GeneratorConfig {
            rate: self.rate.map(|rate| clamp(rate, RATE_MIN, RATE_MAX)),
            partitions: self.partitions.clamp(1, PARTITIONS_MAX),
            skew: clamp(self.skew, 0.0, SKEW_MAX),
            keys: self.keys.clamp(1, KEYS_MAX),
            disorder: self.disorder.min(DISORDER_MAX),
            malformed: clamp(self.malformed, 0.0, 1.0),
            start: self.start.clamp(EventTime::from_millis(0), START_MAX),
            events_per_second: clamp(self.events_per_second, RATE_MIN, self.profile.rate_max()),
            ..self.clone()
        }
    }

    /// How many records `partition` has; `None` for no end. Those left over by the division go to the first partitions.
    fn events_of(&self, partition: u32) -> Option<u64> {
        let (events, partitions) = (self.events?, u64::from(self.partitions));
        Some(events / partitions + u64::from(u64::from(partition) < events % partitions))
    }

    /// The event time of the `nth` record over all partitions, before any disorder.
    fn time_of(&self, nth: u128) -> i64 {
        // In thousandths of an event per second: exact, where sums of fractions are not.
        let rate = ((self.events_per_second * 1000.0).round() as u64).max(1);
        let offset_ms = match u64::try_from(nth).ok().and_then(|nth| nth.checked_mul(1_000_000)) {
            Some(thousandths) => u128::from(thousandths / rate),
            None => nth.saturating_mul(1_000_000) / u128::from(rate),
        };
        self.start.millis().saturating_add(i64::try_from(offset_ms).unwrap_or(i64::MAX))
    }
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        GeneratorConfig::of(Profile::AuthEvents)
    }
}

/// A source connector that generates its records.
#[derive(Clone, Debug)]
pub struct Generator {
    config: GeneratorConfig,
}

impl Generator {
    /// A source of what `config` describes.
    pub fn new(config: &GeneratorConfig) -> Self {
        Generator { config: config.clamped() }
    }

    /// Reads a source's section: `profile`, `events`, `rate`, `partitions`, `seed`, `skew`, `keys`, `disorder`,
    /// `malformed`, `start` and `events_per_second`, all optional. Faults go to the section.
    pub fn from_section(section: &mut Section<'_>) -> Generator {
        Generator::new(&settings::read(section))
    }

    /// What it generates.
    pub fn config(&self) -> &GeneratorConfig {
        &self.config
    }
}

impl SourceConnector for Generator {
    fn is_trusted(&self) -> bool {
        true
    }

    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(GeneratorReader::new(&self.config, context)))
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn reopen(&self, context: &SourceContext, known: &[KnownPartition]) -> Result<Box<dyn SourceReader>> {
        let mut reader = GeneratorReader::new(&self.config, context);
        known.iter().for_each(|known| reader.resume(known));
        Ok(Box::new(reader))
    }
}

#[cfg(test)]
mod tests;
