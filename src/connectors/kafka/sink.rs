//! The Kafka sink: what is configured, and opening one worker's producer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::connection::{Connection, refused};
use super::exact::ExactWriter;
use super::ledger::{Failure, Ledger};
use super::logs::Logs;
use super::progress::Place;
use super::token::{self, TokenFile};
use super::transactions::{Transacting, Transactions};
use super::writer::Writer;
use crate::connectors::sink::{Delivery, Generation, SinkConnector, SinkContext, SinkWriter};
use crate::error::{ErrorKind, Result};

/// The default of [`KafkaSink::linger`].
pub(super) const LINGER_DEFAULT: Duration = Duration::from_millis(5);

/// The default of [`KafkaSink::commit_interval`].
pub(super) const COMMIT_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);

/// Defaults that `properties` may override.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    // A broker that is down for less than this is ridden out: rows wait in the queue, and then the dataflow waits.
    // librdkafka gives up after 5 minutes; to stop a dataflow costs its state, so more patience is cheaper.
    ("message.timeout.ms", "900000"),
    // The two bounds on rows that are not acknowledged yet, per worker: their number, and their size in KiB.
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    // The partition that Java's clients choose for the same key.
    ("partitioner", "murmur2_random"),
];

/// As much, for producers of transactions.
pub(super) const DEFAULTS_IN_TRANSACTIONS: &[(&str, &str)] = &[
    // A row that is not acknowledged by then ends the transaction, and both are tried again; must not be longer than the next one.
    ("message.timeout.ms", "30000"),
    // How long brokers let a transaction be open whose producer has died: for so long it holds back those who read committed rows,
    // unless the next run ends it before.
    ("transaction.timeout.ms", "60000"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("partitioner", "murmur2_random"),
];

/// What the sink's promises rest on; `properties` may not set these.
pub(super) const FIXED: &[(&str, &str)] = &[
    // No repeats and no reordering from the producer's own retries; implies that all in-sync replicas acknowledge.
    ("enable.idempotence", "true"),
    ("acks", "all"),
];

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: small and slow.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4: fast.
    #[default]
    Lz4,
    /// Zstandard: as small as gzip, and faster.
    Zstd,
}

impl Compression {
    /// Every choice by its name, as it is configured.
    pub const NAMES: &[(&str, Compression)] = &[
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];

    fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// A topic as a sink; a row is a record's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSink {
    /// The topic, its cluster, and the client's properties.
    pub connection: Connection,
    /// How batches are compressed. Default: LZ4.
    pub compression: Compression,
    /// How long a row waits for others of its batch. Default: 5 ms.
    pub linger: Duration,
    /// What is promised in a run with a state directory: exactly-once, in transactions (the default), or at-least-once.
    pub delivery: Delivery,
    /// The least time between two transactions of a shard. Default: 100 ms.
    pub commit_interval: Duration,
    /// Where transactions record how far they are; a topic for this sink alone, with a partition per shard. Default: one that is
    /// created for the state directory.
    pub progress_topic: Option<String>,
}

impl KafkaSink {
    /// The topic, with the default batching.
    pub fn new(connection: Connection) -> Self {
        KafkaSink {
            connection,
            compression: Compression::default(),
            linger: LINGER_DEFAULT,
            delivery: Delivery::ExactlyOnce,
            commit_interval: COMMIT_INTERVAL_DEFAULT,
            progress_topic: None,
        }
    }

    /// Opens one worker's producer as its own type.
    pub(super) fn writer(&self, context: &SinkContext) -> Result<Writer> {
        let connection = &self.connection;
        let producing = Producing {
            logs: Logs::new(format!("sink \"{}\"", context.name), connection.is_verbose()),
            ledger: Mutex::default(),
            token: connection.security.token(),
        };
        let producer: BaseProducer<Producing> = self
            .client(context, DEFAULTS, &[])
            .create_with_context(producing)
            .map_err(|error| refused(ErrorKind::Sink, connection, error))?;
        let logs = &producer.context().logs;
        if context.shard == 0 {
            connection.warn_if_exposed(logs.owner());
        }
        connection.partitions(ErrorKind::Sink, producer.client(), || producer.poll(Duration::ZERO), logs)?;
        Ok(Writer::new(connection.clone(), producer))
    }
}

impl KafkaSink {
    fn client(&self, context: &SinkContext, defaults: &[(&str, &str)], own: &[(&str, &str)]) -> ClientConfig {
        let client_id = format!("tidewatch-{}-{}", context.name, context.shard);
        let linger = self.linger.as_millis().to_string();
        let both = [("compression.codec", self.compression.as_str()), ("linger.ms", linger.as_str())];
        self.connection.client(&client_id, defaults, &[FIXED, &both, own].concat())
    }

    /// Opens the shard of `context` for `generation`.
    fn exact_writer(&self, context: &SinkContext, generation: &Generation) -> Result<ExactWriter> {
        let SinkContext { name, shard, shards, .. } = context;
        // For its errors: no broker, or no such topic.
        drop(self.writer(context)?);
        let topic = self.progress_topic.clone().unwrap_or_else(|| Place::topic(generation, name));
        let partition = i32::try_from(*shard).expect("shards have a limit");
        let place = Place { topic, partition, key: format!("{}/{name}/{shard}", generation.state) };
        place.ensure(&self.connection, name, *shards)?;
        let transactional_id = format!("tidewatch-{}-{name}-{shard}", generation.state);
        let config = self.client(context, DEFAULTS_IN_TRANSACTIONS, &[("transactional.id", &transactional_id)]);
        let (sink, verbose, token) = (name.clone(), self.connection.is_verbose(), self.connection.security.token());
        let make = Box::new(move || config.create_with_context(Transacting::new(&sink, verbose, token.clone())));
        let transactions = Transactions::open(self.connection.clone(), generation.clone(), place, make)?;
        ExactWriter::new(name, transactions, self.commit_interval)
    }
}

impl SinkConnector for KafkaSink {
    /// Waits for the cluster: up to 15 s for a broker, 5 s for the topic to appear.
    fn open(&self, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        match &context.generation {
            Some(generation) if self.delivery == Delivery::ExactlyOnce => {
                Ok(Box::new(self.exact_writer(context, generation)?))
            }
            _ => Ok(Box::new(self.writer(context)?)),
        }
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }
}

/// What the client calls back, on the worker's thread while it polls.
pub(super) struct Producing {
    pub(super) logs: Logs,
    ledger: Mutex<Ledger>,
    token: Option<TokenFile>,
}

impl Producing {
    /// The account of what is delivered. The lock is never contended: only the worker's thread takes it.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Producing {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::answer(self.token.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logs.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logs.error(&error, reason);
    }
}

impl ProducerContext for Producing {
    /// The number of the row's group in the ledger.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, group: usize) {
        self.logs.event();
        match result {
            Ok(_) => self.ledger().settled(group),
            Err((error, message)) => {
                let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
                self.ledger().failed(Failure { partition: message.partition(), reason });
            }
        }
    }
}
