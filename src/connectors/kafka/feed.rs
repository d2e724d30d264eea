//! Where the fetching thread gets events from: the client, or a script of a test.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;

use super::batch::{Event, Payload};
use super::source::Consuming;
use super::statistics::Report;

/// What one look at a feed found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An event, which was handed over.
    Event,
    /// Something for the client itself, such as a line of its log; there may be more behind it.
    Own,
    /// Nothing: everything that had been fetched was handed over.
    Nothing,
}

/// A queue of events that must be looked at again and again.
pub(super) trait Feed: Send + 'static {
    /// Hands over the next event; waits for one for `wait` at most.
    fn next(&mut self, wait: Duration, take: impl FnOnce(Event<'_>)) -> Next;

    /// The newest figures, once.
    fn report(&mut self) -> Option<Report>;
}

/// The queue of a client of librdkafka. Looking at it also serves what the client calls back.
pub(super) struct ClientFeed {
    pub(super) consumer: Arc<BaseConsumer<Consuming>>,
    /// Longer values are cut before they are copied.
    pub(super) record_bytes_max: usize,
    /// The topic was deleted, and another one has its name: nothing more is handed over.
    pub(super) replaced: bool,
}

impl Feed for ClientFeed {
    fn next(&mut self, wait: Duration, take: impl FnOnce(Event<'_>)) -> Next {
        if self.replaced {
            std::thread::sleep(wait);
            return Next::Nothing;
        }
        let logs = &self.consumer.context().logs;
        let events = logs.events();
        let polled = self.consumer.poll(wait);
        // Before what was polled: it may be the first record of the other topic.
        if self.consumer.context().topic_id.is_replaced() {
            self.replaced = true;
            take(Event::Failed(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicId)));
            return Next::Event;
        }
        match polled {
            Some(Ok(message)) => take(Event::Record {
                partition: message.partition().cast_unsigned(),
                offset: message.offset(),
                payload: Payload::of(message.payload(), self.record_bytes_max),
            }),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                take(Event::EndOfLog { partition: partition.cast_unsigned() });
            }
            Some(Err(error)) => take(Event::Failed(error)),
            // Also returned after an event that was for the context alone: then there may be more.
            None if logs.events() == events => return Next::Nothing,
            None => return Next::Own,
        }
        Next::Event
    }

    fn report(&mut self) -> Option<Report> {
        self.consumer.context().report()
    }
}
