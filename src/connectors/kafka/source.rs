//! The Kafka source: what is configured, and opening one worker's share of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::asking::drain;
use super::connection::{Connection, refused};
use super::discovery::Discovery;
use super::logs::Logs;
use super::reader::Reader;
use super::start::{Range, ranges};
use super::statistics::{self, Report};
use super::token::{self, TokenFile};
use super::topic_id::TopicId;
use crate::checkpoint::bindings::KnownPartition;
use crate::connectors::source::{Partition, SourceConnector, SourceContext, SourceReader};
use crate::error::{Error, ErrorKind, Result};
use crate::settings::Bytes;
use crate::time::EventTime;

/// The default of [`KafkaSource::discover_after`].
pub(super) const DISCOVER_AFTER_DEFAULT: Duration = Duration::from_secs(30);

/// How long a broker holds a fetch that finds nothing, in milliseconds. It answers as soon as there is a record, so this
/// is not a latency; it is how soon an empty partition is known to be empty.
pub(super) const FETCH_WAIT_MS: &str = "100";

/// Defaults that `properties` may override.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    // librdkafka wants the name of a group even where, as here, none is joined and no offset is committed.
    ("group.id", "tidewatch"),
    ("fetch.wait.max.ms", FETCH_WAIT_MS),
    // Per partition and fetch. With many partitions per broker the sum is bounded by fetch.max.bytes (50 MiB).
    ("fetch.message.max.bytes", "1048576"),
    // Read ahead of the fetching thread: at a million records a second this is a tenth of a second of one partition.
    ("queued.min.messages", "100000"),
    // What is read ahead by one worker, over all its partitions, in KiB: the bound on memory.
    ("queued.max.messages.kbytes", "65536"),
    // How long a full read-ahead keeps from fetching. It drains in far less than the default second, and then the worker
    // starves: with 1000 ms a million 200-byte records took three times as long.
    ("fetch.queue.backoff.ms", "20"),
    // A flipped bit is an error and not a wrong answer; the check is a hardware instruction.
    ("check.crcs", "true"),
];

/// What the reader's promises rest on; `properties` may not set these.
pub(super) const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // An offset that the broker does not have is an error, never a jump.
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
    ("statistics.interval.ms", statistics::INTERVAL_MS),
];

/// Where reading starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that the broker has.
    #[default]
    Earliest,
    /// At the first record that is written after the reader opened.
    Latest,
    /// At the first record whose Kafka time stamp is this or later.
    At(EventTime),
}

/// What becomes of a partition whose next record is gone: retention or somebody deleted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// The dataflow stops, and says which partition and offsets.
    #[default]
    Stop,
    /// It goes on with the first record that is there, says so in the log, and counts what is gone.
    Skip,
}

/// Where reading ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// Nowhere.
    #[default]
    Forever,
    /// At the end that each partition had when the reader opened.
    End,
}

/// A topic as a source; a partition of the source is a partition of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSource {
    /// The topic, its cluster, and the client's properties.
    pub connection: Connection,
    /// Where reading starts.
    pub start: Start,
    /// Where reading ends.
    pub until: Until,
    /// What if records are gone before they were read. Default: stop.
    pub on_gap: OnGap,
    /// How often to look for new partitions, which are then read from their beginning. Default: 30 s.
    pub discover_after: Duration,
}

impl KafkaSource {
    /// All records of the topic, without end.
    pub fn new(connection: Connection) -> Self {
        KafkaSource {
            connection,
            start: Start::default(),
            until: Until::default(),
            on_gap: OnGap::default(),
            discover_after: DISCOVER_AFTER_DEFAULT,
        }
    }
}

impl SourceConnector for KafkaSource {
    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        self.reopen(context, &[])
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn is_live(&self) -> bool {
        self.until == Until::Forever
    }

    fn drains(&self) -> bool {
        self.until == Until::End
    }

