//! Where each partition is read from, and up to where: looked up once, when a reader opens.
//!
//! Offsets are made concrete here, so that from then on a missing offset is an error and not a silent jump.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use super::connection::{Connection, denied};
use super::source::{Consuming, Start};
use crate::error::{Error, Result};

/// How long all look-ups of one reader may take together.
const DEADLINE: Duration = Duration::from_secs(30);

/// The longest single question.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

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

fn insist<T>(
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

/// Records of a partition that are gone.
pub(super) struct Gap {
    pub(super) partition: u32,
    /// The offset that was to be read.
    pub(super) wanted: i64,
    /// The first that is there, which is greater.
    pub(super) first: i64,
}

/// Which of the partitions at `positions` have lost what comes next; `None` if that is not all that is wrong: an offset beyond the end is
/// none that is gone, but of another topic. Waits.
pub(super) fn gaps(
    consumer: &BaseConsumer<Consuming>,
    connection: &Connection,
    positions: impl Iterator<Item = (u32, i64)>,
) -> Option<Vec<Gap>> {
    let mut gaps = Vec::new();
    for (partition, wanted) in positions {
        let there = consumer.fetch_watermarks(&connection.topic, partition.cast_signed(), ASK_TIMEOUT);
        let (first, end) = there.ok()?;
        if wanted > end {
            return None;
        }
        if wanted < first {
            gaps.push(Gap { partition, wanted, first });
        }
    }
    Some(gaps)
}

/// The error for partitions whose next offset the broker does not have: asks for what it has instead. Waits; for a
/// dataflow that is about to stop.
pub(super) fn out_of_range(
    consumer: &BaseConsumer<Consuming>,
    connection: &Connection,
    source: &str,
    positions: impl Iterator<Item = (u32, i64)>,
) -> Error {
    let mut missing = Vec::new();
    for (partition, wanted) in positions {
        match consumer.fetch_watermarks(&connection.topic, partition.cast_signed(), ASK_TIMEOUT) {
            Ok((low, high)) if (low..=high).contains(&wanted) => {}
            Ok((low, high)) => missing.push(format!(
                "{}[{partition}]: wanted offset {wanted}, available are {low} to {high}",
                connection.topic
            )),
            Err(error) => {
                missing.push(format!("{}[{partition}]: wanted offset {wanted}: {error}", connection.topic));
                break;
            }
        }
    }
    let error = Error::source(format!("source {source:?}: records of {connection} are gone before they were read"));
    let error = if missing.is_empty() {
        error.because(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))
    } else {
        error.because(missing.join("; "))
    };
    error.hint("raise the topic's retention, or start anew with `start = \"earliest\"`, or pass over what is gone with `on_gap = \"skip\"`")
}
