//! Hands over what the fetching thread has taken from the client, and turns the client's events into what they mean for a
//! partition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use super::batch::{Batch, Event};
use super::connection::{Connection, denied};
use super::discovery::{Discovery, Found};
use super::feed::ClientFeed;
use super::fetch::{Fetch, Figures};
use super::partitions::Partitions;
use super::source::{Consuming, OnGap, assign};
use super::start::{Gap, Range, gaps, out_of_range};
use crate::connectors::source::{Collector, Partition, Polled, SourceContext, SourceReader};
use crate::error::{Error, ErrorKind, Result};

/// How long to wait when nothing has arrived: short against a tick, long enough to cost an idle worker next to nothing.
const IDLE_WAIT: Duration = Duration::from_millis(2);

/// What a record counts against the budget on top of its bytes, so that empty records cannot make a poll endless.
const RECORD_OVERHEAD: usize = 64;

/// One worker's partitions of a topic.
pub(super) struct Reader {
    context: SourceContext,
    connection: Connection,
    consumer: Arc<BaseConsumer<Consuming>>,
    discovery: Discovery,
    fetch: Fetch,
    /// What was fetched and is handed over next; a poll may end in the middle of it.
    batch: Batch,
    /// Whether the source ends where its partitions ended at open.
    finite: bool,
    on_gap: OnGap,
    /// Partitions of the topic, also those of other workers.
    known: u32,
    partitions: Partitions,
}

impl Reader {
    /// A reader of `ranges`, which `consumer` has been told to fetch; `known` is how many partitions the topic has.
    ///
    /// # Errors
    /// If the operating system gives us no thread.
    pub(super) fn new(
        context: SourceContext,
        connection: Connection,
        consumer: Arc<BaseConsumer<Consuming>>,
        discovery: Discovery,
        (finite, on_gap): (bool, OnGap),
        known: u32,
        ranges: &[Range],
    ) -> Result<Self> {
        let mut partitions = Partitions::new(context.record_bytes_max);
        for range in ranges {
            partitions.add(range.partition, range.from, finite.then_some(range.end));
        }
        let feed = ClientFeed { consumer: Arc::clone(&consumer), record_bytes_max: context.record_bytes_max };
        let fetch = Fetch::start(&context.name, feed)?;
        let batch = Batch::default();
        Ok(Reader { context, connection, consumer, discovery, fetch, batch, finite, on_gap, known, partitions })
    }

