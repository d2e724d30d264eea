//! Hands rows to the producer, and reports which epochs are acknowledged.
//!
//! The producer's queue is bounded. When it is full, `write` waits for room: that is the dataflow's back-pressure, and
//! it lasts at most as long as librdkafka tries to deliver the oldest row.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::connection::Connection;
use super::sink::Producing;
use crate::connectors::sink::SinkWriter;
use crate::error::{Error, Result};
use crate::time::Epoch;

/// How long one wait for room in the queue is; delivery reports end it early.
const ROOM_WAIT: Duration = Duration::from_millis(10);

/// Rows between two polls for delivery reports while writing: reports hold memory until they are polled.
const ROWS_PER_LOOK: u32 = 4096;

/// How long finishing waits for rows that were never sealed; sealed ones are durable by then.
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);

/// One worker's producer.
pub(super) struct Writer {
    connection: Connection,
    producer: BaseProducer<Producing>,
    unlooked: u32,
}

impl Writer {
    /// A writer to the connection's topic.
    pub(super) fn new(connection: Connection, producer: BaseProducer<Producing>) -> Self {
        Writer { connection, producer, unlooked: 0 }
    }

    /// Processes all available delivery reports.
    fn look(&mut self) -> Result<()> {
        self.unlooked = 0;
        let logs = &self.producer.context().logs;
        loop {
            let events = logs.events();
            self.producer.poll(Duration::ZERO);
            if logs.events() == events {
                break;
            }
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        let ledger = self.producer.context().ledger();
        let Some(failure) = ledger.failure() else { return Ok(()) };
        let place = match failure.partition {
            ..0 => format!("cannot deliver to {}", self.connection),
            partition => format!("cannot deliver to partition {partition} of {}", self.connection),
        };
        Err(Error::sink(place).because(failure.reason.clone()))
    }

    fn refused(&self, error: KafkaError, bytes: usize) -> Error {
        let failed = Error::sink(format!("cannot write a row of {bytes} bytes to {}", self.connection));
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            failed.because(error).hint("raise \"message.max.bytes\" in `properties`, and on the broker")
        } else {
            failed.because(error)
        }
    }
}

impl SinkWriter for Writer {
    fn write(&mut self, key: Option<&[u8]>, row: &[u8]) -> Result<()> {
        self.unlooked += 1;
        if self.unlooked >= ROWS_PER_LOOK {
            self.look()?;
        }
        let group = self.producer.context().ledger().sent();
        let mut record = BaseRecord::with_opaque_to(&self.connection.topic, group).payload(row);
        record.key = key;
        loop {
            let full = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), rejected)) => rejected,
                Err((error, _)) => {
                    self.producer.context().ledger().settled(group);
                    return Err(self.refused(error, row.len()));
                }
            };
            self.producer.poll(ROOM_WAIT);
            self.check()?;
            record = full;
        }
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.producer.context().ledger().seal(epoch);
        self.check()
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        self.look()?;
        Ok(self.producer.context().ledger().durable())
    }

    fn finish(&mut self) -> Result<()> {
        let flushed = self.producer.flush(FLUSH_DEADLINE);
        self.check()?;
        flushed.map_err(|error| Error::sink(format!("cannot finish writing to {}", self.connection)).because(error))
    }
}
