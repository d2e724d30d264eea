//! What source and sink share: where the cluster is, the client's configuration, and finding the topic at start.
//!
//! The functions that ask the cluster wait, with a deadline; they are for opening and for threads of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::asking::Asking;
use super::causes::{Cause, Complaint};
use super::logs::Logs;
use super::security::{Protocol, Security, Tls};
use crate::error::{Error, ErrorKind, Result};

/// How long opening waits for any broker to answer.
pub(super) const REACH_DEADLINE: Duration = Duration::from_secs(15);

/// How long opening goes on asking for a topic that the brokers say they do not have: a new topic takes a moment to be
/// known to all of them.
pub(super) const TOPIC_GRACE: Duration = Duration::from_secs(5);

/// The longest single question while opening: the client's log is read in between.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// How soon opening gives up if a broker says what only a person can mend; others of the cluster may be fine, and answer before that.
const CERTAIN_AFTER: Duration = Duration::from_secs(3);

/// What a client needs that may not even know of a topic.
pub(super) const MAY_DESCRIBE: &str = "allow the user Describe and Read (for a source), or Describe and Write (for a sink), on the topic; docs/connectors/kafka.md \
     lists what is needed";

/// How long to wait before asking about a topic again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The longest wait before a lost broker is tried again. librdkafka's 10 s would keep a pipeline down for as long after
/// the broker is back.
const RECONNECT_MAX_MS: &str = "2000";

/// How long a connection may take until it can be used, TLS and login included: less than [`REACH_DEADLINE`], so that it is known by
/// then what a broker does not do. librdkafka's own is 30 s.
const SETUP_TIMEOUT_MS: &str = "10000";

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
    /// Who is convinced of what before anything is said.
    pub security: Security,
    /// Properties of librdkafka that are set over the defaults.
    pub properties: Properties,
}

