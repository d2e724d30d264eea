//! Which epochs a shard of a sink has committed: a record that is written in the transaction of the rows themselves.
//!
//! The topic belongs to one sink of one state directory, and shard *s* writes to partition *s* and nobody else does. So once the
//! shard's producer has fenced its predecessor, and with that ended its transaction, nothing open is left in the partition, and its end
//! is the end of what was committed.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use rdkafka::{TopicPartitionList, config::FromClientConfig};
use serde::{Deserialize, Serialize};

use super::asking::Asking;
use super::connection::{Answer, Connection, TOPIC_GRACE, denied};
use crate::connectors::sink::Generation;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// The version of the records.
const VERSION: u32 = 1;

/// How long the cluster may take to create the topic, or to hand over its records.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long one look at the cluster takes at most.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A record of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Committed {
    version: u32,
    /// Who wrote it. It writes one as soon as it begins, so that an older one knows that its time is over.
    pub(super) generation: u64,
    /// All rows up to it are committed.
    pub(super) epoch: Option<Epoch>,
}

impl Committed {
    /// The record that says that `generation` has committed all rows up to `epoch`.
    pub(super) fn new(generation: &Generation, epoch: Option<Epoch>) -> Self {
        Committed { version: VERSION, generation: generation.number, epoch }
    }

    pub(super) fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("numbers can be written as JSON")
    }
}

/// Where a shard records its progress.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// The same for all records of the partition, so that compaction leaves the last one.
    pub(super) key: String,
}

impl Place {
    /// The topic of the sink `sink`, if it is not configured.
    pub(super) fn topic(generation: &Generation, sink: &str) -> String {
        format!("tidewatch-{}-{sink}-progress", generation.state)
    }

