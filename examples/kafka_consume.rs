//! Reads a topic from its beginning to its present end with librdkafka alone, and counts: the upper bound for a Kafka
//! source. `scripts/bench-kafka` measures Tidewatch against it.
//!
//! ```sh
//! cargo run --release --example kafka_consume -- localhost:9092 auth
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that says what it counted")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long the cluster may take for an answer, or for the next record.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, properties @ ..] = arguments.as_slice() else {
        eprintln!("usage: kafka_consume BROKERS TOPIC [PROPERTY=VALUE…]");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    match consume(brokers, topic, properties) {
        Ok((records, bytes)) => {
            println!(
                "kafka-consume: {records} records read in {:.3} s ({bytes} bytes)",
                started.elapsed().as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts the records that `topic` has now, and the bytes of their values.
fn consume(brokers: &str, topic: &str, properties: &[String]) -> Result<(u64, u64), KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "kafka-consume").set("enable.auto.commit", "false");
    for property in properties {
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        config.set(name, value);
    }
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let mut list = TopicPartitionList::new();
    let mut ends = Vec::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (first, end) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE)?;
        ends.push(end);
        if first < end {
            list.add_partition_offset(topic, partition.id(), Offset::Offset(first))?;
        }
    }
    let mut open = list.count();
    consumer.assign(&list)?;
    let (mut records, mut bytes) = (0, 0);
    while open > 0 {
        let message = consumer.poll(PATIENCE).ok_or(KafkaError::NoMessageReceived)??;
        let end = ends[message.partition() as usize];
        // What was written meanwhile does not count.
        if message.offset() < end {
            records += 1;
            bytes += message.payload_len() as u64;
        }
        if message.offset() + 1 == end {
            open -= 1;
        }
    }
    Ok((records, bytes))
}
