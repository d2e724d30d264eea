//! The Kafka sink: what is configured, and opening one worker's producer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::connection::{Connection, refused};
use super::ledger::{Failure, Ledger};
use super::logs::Logs;
use super::writer::Writer;
use crate::connectors::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use crate::error::{ErrorKind, Result};

/// The default of [`KafkaSink::linger`].
pub(super) const LINGER_DEFAULT: Duration = Duration::from_millis(5);

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
}

impl Compression {
    /// Every choice by its name, as it is configured.
    pub const NAMES: &[(&str, Compression)] = &[
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
    ];

    fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
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
}

impl KafkaSink {
    /// The topic, with the default batching.
    pub fn new(connection: Connection) -> Self {
        KafkaSink { connection, compression: Compression::default(), linger: LINGER_DEFAULT }
    }

    /// Opens one worker's producer as its own type.
    pub(super) fn writer(&self, context: &SinkContext) -> Result<Writer> {
        let connection = &self.connection;
        let producing =
            Producing { logs: Logs::new(format!("sink \"{}\"", context.name)), ledger: Mutex::new(Ledger::default()) };
        let client_id = format!("tidewatch-{}-{}", context.name, context.shard);
        let linger = self.linger.as_millis().to_string();
        let own = [("compression.codec", self.compression.as_str()), ("linger.ms", linger.as_str())];
        let producer: BaseProducer<Producing> = connection
            .client(&client_id, DEFAULTS, &[FIXED, &own].concat())
            .create_with_context(producing)
            .map_err(|error| refused(ErrorKind::Sink, connection, error))?;
        connection.partitions(
            ErrorKind::Sink,
            producer.client(),
            || producer.poll(Duration::ZERO),
            || producer.context().logs.last_error(),
        )?;
        Ok(Writer::new(connection.clone(), producer))
    }
}

impl SinkConnector for KafkaSink {
    /// Waits for the cluster: up to 15 s for a broker, 5 s for the topic to appear.
    fn open(&self, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(self.writer(context)?))
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

/// What the client calls back, on the worker's thread while it polls.
pub(super) struct Producing {
    pub(super) logs: Logs,
    ledger: Mutex<Ledger>,
}

impl Producing {
    /// The account of what is delivered. The lock is never contended: only the worker's thread takes it.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Producing {
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
