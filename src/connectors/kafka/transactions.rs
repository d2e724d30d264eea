//! The producer of one shard: rows and the record of progress go out in one transaction.
//!
//! What fails is one of three things. A call that may be repeated is repeated. A transaction that cannot be completed is aborted, and its
//! rows are sent again. If it is not known what became of it, the producer is replaced: the new one ends whatever was open, and the
//! record of progress then says whether it was committed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::connection::{Connection, denied, refused};
use super::logs::Logs;
use super::progress::{Committed, Place};
use super::rows::Rows;
use super::token::{self, TokenFile};
use crate::connectors::sink::Generation;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// How long one call to the cluster may take. Longer than a broker takes to be replaced as leader.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one call to abort takes at most.
const ABORT_STEP: Duration = Duration::from_millis(500);

/// How long a batch is tried. To stop a dataflow costs more than to wait for brokers that come back.
const GIVE_UP: Duration = Duration::from_secs(15 * 60);

/// How long to wait before something is tried again.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// How long one wait for room in the producer's queue is; delivery reports end it early.
const ROOM_WAIT: Duration = Duration::from_millis(10);

/// Makes producers of one transactional id.
pub(super) type MakeProducer = Box<dyn Fn() -> Result<BaseProducer<Transacting>, KafkaError> + Send>;

/// A shard's producer, and what it has committed.
pub(super) struct Transactions {
    connection: Connection,
    generation: Generation,
    place: Place,
    make: MakeProducer,
    producer: BaseProducer<Transacting>,
    committed: Option<Epoch>,
}

/// What became of an attempt.
enum Failed {
    /// The transaction is open or aborted, and not committed: the rows are to be sent again.
    Again(String),
    /// It is not known, or the producer is of no use any more.
    Anew(String),
    /// It will never succeed.
    Never(Error),
}

impl Transactions {
    /// Takes the place of whoever wrote the shard before: its open transaction is aborted, and it can commit nothing more.
    ///
    /// # Errors
    /// If the cluster cannot be reached or refuses, or a later generation has been here.
    pub(super) fn open(
        connection: Connection,
        generation: Generation,
        place: Place,
        make: MakeProducer,
    ) -> Result<Self> {
        let producer = make().map_err(|why| refused(ErrorKind::Sink, &connection, why))?;
        let mut transactions = Transactions { connection, generation, place, make, producer, committed: None };
        let since = Instant::now();
        // Also the record that tells older generations that their time is over.
        while let Err(failed) = transactions.take_over().and_then(|()| transactions.attempt(None)) {
            transactions.recover(failed, since, CALL_TIMEOUT)?;
        }
        Ok(transactions)
    }

    /// The newest epoch of which all rows are committed.
    pub(super) fn committed(&self) -> Option<Epoch> {
        self.committed
    }

    /// Commits `batch`: the rows of epochs, the last of which is the greatest.
    ///
    /// # Errors
    /// If it can never succeed, or has not for 15 minutes.
    pub(super) fn commit(&mut self, batch: &[(Epoch, Rows)]) -> Result<()> {
        let since = Instant::now();
        while let Err(failed) = self.attempt(Some(batch)) {
            self.recover(failed, since, GIVE_UP)?;
        }
        Ok(())
    }

    /// Prepares for another attempt after one that failed.
    fn recover(&mut self, failed: Failed, since: Instant, patience: Duration) -> Result<()> {
        let mut failed = failed;
        loop {
            let (why, anew) = match failed {
                Failed::Never(error) => return Err(error),
                Failed::Again(why) => (why, false),
                Failed::Anew(why) => (why, true),
            };
            if since.elapsed() >= patience {
                let message = format!("cannot commit to {} for {patience:?}", self.connection);
                return Err(Error::sink(message)
                    .because(why)
                    .hint("check the brokers; the next run goes on from here"));
            }
            self.producer.context().logs.warn(&format!("a transaction is tried again: {why}"));
            std::thread::sleep(RETRY_WAIT);
            let recovered = if anew { self.replace() } else { self.abort() };
            match recovered {
                Ok(()) => return Ok(()),
                Err(next) => failed = next,
            }
        }
    }

    fn abort(&mut self) -> Result<(), Failed> {
        // It waits for delivery reports, which are served between two calls.
        self.call(|producer| producer.abort_transaction(ABORT_STEP)).map_err(|failed| match failed {
            Failed::Again(why) => Failed::Anew(why),
            other => other,
        })
    }

    /// Replaces the producer.
    fn replace(&mut self) -> Result<(), Failed> {
        let made = (self.make)();
        self.producer = made.map_err(|why| Failed::Never(refused(ErrorKind::Sink, &self.connection, why)))?;
        self.take_over()
    }