    /// Creates the topic with `shards` partitions, if it is not there, and waits until the brokers know it. One that is there is only
    /// looked at: not everybody who may use a topic may create one.
    ///
    /// # Errors
    /// If it cannot be seen or created, or has too few partitions.
    pub(super) fn ensure(&self, connection: &Connection, sink: &str, shards: usize) -> Result<()> {
        let failed = |why: KafkaError| self.failed(connection, "cannot look at", why);
        let here = Connection { topic: self.topic.clone(), ..connection.clone() };
        let client = Asking::client(&here, &format!("sink \"{sink}\"")).map_err(failed)?;
        let answer =
            here.answer(ErrorKind::Sink, client.0.client(), Duration::ZERO, || client.drain(), client.logs())?;
        match answer {
            Answer::Partitions(partitions) => return self.has_enough(partitions, shards),
            Answer::Unknown => self.create(&here, shards)?,
            Answer::Refused(code) => {
                return Err(failed(KafkaError::MetadataFetch(code)).hint(
                    "allow the user Describe, Read and Write on it, and Create if it is not there yet; `progress_topic` names another one",
                ));
            }
        }
        let since = Instant::now();
        loop {
            match client.asked(&here, ASK_TIMEOUT) {
                Ok(Answer::Partitions(partitions)) => return self.has_enough(partitions, shards),
                Ok(Answer::Refused(code)) if denied(code) => return Err(failed(KafkaError::MetadataFetch(code))),
                Ok(_) if since.elapsed() >= TOPIC_GRACE => return Err(here.unknown_topic(ErrorKind::Sink)),
                Err(why) if since.elapsed() >= DEADLINE => return Err(failed(why)),
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn has_enough(&self, partitions: u32, shards: usize) -> Result<()> {
        if partitions as usize >= shards {
            return Ok(());
        }
        let message = format!("topic {:?} has {partitions} partitions, and the sink has {shards} shards", self.topic);
        Err(Error::sink(message).hint("give it one partition per shard; each shard writes to its own"))
    }

    fn create(&self, here: &Connection, shards: usize) -> Result<()> {
        let prepare = format!("create a compacted topic {:?} of {shards} partitions before this runs", self.topic);
        // The client for administration never serves what asks for a token.
        if here.security.token().is_some() {
            let message = format!("{here} is not there, and a client that logs in by OAUTHBEARER cannot create it");
            return Err(Error::sink(message).hint(prepare));
        }
        let failed = |why: KafkaError| self.failed(here, "cannot create", why);
        let admin = AdminClient::<DefaultClientContext>::from_config(&here.client("tidewatch-progress", &[], &[]));
        let admin = admin.map_err(failed)?;
        let partitions = i32::try_from(shards).expect("shards have a limit");
        let topic =
            NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        let options = AdminOptions::new().operation_timeout(Some(DEADLINE)).request_timeout(Some(DEADLINE));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|why| Error::sink("cannot talk to the brokers").because(why))?;
        let created = runtime.block_on(admin.create_topics(&[topic], &options)).map_err(failed)?;
        match created.into_iter().next() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
                Err(failed(KafkaError::AdminOp(code)).hint(format!(
                    "{prepare}, or let this client create topics (brokers before Kafka 2.4 cannot choose the replicas by themselves)"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The last committed record of the partition. Only to be asked by the one producer that may write there, after its
    /// `init_transactions`.
    ///
    /// # Errors
    /// If it cannot be read before a deadline, or is not ours to understand.
    pub(super) fn read(&self, connection: &Connection) -> Result<Option<Committed>> {
        let failed = |why: KafkaError| self.failed(connection, "cannot read", why);
        let since = Instant::now();
        let fixed = [
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
            // The broker says at once that there is no more.
            ("fetch.wait.max.ms", "1"),
            ("auto.offset.reset", "earliest"),
        ];
        let client = Asking::configured(connection, "the record of progress", &fixed).map_err(failed)?;
        let consumer = &client.0;
        let (low, high) = loop {
            client.drain();
            match consumer.fetch_watermarks(&self.topic, self.partition, ASK_TIMEOUT) {
                Ok(there) => break there,
                Err(why) if since.elapsed() >= DEADLINE || why.rdkafka_error_code().is_some_and(denied) => {
                    return Err(failed(why));
                }
                Err(_) => {}
            }
        };
        if low == high {
            return Ok(None);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, self.partition, Offset::Offset(low)).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let mut last = None;
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    if record.key() == Some(self.key.as_bytes()) {
                        last = record.payload().map(|payload| self.understand(payload)).transpose()?;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
                // The client tries again.
                Some(Err(why)) if since.elapsed() >= DEADLINE => return Err(failed(why)),
                None if since.elapsed() >= DEADLINE => {
                    return Err(failed(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
                }
                Some(Err(_)) | None => {}
            }
        }
    }

    fn understand(&self, payload: &[u8]) -> Result<Committed> {
        let read = serde_json::from_slice::<Committed>(payload).map_err(|why| why.to_string());
        let read = read
            .and_then(|read| if read.version == VERSION { Ok(read) } else { Err(format!("version {}", read.version)) });
        read.map_err(|why| {
            let message =
                format!("partition {} of topic {:?} has a record that is none of ours", self.partition, self.topic);
            Error::sink(message).because(why).hint("the topic must belong to this sink and this version of the program")
        })
    }

    fn failed(&self, connection: &Connection, what: &str, why: KafkaError) -> Error {
        Error::sink(format!("{what} topic {:?} at {:?}", self.topic, connection.brokers)).because(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_other_versions_and_of_others_are_refused() {
        let place = Place { topic: "p".into(), partition: 3, key: "k".into() };
        let generation = Generation { state: "s".into(), number: 7 };
        let record = Committed::new(&generation, Some(100));
        assert_eq!(place.understand(&record.to_json()).unwrap(), record);
        let other = place.understand(br#"{"version":2,"generation":1,"epoch":1}"#).unwrap_err().to_string();
        assert!(other.contains("version 2") && other.contains("partition 3"), "{other}");
        assert!(place.understand(b"hello").is_err());
    }
}
