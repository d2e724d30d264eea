//! Which topic it is that has the name: Kafka gives every topic an id of its own when it is created, so one that was deleted and
//! created again is known from the one before it, whatever is in it.
//!
//! librdkafka knows the id and has no function that tells it to us, but its log of metadata does, whenever it learns an id or
//! another one. The line is written before anything is fetched by the new id, and comes through the same queue as the records: so
//! of brokers whose fetches go by id (Kafka 3.1 and newer) no record of the new topic ever arrives before it. Brokers before
//! Kafka 2.8 have no ids. A test against a broker holds us to it: the line may read otherwise in another version of librdkafka.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// The part of librdkafka's log that has the line.
const FACILITY: &str = "METADATA";

/// How an id of nothing is written.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// What is known of the topic of one client.
#[derive(Debug, Default)]
pub(super) struct TopicId {
    known: Mutex<Known>,
    /// Whether another one has come in its place: asked for every record.
    replaced: AtomicBool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// The first that was heard of.
    id: Option<String>,
    /// Another one, which has come in its place.
    other: Option<String>,
}

impl TopicId {
    /// Has the client of `config` write the lines that [`hear`](Self::hear) wants.
    pub(super) fn watch(config: &mut ClientConfig) {
        let debug = match config.get("debug") {
            Some(asked) => format!("{asked},metadata"),
            None => "metadata".to_owned(),
        };
        config.set("debug", debug).set_log_level(RDKafkaLogLevel::Debug);
    }

    /// A line of the client's log; `topic` is the one that matters.
    pub(super) fn hear(&self, facility: &str, line: &str, topic: &str) {
        if facility != FACILITY {
            return;
        }
        let Some(now) = changed(line, topic) else { return };
        let mut known = self.known();
        match &known.id {
            None => known.id = Some(now.to_owned()),
            Some(id) if id != now => {
                known.other = Some(now.to_owned());
                self.replaced.store(true, Ordering::Relaxed);
            }
            Some(_) => {}
        }
    }

    /// The id of the topic that is read; `None` if the brokers have none, or said nothing yet.
    pub(super) fn id(&self) -> Option<String> {
        self.known().id.clone()
    }

    /// Whether another topic has come in its place.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// The id of the topic that has come in its place, if one has.
    pub(super) fn replaced_by(&self) -> Option<String> {
        self.known().other.clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id that `topic` has now, if `line` says that it changed: `[thrd:…]: Topic NAME changed id from OLD to NEW`.
fn changed<'a>(line: &'a str, topic: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once("Topic ")?;
    let (_, now) = rest.strip_prefix(topic)?.strip_prefix(" changed id from ")?.split_once(" to ")?;
    (now != NO_ID && !now.contains(' ')).then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_is_the_topic_and_another_one_replaces_it() {
        let id = TopicId::default();
        let hear = |line: &str| id.hear("METADATA", line, "logins");
        let line = |from: &str, to: &str| format!("[thrd:main]: Topic logins changed id from {from} to {to}");
        for other in [
            "[thrd:main]: Topic logins [0] Leader 1 Epoch 0",
            "[thrd:main]: Topic logins2 changed id from x to y",
            "[thrd:main]: Topic my.logins changed id from x to y",
            "Topic logins",
            "",
            &line("x", NO_ID),
        ] {
            hear(other);
        }
        id.hear("TOPIC", &line(NO_ID, "y"), "logins");
        assert_eq!(id.id(), None);
        hear(&line(NO_ID, "first_-9"));
        // The client may forget a topic, and hear of it again.
        hear(&line(NO_ID, "first_-9"));
        assert_eq!((id.id().as_deref(), id.replaced_by()), (Some("first_-9"), None));
        assert!(!id.is_replaced());
        hear(&line("first_-9", "second"));
        assert!(id.is_replaced());
        assert_eq!((id.id().as_deref(), id.replaced_by().as_deref()), (Some("first_-9"), Some("second")));
    }

    #[test]
    fn what_the_user_wants_to_see_is_kept() {
        let mut config = ClientConfig::new();
        TopicId::watch(&mut config);
        assert_eq!(config.get("debug"), Some("metadata"));
        config.set("debug", "broker");
        TopicId::watch(&mut config);
        assert_eq!(config.get("debug"), Some("broker,metadata"));
    }
}