    /// Fences the predecessor, and reads what it committed.
    fn take_over(&mut self) -> Result<(), Failed> {
        // A client that logs in with a token asks for it as soon as it is made, and waits for it in vain within a call.
        self.producer.poll(Duration::ZERO);
        self.call(|producer| producer.init_transactions(CALL_TIMEOUT))?;
        let before = self.place.read(&self.connection).map_err(|error| Failed::Anew(error.to_string()))?;
        if let Some(before) = before {
            if before.generation > self.generation.number {
                let (now, ours) = (before.generation, self.generation.number);
                let message =
                    format!("{}: generation {now} of this dataflow writes it, and this is {ours}", self.connection);
                return Err(Failed::Never(Error::sink(message).hint("another run took over the state directory")));
            }
            self.committed = before.epoch;
        }
        Ok(())
    }

    /// One transaction with the rows of the epochs in `batch` that are not committed, and the record of progress.
    fn attempt(&mut self, batch: Option<&[(Epoch, Rows)]>) -> Result<(), Failed> {
        let last = batch.and_then(|batch| batch.last()).map(|(epoch, _)| *epoch);
        if batch.is_some() && last <= self.committed {
            return Ok(());
        }
        self.producer.context().forget();
        self.call(|producer| producer.begin_transaction())?;
        for (epoch, rows) in batch.into_iter().flatten() {
            if Some(*epoch) > self.committed {
                rows.iter().try_for_each(|(key, row)| self.send(&self.connection.topic, None, key, row))?;
            }
        }
        let epoch = last.max(self.committed);
        let progress = Committed::new(&self.generation, epoch).to_json();
        self.send(&self.place.topic, Some(self.place.partition), Some(self.place.key.as_bytes()), &progress)?;
        self.complete()?;
        self.committed = epoch;
        Ok(())
    }

    fn send(&self, topic: &str, partition: Option<i32>, key: Option<&[u8]>, row: &[u8]) -> Result<(), Failed> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(row);
        record.partition = partition;
        record.key = key;
        loop {
            let full = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), rejected)) => rejected,
                Err((error, _)) => return Err(self.unsendable(error, row.len())),
            };
            self.producer.poll(ROOM_WAIT);
            self.check()?;
            record = full;
        }
    }

    /// Commits what was sent.
    fn complete(&self) -> Result<(), Failed> {
        let flushed = self.producer.flush(CALL_TIMEOUT);
        self.check()?;
        flushed.map_err(|why| Failed::Again(why.to_string()))?;
        self.call(|producer| producer.commit_transaction(CALL_TIMEOUT))
    }

    /// Whether a row was refused.
    fn check(&self) -> Result<(), Failed> {
        let Some((code, reason)) = self.producer.context().undelivered() else { return Ok(()) };
        if denied(code) || code == RDKafkaErrorCode::MessageSizeTooLarge {
            return Err(Failed::Never(Error::sink(format!("cannot deliver to {}", self.connection)).because(reason)));
        }
        Err(Failed::Again(reason))
    }

    fn unsendable(&self, error: KafkaError, bytes: usize) -> Failed {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::MessageSizeTooLarge) || code.is_some_and(denied) {
            let message = format!("cannot write a row of {bytes} bytes to {}", self.connection);
            let hint = "raise \"message.max.bytes\" in `properties`, and on the broker";
            return Failed::Never(Error::sink(message).because(error).hint(hint));
        }
        Failed::Anew(error.to_string())
    }

    /// Makes a call of the transactional interface, again and again while librdkafka says that this helps.
    fn call(&self, call: impl Fn(&BaseProducer<Transacting>) -> Result<(), KafkaError>) -> Result<(), Failed> {
        let since = Instant::now();
        loop {
            let error = match call(&self.producer) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let KafkaError::Transaction(said) = &error else { return Err(Failed::Anew(error.to_string())) };
            if said.is_retriable() && since.elapsed() < CALL_TIMEOUT {
                self.producer.poll(ROOM_WAIT);
            } else if denied(said.code()) {
                let hint = "let this client use transactional ids that begin with \"tidewatch-\"";
                return Err(Failed::Never(
                    Error::sink(format!("cannot use transactions with {}", self.connection)).because(error).hint(hint),
                ));
            } else if said.txn_requires_abort() {
                return Err(Failed::Again(error.to_string()));
            } else {
                return Err(Failed::Anew(error.to_string()));
            }
        }
    }
}

/// What the client calls back, on the committer's thread while it polls.
pub(super) struct Transacting {
    logs: Logs,
    undelivered: Mutex<Option<(RDKafkaErrorCode, String)>>,
    token: Option<TokenFile>,
}

impl Transacting {
    /// For the sink `sink`, which may log in with a token; `verbose` as in [`Logs`].
    pub(super) fn new(sink: &str, verbose: bool, token: Option<TokenFile>) -> Self {
        Transacting { logs: Logs::new(format!("sink \"{sink}\""), verbose), undelivered: Mutex::default(), token }
    }

    /// Why a row of this attempt cannot be delivered, if one cannot.
    fn undelivered(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another attempt begins.
    fn forget(&self) {
        *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ClientContext for Transacting {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::answer(self.token.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logs.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logs.error(&error, reason);
    }
}

impl ProducerContext for Transacting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
            undelivered.get_or_insert_with(|| (code, error.to_string()));
        }
    }
}
