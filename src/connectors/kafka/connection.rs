//! What source and sink share: where the cluster is, the client's configuration, and finding the topic at start.
//!
//! The functions that ask the cluster wait, with a deadline; they are for opening and for threads of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{Error, ErrorKind, Result};

/// How long opening waits for any broker to answer.
pub(super) const REACH_DEADLINE: Duration = Duration::from_secs(15);

/// How long opening goes on asking for a topic that the brokers say they do not have: a new topic takes a moment to be
/// known to all of them.
pub(super) const TOPIC_GRACE: Duration = Duration::from_secs(5);

/// The longest single question while opening: the client's log is read in between.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait before asking about a topic again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The longest wait before a lost broker is tried again. librdkafka's 10 s would keep a pipeline down for as long after
/// the broker is back.
const RECONNECT_MAX_MS: &str = "2000";

/// Properties of librdkafka, as configured. Their values may be secrets: `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A topic of a cluster, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Brokers to ask for the others: `host:port`, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Properties of librdkafka that are set over the defaults.
    pub properties: Properties,
}

impl Connection {
    /// `topic` of the cluster that has `brokers`, without further properties.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Connection { brokers: brokers.into(), topic: topic.into(), properties: Properties::default() }
    }

    /// The client's configuration: what both sides need, then `defaults`, then the user's properties, then `fixed`.
    pub(super) fn client(&self, client_id: &str, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", client_id)
            .set("reconnect.backoff.max.ms", RECONNECT_MAX_MS)
            // A broker that vanished without closing is noticed by the operating system.
            .set("socket.keepalive.enable", "true");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties.0 {
            config.set(name, value);
        }
        for (name, value) in fixed {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.brokers);
        // Opening a topic that is not there is an error; it does not bring the topic into being.
        config.set("allow.auto.create.topics", "false");
        let debug = self.properties.0.contains_key("debug");
        config.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Warning });
        config
    }

    /// How many partitions the topic has; waits for the cluster until a deadline. `drain` serves the client's log events,
    /// and `last_error` is the client's latest complaint.
    ///
    /// # Errors
    /// If no broker can be reached, or the topic is not there or may not be used.
    pub(super) fn partitions<C: ClientContext>(
        &self,
        kind: ErrorKind,
        client: &Client<C>,
        drain: impl Fn(),
        last_error: impl Fn() -> Option<String>,
    ) -> Result<u32> {
        let start = Instant::now();
        loop {
            let asked = ask(client, &self.topic, ASK_TIMEOUT);
            drain();
            let elapsed = start.elapsed();
            match asked {
                Ok(Answer::Partitions(n)) => return Ok(n),
                Ok(Answer::Unknown) if elapsed >= TOPIC_GRACE => return Err(self.unknown_topic(kind)),
                Ok(Answer::Refused(code)) if denied(code) || elapsed >= REACH_DEADLINE => {
                    return Err(Error::new(kind, format!("cannot use {self}")).because(KafkaError::MetadataFetch(code)));
                }
                Err(error) if elapsed >= REACH_DEADLINE => return Err(self.unreachable(kind, error, last_error())),
                Ok(_) | Err(_) => std::thread::sleep(ASK_AGAIN),
            }
        }
    }

    /// The error of a topic that the cluster does not have.
    pub(super) fn unknown_topic(&self, kind: ErrorKind) -> Error {
        Error::new(kind, format!("there is no {self}"))
            .hint("create the topic first, or correct `topic`; it is never created for you")
    }

    /// The error of a cluster of which no broker answers.
    pub(super) fn unreachable(&self, kind: ErrorKind, error: KafkaError, last_error: Option<String>) -> Error {
        let failed = Error::new(kind, format!("cannot reach any broker of \"{}\"", self.brokers));
        let failed = match last_error {
            Some(said) => failed.because(said),
            None => failed.because(error),
        };
        failed.hint("check `brokers`, and that the addresses the brokers advertise can be reached from here")
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic \"{}\" at \"{}\"", self.topic, self.brokers)
    }
}

/// What a cluster says of a topic.
pub(super) enum Answer {
    /// It is there, with so many partitions.
    Partitions(u32),
    /// It is not there.
    Unknown,
    /// It cannot be used, at least not now.
    Refused(RDKafkaErrorCode),
}

/// Asks the cluster for `topic`; waits for `timeout` at most.
pub(super) fn ask<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<Answer, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), timeout)?;
    let Some(found) = metadata.topics().first() else { return Ok(Answer::Unknown) };
    Ok(match found.error().map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Answer::Unknown,
        Some(code) => Answer::Refused(code),
        None if found.partitions().is_empty() => Answer::Unknown,
        // Kafka numbers partitions from 0 without gaps.
        None => Answer::Partitions(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX)),
    })
}

/// Whether asking again cannot help.
pub(super) fn denied(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::InvalidTopic
    )
}

/// The error of a configuration that librdkafka refuses. It names the property but never its value, which may be a secret.
pub(super) fn refused(kind: ErrorKind, connection: &Connection, error: KafkaError) -> Error {
    let what = format!("librdkafka refuses the configuration for {connection}");
    match error {
        KafkaError::ClientConfig(_, _, property, _) => {
            Error::new(kind, what).because(format!("property \"{property}\""))
        }
        other => Error::new(kind, what).because(other),
    }
}