    /// What is to be told of an error, if it is not got over.
    fn failure(&mut self, error: KafkaError, collector: &mut dyn Collector) -> Option<Error> {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::AutoOffsetReset) {
            if self.on_gap == OnGap::Skip && self.skip_gaps(collector) {
                return None;
            }
            let (source, positions) = (self.context.name.as_str(), self.partitions.positions());
            return Some(out_of_range(&self.consumer, &self.connection, source, positions));
        }
        let fatal =
            matches!(error, KafkaError::MessageConsumptionFatal(_)) || code.is_some_and(|c| denied(c) || lossy(c));
        // Everything else librdkafka retries by itself, and has logged.
        fatal.then(|| {
            let reason = self.consumer.context().logs.last_error();
            let failed = Error::source(format!("cannot read {}", self.connection));
            match reason {
                Some(reason) => failed.because(reason),
                None => failed.because(error),
            }
        })
    }

    /// Goes on behind what is gone, in all partitions; says whether that was all. Where several have lost something, the first error is
    /// that of all of them, and the others find nothing more to do.
    fn skip_gaps(&mut self, collector: &mut dyn Collector) -> bool {
        let Some(gaps) = gaps(&self.consumer, &self.connection, self.partitions.positions()) else { return false };
        let topic = self.connection.topic.as_str();
        for Gap { partition, wanted, first } in gaps {
            // Assigned anew: the client fetches no more of a partition that it has given up.
            let mut list = TopicPartitionList::new();
            list.add_partition(topic, partition.cast_signed());
            let given_up = self.consumer.incremental_unassign(&list).is_ok();
            let there = Offset::Offset(first);
            if !given_up || assign(&self.consumer, &self.connection, std::iter::once((partition, there))).is_err() {
                return false;
            }
            let (source, records) = (self.context.name.as_str(), first - wanted);
            tracing::warn!(
                source,
                topic,
                partition,
                wanted,
                first,
                records,
                "records are gone before they were read; skipped"
            );
            self.partitions.skip_to(partition, first, collector);
        }
        true
    }

    fn discover(&mut self) -> Result<()> {
        match self.discovery.found() {
            None => Ok(()),
            Some(Found::Gone) => Err(self.connection.unknown_topic(ErrorKind::Source)),
            Some(Found::Partitions(_)) if self.finite => Ok(()),
            Some(Found::Partitions(now)) => {
                let new = self.known..now;
                self.known = now;
                let owned: Vec<u32> = new.filter(|partition| self.context.owns(Partition(*partition))).collect();
                // From the beginning whatever `start` says: its first records came after the source was opened.
                assign(&self.consumer, &self.connection, owned.iter().map(|p| (*p, Offset::Beginning)))?;
                for partition in owned {
                    self.partitions.add(partition, 0, None);
                }
                Ok(())
            }
        }
    }

    /// Fetches no more of partitions that have ended.
    fn release_ended(&mut self) -> Result<()> {
        let ended = self.partitions.newly_ended();
        if ended.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for partition in ended {
            list.add_partition(&self.connection.topic, partition.cast_signed());
        }
        self.consumer.pause(&list).map_err(|error| {
            Error::source(format!("cannot stop fetching ended partitions of {}", self.connection)).because(error)
        })
    }
}

/// Whether librdkafka passes over the batch that it complains of: going on would lose its records without a trace.
fn lossy(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        // A checksum that does not match.
        RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::InvalidMessage
            // A compression that this build does not have, or that is damaged.
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::NotImplemented
    )
}

impl SourceReader for Reader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        self.discover()?;
        self.partitions.announce(collector);
        // Taken first: what the thread handed over before these figures has been read once nothing more is found below.
        let figures = self.fetch.figures();
        let mut spent = 0;
        let mut drained = false;
        while spent < budget_bytes && !drained {
            match self.batch.next() {
                Some(Event::Record { partition, offset, payload }) => {
                    spent += payload.bytes().len() + RECORD_OVERHEAD;
                    if self.partitions.record(partition, offset, payload, collector) {
                        let logs = &self.consumer.context().logs;
                        logs.warn("an offset was delivered twice; the second one was dropped");
                    }
                }
                Some(Event::EndOfLog { partition }) => self.partitions.end_of_log(partition, collector),
                Some(Event::Failed(error)) => {
                    if let Some(failure) = self.failure(error, collector) {
                        return Err(failure);
                    }
                }
                None => drained = !self.fetch.refill(&mut self.batch)?,
            }
        }
        if let Some(Figures { report, drained: before }) = figures {
            self.partitions.report(&report.at(Instant::now()).partitions, drained && before, collector);
        }
        if self.finite && self.partitions.all_ended() {
            return Ok(Polled::Finished);
        }
        self.release_ended()?;
        Ok(if drained { Polled::Wait(IDLE_WAIT) } else { Polled::More })
    }

    fn partitions(&self) -> Option<usize> {
        Some(self.known as usize)
    }

    fn begins_at(&self, partition: Partition) -> u64 {
        self.partitions.from(partition.0)
    }

    fn hold(&mut self, partition: Partition, held: bool) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.connection.topic, partition.0.cast_signed());
        let done = if held { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(why) = done {
            tracing::warn!(topic = self.connection.topic, partition = partition.0, held, %why, "cannot hold a partition");
        }
    }
}
