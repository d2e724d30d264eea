//! Where each partition is read from, and up to where: looked up once, when a reader opens.
//!
//! Offsets are made concrete here, so that from then on a missing offset is an error and not a silent jump.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::Offset;

use super::connection::{Connection, denied};
use super::source::{Consuming, Start};
use crate::error::{Error, Result};

/// How long all look-ups of one reader may take together.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The longest single question.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before a question that failed is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The part of a partition that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) partition: u32,
    /// The first offset to read.
    pub(super) from: i64,
    /// The offset after the last committed record at this moment.
    pub(super) end: i64,
}

/// The ranges of `partitions`, from `start` to the present end; waits for the cluster until a deadline.
///
/// # Errors
/// If the cluster does not say.
pub(super) fn ranges(
    consumer: &BaseConsumer<Consuming>,
    connection: &Connection,
    start: Start,
    partitions: impl Iterator<Item = u32>,
) -> Result<Vec<Range>> {
    let deadline = Instant::now() + DEADLINE;
    partitions
        .map(|partition| {
            let number = partition.cast_signed();
            let (low, end) = insist(connection, partition, deadline, || {
                consumer.fetch_watermarks(&connection.topic, number, ASK_TIMEOUT)
            })?;
            let from = match start {
                Start::Earliest => low,
                Start::Latest => end,
                Start::At(time) => {
                    insist(connection, partition, deadline, || at(consumer, &connection.topic, number, time.millis()))?
                        .unwrap_or(end)
                }
            };
            Ok(Range { partition, from, end })
        })
        .collect()
}

/// The first offset whose time stamp is `millis` or later, if there is one.
fn at(consumer: &BaseConsumer<Consuming>, topic: &str, partition: i32, millis: i64) -> KafkaResult<Option<i64>> {
    let mut times = TopicPartitionList::new();
    // A negative time would be one of librdkafka's symbols; no record is that old.
    times.add_partition_offset(topic, partition, Offset::Offset(millis.max(0)))?;
    let found = consumer.offsets_for_times(times, ASK_TIMEOUT)?;
    let Some(element) = found.find_partition(topic, partition) else { return Ok(None) };
    element.error()?;
    Ok(match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    })
}

/// Asks again until the deadline, or an answer that asking again does not change.
pub(super) fn insist<T>(
    connection: &Connection,
    partition: u32,
    deadline: Instant,
    mut question: impl FnMut() -> KafkaResult<T>,
) -> Result<T> {
    loop {
        match question() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline || error.rdkafka_error_code().is_some_and(denied) => {
                return Err(Error::source(format!(
                    "cannot look up the offsets of partition {partition} of {connection}"
                ))
                .because(error)
                .hint("the partition may have no leader: check that all brokers are up"));
            }
            Err(_) => std::thread::sleep(ASK_AGAIN),
        }
    }
}