    /// Waits for the cluster: up to 15 s for a broker, 5 s for the topic to appear, 30 s for all offsets.
    fn reopen(&self, context: &SourceContext, before: &[KnownPartition]) -> Result<Box<dyn SourceReader>> {
        let connection = &self.connection;
        let owner = format!("source \"{}\"", context.name);
        let consuming = Consuming {
            logs: Logs::new(owner, connection.is_verbose()),
            topic: connection.topic.clone(),
            topic_id: TopicId::default(),
            token: connection.security.token(),
            // The client is a little younger, so what it dates by its age counts as a little older than it is.
            created: Instant::now(),
            report: Mutex::default(),
        };
        let client_id = format!("tidewatch-{}-{}", context.name, context.worker);
        let mut config = connection.client(&client_id, DEFAULTS, FIXED);
        TopicId::watch(&mut config);
        let consumer: BaseConsumer<Consuming> =
            config.create_with_context(consuming).map_err(|error| refused(ErrorKind::Source, connection, error))?;
        let logs = &consumer.context().logs;
        if context.worker == 0 {
            connection.warn_if_exposed(logs.owner());
        }
        // Nothing is assigned yet, so serving events cannot lose a record.
        let known = connection.partitions(ErrorKind::Source, consumer.client(), || drain(&consumer, logs), logs)?;
        let topic_id = consumer.context().topic_id.id();
        same_topic(connection, before, topic_id.as_deref(), known)?;
        let owned = (0..known).filter(|partition| context.owns(Partition(*partition)));
        // One that came while nobody looked is read from its beginning, as if it had come while somebody did.
        let start = if before.is_empty() { self.start } else { Start::Earliest };
        let mut ranges = ranges(&consumer, connection, start, owned)?;
        ranges.iter_mut().try_for_each(|range| resume(connection, range, before))?;
        let finite = self.until == Until::End;
        let assigned = ranges.iter().filter(|range| !finite || range.from < range.end);
        assign(&consumer, connection, assigned.map(|range| (range.partition, Offset::Offset(range.from))))?;
        let consumer = Arc::new(consumer);
        let discovery = Discovery::start(&consumer, &connection.topic, self.discover_after, known)?;
        if context.worker == 0 {
            let topic = connection.topic.as_str();
            let (ahead, gzip) = memory(&config, known);
            tracing::info!(
                source = context.name,
                topic,
                partitions = known,
                "each worker reads up to {ahead} ahead, and holds what a fetch decompresses to: at most {gzip} of gzip"
            );
        }
        let reader = Reader::new(
            context.clone(),
            connection.clone(),
            consumer,
            discovery,
            (finite, self.on_gap),
            known,
            &ranges,
        )?;
        Ok(Box::new(reader))
    }
}

/// How much one byte of gzip can decompress to.
const GZIP_RATIO: u64 = 1032;