impl Connection {
    /// `topic` of the cluster that has `brokers`, without further properties.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        let (security, properties) = (Security::default(), Properties::default());
        Connection { brokers: brokers.into(), topic: topic.into(), security, properties }
    }

    /// The client's configuration: what both sides need, then `defaults`, then the user's properties, then `fixed`.
    pub(super) fn client(&self, client_id: &str, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", client_id)
            .set("reconnect.backoff.max.ms", RECONNECT_MAX_MS)
            .set("socket.connection.setup.timeout.ms", SETUP_TIMEOUT_MS)
            // A broker that vanished without closing is noticed by the operating system.
            .set("socket.keepalive.enable", "true");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        self.security.apply(&mut config);
        for (name, value) in &self.properties.0 {
            config.set(name, value);
        }
        for (name, value) in fixed {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.brokers);
        // Opening a topic that is not there is an error; it does not bring the topic into being.
        config.set("allow.auto.create.topics", "false");
        // Below that it says why a connection failed.
        config.set_log_level(if self.is_verbose() { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        config
    }

    /// Whether the user asked for what librdkafka says below the level of warnings.
    pub(super) fn is_verbose(&self) -> bool {
        self.properties.0.contains_key("debug")
    }

    /// Says in the log what others can read on the way, if they can read what they should not.
    pub(super) fn warn_if_exposed(&self, owner: &str) {
        if let Some(what) = self.security.exposes(&self.brokers) {
            tracing::warn!("{owner}: {what} on the way to \"{}\": use security = \"sasl_tls\"", self.brokers);
        }
    }

    /// How many partitions the topic has; waits for the cluster until a deadline. `drain` serves the client's events, and `logs` has
    /// its complaints.
    ///
    /// # Errors
    /// If no broker can be reached, or the topic is not there or may not be used.
    pub(super) fn partitions<C: ClientContext>(
        &self,
        kind: ErrorKind,
        client: &Client<C>,
        drain: impl Fn(),
        logs: &Logs,
    ) -> Result<u32> {
        match self.answer(kind, client, TOPIC_GRACE, drain, logs)? {
            Answer::Partitions(n) => Ok(n),
            Answer::Unknown => Err(self.unknown_topic(kind)),
            Answer::Refused(code) => {
                let failed = Error::new(kind, format!("cannot use {self}")).because(KafkaError::MetadataFetch(code));
                Err(if denied(code) { failed.hint(MAY_DESCRIBE) } else { failed })
            }
        }
    }

    /// What the cluster says of the topic; waits for the cluster until a deadline, and for a topic that is not there for `grace`.
    ///
    /// # Errors
    /// If no broker can be reached.
    pub(super) fn answer<C: ClientContext>(
        &self,
        kind: ErrorKind,
        client: &Client<C>,
        grace: Duration,
        drain: impl Fn(),
        logs: &Logs,
    ) -> Result<Answer> {
        let start = Instant::now();
        // A token that the client needs before it can say anything is asked for as soon as it is made.
        drain();
        loop {
            let asked = ask(client, &self.topic, ASK_TIMEOUT);
            drain();
            let elapsed = start.elapsed();
            match asked {
                Ok(Answer::Unknown) if elapsed < grace => {}
                Ok(Answer::Refused(code)) if !denied(code) && elapsed < REACH_DEADLINE => {}
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let hopeless = elapsed >= CERTAIN_AFTER && logs.complaints().iter().any(Complaint::is_certain);
                    if hopeless || elapsed >= REACH_DEADLINE {
                        return Err(self.unreachable(kind, &error, &logs.complaints()));
                    }
                }
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    /// The error of a topic that the cluster does not have.
    pub(super) fn unknown_topic(&self, kind: ErrorKind) -> Error {
        Error::new(kind, format!("there is no {self}"))
            .hint("create the topic first, or correct `topic`; it is never created for you")
    }

    /// The error of a cluster of which no broker answers.
    fn unreachable(&self, kind: ErrorKind, error: &KafkaError, complaints: &[Complaint]) -> Error {
        let failed = Error::new(kind, format!("cannot reach any broker of \"{}\"", self.brokers));
        // The first that is certain; else the last that was said.
        let Some(complaint) = complaints.iter().find(|c| c.is_certain()).or(complaints.last()) else {
            let silent = format!("no answer within {REACH_DEADLINE:?} ({error})");
            return failed.because(silent).hint(
                "check `brokers`, and that they, and the addresses that they advertise, can be reached from here: a firewall that \
                 drops packets looks like this",
            );
        };
        let cause = if complaint.cause == Cause::Untrusted && self.is_for_another_name() {
            Cause::AnotherName
        } else {
            complaint.cause
        };
        failed.because(format!("{}: {} ({})", complaint.broker, cause.what(), complaint.said)).hint(cause.hint())
    }

    /// Whether the broker's certificate would do if it did not have to be made out to the name that is connected to: OpenSSL says
    /// only that something is wrong with it. Asks a broker, without saying who asks, for a few seconds.
    fn is_for_another_name(&self) -> bool {
        if !self.security.tls.verify_hostname {
            return false;
        }
        let tls = Tls { verify_hostname: false, ..self.security.tls.clone() };
        let security = Security { protocol: Protocol::Tls, tls, sasl: None };
        let without = Connection { security, properties: Properties::default(), ..self.clone() };
        let Ok(client) = Asking::client(&without, "a certificate") else { return false };
        let start = Instant::now();
        while start.elapsed() < CERTAIN_AFTER {
            let answered = client.asked(&without, ASK_TIMEOUT).is_ok();
            let complaints = client.logs().complaints();
            if complaints.iter().any(|complaint| complaint.cause == Cause::Untrusted) {
                return false;
            }
            // Brokers that want a login hang up once they are asked for anything: then the handshake is over.
            if answered || complaints.iter().any(|complaint| complaint.cause == Cause::WantsLogin) {
                return true;
            }
        }
        false
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
