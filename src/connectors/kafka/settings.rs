//! Reads the source and the sink from a configuration; every fault goes to the section.

mod security;

use std::time::Duration;

use rdkafka::error::KafkaError;

use super::connection::{Connection, Properties};
use super::sink::{self, COMMIT_INTERVAL_DEFAULT, Compression, KafkaSink, LINGER_DEFAULT};
use super::source::{self, DISCOVER_AFTER_DEFAULT, KafkaSource, OnGap, Start, Until};
use crate::connectors::sink::Delivery;
use crate::settings::{Node, Secret, Section, Setting, Value};
use crate::time::EventTime;

/// Properties that a setting or the connector itself decides on, on both sides.
const OURS: &[&str] = &["bootstrap.servers", "metadata.broker.list", "allow.auto.create.topics", "log.queue"];

/// Those of the sink, under all their names.
const OURS_SINK: &[&str] = &[
    "request.required.acks",
    "compression.codec",
    "compression.type",
    "linger.ms",
    "queue.buffering.max.ms",
    "transactional.id",
];

/// Properties that are read as [`Secret`]s: a literal is refused.
const SECRETS: &[&str] = &["sasl.oauthbearer.client.secret", "ssl.key.pem", "ssl.keystore.password"];

/// The longest `linger` that librdkafka takes.
const LINGER_MAX: Duration = Duration::from_secs(900);

/// The shortest and the longest time between two transactions; brokers end one after a minute.
const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(1);
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// The shortest and the longest time between two looks for new partitions.
const DISCOVER_AFTER_MIN: Duration = Duration::from_secs(1);
const DISCOVER_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl KafkaSource {
    /// Reads `brokers`, `topic`, `security`, `tls`, `sasl`, `start`, `until`, `on_gap`, `discover_after` and `properties`; `None` if a
    /// required one is missing.
    pub fn from_section(section: &mut Section<'_>) -> Option<Self> {
        let defaults = [source::DEFAULTS, source::FIXED].concat();
        let reserved: Vec<&str> = names(source::FIXED).chain(OURS.iter().copied()).collect();
        let connection = connection(section, &reserved, &defaults);
        let start = section.or("start", Start::Earliest);
        let until = section.choice("until", &[("end", Until::End)], Until::Forever);
        let range = DISCOVER_AFTER_MIN..=DISCOVER_AFTER_MAX;
        let discover_after = section.within("discover_after", range, DISCOVER_AFTER_DEFAULT);
        let on_gap = section.choice("on_gap", &[("stop", OnGap::Stop), ("skip", OnGap::Skip)], OnGap::Stop);
        Some(KafkaSource { connection: connection?, start, until, on_gap, discover_after })
    }
}

impl KafkaSink {
    /// Reads `brokers`, `topic`, `security`, `tls`, `sasl`, `compression`, `linger`, `delivery`, `commit_interval`, `progress_topic` and
    /// `properties`; `None` if a required one is missing.
    pub fn from_section(section: &mut Section<'_>) -> Option<Self> {
        let defaults = [sink::DEFAULTS, sink::FIXED].concat();
        let reserved: Vec<&str> =
            names(sink::FIXED).chain(OURS.iter().copied()).chain(OURS_SINK.iter().copied()).collect();
        let connection = connection(section, &reserved, &defaults);
        let compression = section.choice("compression", Compression::NAMES, Compression::default());
        let linger = section.within("linger", Duration::ZERO..=LINGER_MAX, LINGER_DEFAULT);
        let deliveries = [("exactly-once", Delivery::ExactlyOnce), ("at-least-once", Delivery::AtLeastOnce)];
        let delivery = section.choice("delivery", &deliveries, Delivery::ExactlyOnce);
        let intervals = COMMIT_INTERVAL_MIN..=COMMIT_INTERVAL_MAX;
        let commit_interval = section.within("commit_interval", intervals, COMMIT_INTERVAL_DEFAULT);
        let progress_topic = section.optional("progress_topic");
        Some(KafkaSink { connection: connection?, compression, linger, delivery, commit_interval, progress_topic })
    }
}

