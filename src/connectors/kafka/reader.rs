//! Hands over what the fetching thread has taken from the client, and turns the client's events into what they mean for a
//! partition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use super::batch::{Batch, Event};
use super::connection::{Connection, MAY_DESCRIBE, denied};
use super::discovery::{Discovery, Found};
use super::feed::ClientFeed;
use super::fetch::{Fetch, Figures};
use super::lookup::{Bounds, Lookup, out_of_range};
use super::partitions::Partitions;
use super::source::{ANOTHER_TOPIC, Consuming, OnGap, assign, replaced};
use super::start::Range;
use crate::connectors::source::{Collector, Partition, Polled, SourceContext, SourceReader};
use crate::error::{Error, Result};

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
    /// Asks what there is of partitions that have lost something.
    lookup: Option<Lookup>,
    /// A partition has lost something since then.
    look_again: bool,
    /// Gaps that were passed over before the client complained of them, if it ever did.
    passed_early: usize,
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
        let record_bytes_max = context.record_bytes_max;
        let feed = ClientFeed { consumer: Arc::clone(&consumer), record_bytes_max, replaced: false };
        let fetch = Fetch::start(&context.name, feed)?;
        let batch = Batch::default();
        Ok(Reader {
            context,
            connection,
            consumer,
            discovery,
            fetch,
            batch,
            finite,
            on_gap,
            known,
            partitions,
            lookup: None,
            look_again: false,
            passed_early: 0,
        })
    }

    /// The id of the topic, if the brokers have ids.
    fn topic_id(&self) -> Option<String> {
        self.consumer.context().topic_id.id()
    }

    /// What is to be said of an error, if it is not got over.
    fn failure(&mut self, error: KafkaError) -> Result<()> {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::AutoOffsetReset) {
            return self.look();
        }
        if code == Some(RDKafkaErrorCode::UnknownTopicId)
            && let Some(now) = self.consumer.context().topic_id.replaced_by()
        {
            let was = self.topic_id().unwrap_or_default();
            return Err(replaced(&self.connection, "while it was read", &was, &now));
        }
        let fatal =
            matches!(error, KafkaError::MessageConsumptionFatal(_)) || code.is_some_and(|c| denied(c) || lossy(c));
        // Everything else librdkafka retries by itself, and has logged.
        if !fatal {
            return Ok(());
        }
        let reason = self.consumer.context().logs.last_error();
        let failed = Error::source(format!("cannot read {}", self.connection));
        let failed = match reason {
            Some(reason) => failed.because(reason),
            None => failed.because(error),
        };
        Err(match code {
            Some(RDKafkaErrorCode::BadCompression) => failed.hint(
                "the batch is damaged; or it is one of zstd that decompresses to more than \"receive.message.max.bytes\" in `properties` \
                 (100 MB): raise that",
            ),
            Some(code) if denied(code) => failed.hint(MAY_DESCRIBE),
            _ => failed,
        })
    }

    /// A partition, of which the client does not say which, has lost something: asks what there is of all of them.
    fn look(&mut self) -> Result<()> {
        if self.lookup.is_some() {
            self.look_again = true;
            return Ok(());
        }
        let positions = self.partitions.positions().collect();
        self.lookup = Some(Lookup::start(&self.consumer, &self.connection, positions)?);
        Ok(())
    }

    /// Deals with partitions that have lost something, once it is known what.
    fn found(&mut self, collector: &mut dyn Collector) -> Result<()> {
        let Some(lookup) = &self.lookup else { return Ok(()) };
        let Some(bounds) = lookup.answer()? else { return Ok(()) };
        self.lookup = None;
        let gone = bounds.iter().any(|bounds| bounds.wanted < bounds.first);
        let beyond = bounds.iter().any(|bounds| bounds.wanted > bounds.end);
        // Where several have lost something, the first complaint is answered for all of them, and the others find nothing more to do.
        let nothing_new = !gone && !beyond && self.passed_early > 0;
        if self.on_gap == OnGap::Stop || beyond || !(gone || nothing_new) {
            return Err(out_of_range(&self.connection, &self.context.name, &bounds));
        }
        self.passed_early = self.passed_early.saturating_sub(1);
        let mut passed = 0;
        for Bounds { partition, first, .. } in bounds {
            passed += usize::from(self.skip(partition, first, collector)?);
        }
        self.passed_early += passed.saturating_sub(1);
        if std::mem::take(&mut self.look_again) { self.look() } else { Ok(()) }
    }

    /// Goes on at `first` in a partition that has lost what comes before; says whether it has.
    fn skip(&mut self, partition: u32, first: i64, collector: &mut dyn Collector) -> Result<bool> {
        // By now it may have handed over more.
        let position = self.partitions.positions().find(|(other, _)| *other == partition);
        let Some((_, wanted)) = position.filter(|(_, position)| *position < first) else { return Ok(false) };
        // Assigned anew: the client fetches no more of a partition that it has given up.
        let topic = self.connection.topic.as_str();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition.cast_signed());
        self.consumer.incremental_unassign(&list).map_err(|error| {
            Error::source(format!("cannot pass over what is gone of {topic}[{partition}]")).because(error)
        })?;
        assign(&self.consumer, &self.connection, std::iter::once((partition, Offset::Offset(first))))?;
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
        Ok(true)
    }

    fn discover(&mut self) -> Result<()> {
        match self.discovery.found() {
            None => Ok(()),
            Some(Found::Gone) => {
                let message = format!("{} was deleted while it was read", self.connection);
                Err(Error::source(message).hint(ANOTHER_TOPIC))
            }
            Some(Found::Fewer(now)) => {
                let message = format!(
                    "{} has {now} partitions, and {} were read: it was deleted and made anew",
                    self.connection, self.known
                );
                Err(Error::source(message).hint(ANOTHER_TOPIC))
            }
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
        self.found(collector)?;
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
                Some(Event::Failed(error)) => self.failure(error)?,
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

    fn identity(&self, _: Partition) -> Option<String> {
        self.topic_id()
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