/// What one worker's client of `config` holds at most, if it reads `partitions`: what it reads ahead, and what a fetch of gzip
/// decompresses to. The client bounds the first, and of the second only what is fetched.
fn memory(config: &ClientConfig, partitions: u32) -> (Bytes, Bytes) {
    let property = |name: &str, default: u64| config.get(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let ahead = property("queued.max.messages.kbytes", 0) * 1024;
    // Brokers send one whole batch in any case, which their own default bounds.
    let partition = property("fetch.message.max.bytes", 0).max(BATCH_BYTES_MAX);
    let fetch = (partition * u64::from(partitions)).min(property("fetch.max.bytes", FETCH_BYTES_MAX).max(partition));
    (Bytes(ahead), Bytes(fetch.saturating_mul(GZIP_RATIO)))
}

/// What brokers take as one batch, compressed, unless a topic's `max.message.bytes` says otherwise.
const BATCH_BYTES_MAX: u64 = 1024 * 1024;

/// What librdkafka fetches from one broker at a time, compressed.
const FETCH_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// What to do about a topic that is not the one that was read.
pub(super) const ANOTHER_TOPIC: &str = "restore the topic; or, to read the one that is there now from its beginning, use a new state \
     directory (or --from-scratch)";

/// Whether the topic, which has `id` and so many `partitions`, is the one that earlier runs read.
fn same_topic(connection: &Connection, before: &[KnownPartition], id: Option<&str>, partitions: u32) -> Result<()> {
    if let Some((was, now)) = before.iter().find_map(|known| known.identity.as_deref()).zip(id)
        && was != now
    {
        return Err(replaced(connection, "since an earlier run read it", was, now));
    }
    if id.is_none() && before.iter().any(|known| known.identity.is_some()) {
        tracing::warn!(
            "{connection}: the brokers do not say its id, so it cannot be compared with the one that earlier runs read"
        );
    }
    let read = before.iter().map(|known| known.partition + 1).max().unwrap_or(0);
    if read > partitions {
        let message = format!(
            "{connection} has {partitions} partitions, and earlier runs read {read}: it was deleted and made anew"
        );
        return Err(Error::source(message).hint(ANOTHER_TOPIC));
    }
    Ok(())
}

/// The error of a topic that another one has come in the place of.
pub(super) fn replaced(connection: &Connection, when: &str, was: &str, now: &str) -> Error {
    let message = format!("{connection} was deleted and made anew {when}: its id was {was} and is {now}");
    Error::source(message).hint(ANOTHER_TOPIC)
}

/// Sets where a partition begins that an earlier run read, and where it ends if it ended then.
fn resume(connection: &Connection, range: &mut Range, before: &[KnownPartition]) -> Result<()> {
    let Some(known) = before.iter().find(|known| known.partition == range.partition) else { return Ok(()) };
    let (from, next) = (known.from.cast_signed(), known.next.cast_signed());
    if next > range.end {
        let message = format!(
            "{}[{}] ends at offset {}, and earlier runs read up to offset {next}: {connection} has fewer records than were read, so it \
             was deleted and made anew, or lost records",
            connection.topic, range.partition, range.end
        );
        return Err(Error::source(message).hint(ANOTHER_TOPIC));
    }
    range.from = from;
    if known.ended {
        range.end = next;
    }
    Ok(())
}

/// Adds `partitions` to what `consumer` reads; the others go on undisturbed.
pub(super) fn assign(
    consumer: &BaseConsumer<Consuming>,
    connection: &Connection,
    partitions: impl Iterator<Item = (u32, Offset)>,
) -> Result<()> {
    let failed = |error| Error::source(format!("cannot assign partitions of {connection}")).because(error);
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        list.add_partition_offset(&connection.topic, partition.cast_signed(), offset).map_err(failed)?;
    }
    if list.count() == 0 {
        return Ok(());
    }
    consumer.incremental_assign(&list).map_err(failed)
}

/// What the client calls back, on the thread that polls it.
pub(super) struct Consuming {
    pub(super) logs: Logs,
    topic: String,
    pub(super) topic_id: TopicId,
    token: Option<TokenFile>,
    created: Instant,
    report: Mutex<Option<Report>>,
}

impl Consuming {
    /// The newest figures, once.
    pub(super) fn report(&self) -> Option<Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Consuming {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.topic_id.hear(facility, message, &self.topic);
        self.logs.log(level, facility, message);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.logs.event();
        token::answer(self.token.as_ref())
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logs.error(&error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        self.logs.event();
        match statistics::parse(json, &self.topic, self.created) {
            Ok(report) => *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report),
            Err(error) => {
                self.logs.warn(&format!("statistics of librdkafka cannot be read: {error}"));
            }
        }
    }
}

impl ConsumerContext for Consuming {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fetch_can_come_to_follows_from_the_properties() {
        let mut connection = Connection::new("b:1", "t");
        let says = |connection: &Connection, partitions| {
            let (ahead, gzip) = memory(&connection.client("c", DEFAULTS, FIXED), partitions);
            (ahead.0, gzip.0)
        };
        let mib = 1024 * 1024;
        assert_eq!(says(&connection, 1), (64 * mib, 1032 * mib));
        assert_eq!(says(&connection, 4), (64 * mib, 4 * 1032 * mib));
        assert_eq!(says(&connection, 4000), (64 * mib, 50 * 1032 * mib));
        for (name, value) in
            [("fetch.message.max.bytes", "100"), ("fetch.max.bytes", "2097152"), ("queued.max.messages.kbytes", "10")]
        {
            connection.properties.0.insert(name.into(), value.into());
        }
        assert_eq!(says(&connection, 4), (10 * 1024, 2 * 1032 * mib));
    }
}