fn names<'a>(properties: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a str> {
    properties.iter().map(|(name, _)| *name)
}

fn connection(section: &mut Section<'_>, reserved: &[&str], defaults: &[(&str, &str)]) -> Option<Connection> {
    let brokers = named(section, "brokers", "\"host:port\", several separated by commas");
    let topic = named(section, "topic", "the name of a topic");
    let security = security::security(section);
    let properties = properties(section, reserved);
    let mut connection = Connection { brokers: String::new(), topic: String::new(), security, properties };
    // librdkafka knows which properties there are and what they may be. Its text may quote a secret: only the name is shown.
    let judged = connection.client("tidewatch", defaults, &[]).create_native_config();
    if let Err(KafkaError::ClientConfig(_, _, property, _)) = judged {
        let why = "this build has no such property, or it cannot have such a value";
        section.fault("properties", format!("librdkafka refuses \"{property}\": {why}"));
    }
    (connection.brokers, connection.topic) = (brokers?, topic?);
    Some(connection)
}

/// A text that must not be empty.
fn named(section: &mut Section<'_>, key: &str, what: &str) -> Option<String> {
    let text = section.required::<String>(key)?;
    if text.trim().is_empty() {
        section.fault(key, format!("expected {what}, found \"\""));
        return None;
    }
    Some(text)
}

fn properties(section: &mut Section<'_>, reserved: &[&str]) -> Properties {
    let mut properties = Properties::default();
    if let Some(node) = section.node("properties") {
        gather(section.section("properties"), node, "", reserved, &mut properties);
    }
    properties
}

/// Reads the entries of `node`, and those of tables within it: TOML reads an unquoted `fetch.min.bytes = 1` as such.
fn gather(mut section: Section<'_>, node: &Node, prefix: &str, reserved: &[&str], properties: &mut Properties) {
    for (key, entry) in node.entries() {
        let name = format!("{prefix}{key}");
        if reserved.contains(&name.as_str()) {
            section.fault(key, "the connector sets this property; leave it out");
        } else if let Some((_, setting)) = security::SETTINGS.iter().find(|(property, _)| *property == name) {
            section.fault(key, format!("the setting `{setting}` of the connector is for this"));
        } else if SECRETS.contains(&name.as_str()) || is_reference(entry) {
            if let Some(secret) = section.optional::<Secret>(key) {
                properties.0.insert(name, secret.expose().to_owned());
            }
        } else if let Value::Table(_) = entry.value {
            gather(section.section(key), entry, &format!("{name}."), reserved, properties);
        } else if let Some(Property(value)) = section.optional(key) {
            properties.0.insert(name, value);
        }
    }
    section.finish();
}

/// Whether a table is a reference to a secret; no property of librdkafka ends in `.file` or `.env`.
fn is_reference(node: &Node) -> bool {
    let mut entries = node.entries();
    matches!((entries.next(), entries.next()), (Some(("file" | "env", _)), None))
}

/// A property's value: numbers and truth values need no quotes.
struct Property(String);

impl Setting for Property {
    const EXPECTED: &'static str =
        "a string, a number, true or false, or a secret { file = \"/path\" } or { env = \"NAME\" }";

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(value) => Ok(Property(value.clone())),
            Value::Integer(value) => Ok(Property(value.to_string())),
            Value::Bool(value) => Ok(Property(value.to_string())),
            _ => Err(String::new()),
        }
    }
}

impl Setting for Start {
    const EXPECTED: &'static str = "\"earliest\", \"latest\" or a time such as \"2026-01-31T12:00:00Z\"";

    fn read(value: &Value) -> Result<Self, String> {
        let (Value::String(text) | Value::Datetime(text)) = value else { return Err(String::new()) };
        match text.as_str() {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            time => time
                .parse::<jiff::Timestamp>()
                .map(|time| Start::At(EventTime::from_millis(time.as_millisecond())))
                .map_err(|_| String::new()),
        }
    }
}

#[cfg(test)]
mod tests;
