//! Where partitions begin and end whose next record the broker does not have: asked on a thread of its own, since it waits for
//! brokers, and a worker waits for nothing.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::connection::Connection;
use super::source::{ANOTHER_TOPIC, Consuming};
use super::start::{ASK_TIMEOUT, DEADLINE, insist};
use crate::error::{Error, ErrorKind, Result};

/// A question that has been asked. Nobody waits for its answer if it is dropped.
pub(super) struct Lookup(Receiver<Result<Vec<Bounds>>>);

/// What there is of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) partition: u32,
    /// The offset that was to be read when the question was asked.
    pub(super) wanted: i64,
    /// The first offset that is there.
    pub(super) first: i64,
    /// The offset after the last one.
    pub(super) end: i64,
}

impl Lookup {
    /// Asks about the partitions at `positions`; for as long as half a minute if the brokers do not answer.
    ///
    /// # Errors
    /// If the operating system gives us no thread.
    pub(super) fn start(
        consumer: &Arc<BaseConsumer<Consuming>>,
        connection: &Connection,
        positions: Vec<(u32, i64)>,
    ) -> Result<Self> {
        let (send, found) = channel();
        let (consumer, connection) = (Arc::downgrade(consumer), connection.clone());
        let look = move || {
            let deadline = Instant::now() + DEADLINE;
            let look_at = |(partition, wanted): (u32, i64)| {
                // The reader is gone: nobody wants to know.
                let consumer = consumer.upgrade().ok_or_else(|| Error::source("nobody asks any more"))?;
                let (first, end) = insist(&connection, partition, deadline, || {
                    consumer.fetch_watermarks(&connection.topic, partition.cast_signed(), ASK_TIMEOUT)
                })?;
                Ok(Bounds { partition, wanted, first, end })
            };
            // As above.
            let _ = send.send(positions.into_iter().map(look_at).collect());
        };
        thread::Builder::new()
            .name("kafka-offsets".into())
            .spawn(look)
            .map_err(|error| Error::source("cannot start the thread that looks up offsets").because(error))?;
        Ok(Lookup(found))
    }

    /// The answer, if there is one; never waits.
    ///
    /// # Errors
    /// If the brokers did not answer.
    pub(super) fn answer(&self) -> Result<Option<Vec<Bounds>>> {
        match self.0.try_recv() {
            Ok(answer) => answer.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                Err(Error::new(ErrorKind::Internal, "the thread that looks up offsets has ended"))
            }
        }
    }
}

/// The error for partitions whose next offset the broker does not have.
pub(super) fn out_of_range(connection: &Connection, source: &str, bounds: &[Bounds]) -> Error {
    let missing = |bounds: &Bounds| {
        let Bounds { partition, wanted, first, end } = bounds;
        format!("{}[{partition}]: wanted offset {wanted}, available are {first} to {end}", connection.topic)
    };
    let list = |wrong: fn(&Bounds) -> bool| {
        bounds.iter().filter(|bounds| wrong(bounds)).map(missing).collect::<Vec<_>>().join("; ")
    };
    let beyond = list(|bounds| bounds.wanted > bounds.end);
    if !beyond.is_empty() {
        let message = format!(
            "source {source:?}: {connection} has fewer records than were read, so it was deleted and made anew, or lost records"
        );
        return Error::source(message).because(beyond).hint(ANOTHER_TOPIC);
    }
    let gone = list(|bounds| bounds.wanted < bounds.first);
    let gone = if gone.is_empty() { "the broker refused an offset that it has".to_owned() } else { gone };
    Error::source(format!("source {source:?}: records of {connection} are gone before they were read")).because(gone).hint(
        "raise the topic's retention, or start anew with `start = \"earliest\"`, or pass over what is gone with `on_gap = \"skip\"`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_records_are_told_from_records_that_are_gone() {
        let connection = Connection::new("b:1", "logins");
        let bounds = |partition, wanted, first, end| Bounds { partition, wanted, first, end };
        let says = |all: &[Bounds]| out_of_range(&connection, "in", all).to_string();
        let fewer = says(&[bounds(0, 5, 0, 9), bounds(1, 5, 0, 4), bounds(2, 1, 3, 4)]);
        assert!(
            fewer.contains("fewer records than were read")
                && fewer.contains("logins[1]: wanted offset 5, available are 0 to 4")
        );
        assert!(!fewer.contains("logins[0]") && fewer.contains("deleted and made anew"), "{fewer}");
        // The end itself is no record that was read.
        let gone = says(&[bounds(0, 9, 0, 9), bounds(2, 1, 3, 4)]);
        assert!(
            gone.contains("gone before they were read: logins[2]: wanted offset 1") && !gone.contains("logins[0]"),
            "{gone}"
        );
        assert!(says(&[bounds(0, 5, 0, 9)]).contains("refused an offset that it has"));
    }
}
