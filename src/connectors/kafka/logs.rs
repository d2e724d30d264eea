//! What librdkafka has to say, in our log: at most one line per client and interval, with a count of what was left out.
//!
//! A broker that is down makes librdkafka complain several times a second, and once per connection. The wall clock is read
//! here to space out lines of a log, and for nothing else.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long a client is silent after a line.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The log of one client.
pub(super) struct Logs {
    /// `source "logins"` or `sink "alerts"`.
    owner: String,
    interval: Duration,
    state: Mutex<State>,
    /// How many events of any kind were seen: tells "the queue was empty" from "the queue had only a log line".
    events: AtomicU64,
}

#[derive(Default)]
struct State {
    last_line: Option<Instant>,
    left_out: u64,
    last_error: Option<String>,
}

impl Logs {
    /// The log of the client of `owner`.
    pub(super) fn new(owner: String) -> Self {
        Self::every(owner, LINE_INTERVAL)
    }

    fn every(owner: String, interval: Duration) -> Self {
        Logs { owner, interval, state: Mutex::default(), events: AtomicU64::new(0) }
    }

    /// How many events the client has handed over so far.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Counts an event that is not logged.
    pub(super) fn event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// The latest complaint, for an error that is about to be returned.
    pub(super) fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    /// A line from librdkafka.
    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.event();
        match level {
            // The user asked for these with the property `debug`, so all of them are wanted.
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", "{}: {facility}: {message}", self.owner),
            RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", "{}: {facility}: {message}", self.owner),
            _ => {
                self.warn(message);
            }
        }
    }

    /// An error that librdkafka retries by itself.
    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        self.event();
        // The end of a partition comes this way too; it is news for the reader, not for the log.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.lock().last_error = Some(reason.to_owned());
        self.warn(reason);
    }

    /// One line at warning level, unless the last one is too recent. Says whether it was written.
    pub(super) fn warn(&self, message: &str) -> bool {
        let mut state = self.lock();
        if state.last_line.is_some_and(|at| at.elapsed() < self.interval) {
            state.left_out += 1;
            return false;
        }
        state.last_line = Some(Instant::now());
        let left_out = std::mem::take(&mut state.left_out);
        drop(state);
        if left_out == 0 {
            tracing::warn!(target: "librdkafka", "{}: {message}", self.owner);
        } else {
            tracing::warn!(target: "librdkafka", "{}: {message} ({left_out} more lines since the last)", self.owner);
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_the_rest_is_counted() {
        let logs = Logs::every("source \"x\"".into(), Duration::from_secs(3600));
        assert!(logs.warn("first"));
        for _ in 0..1000 {
            logs.error(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "connection refused");
        }
        assert_eq!(logs.lock().left_out, 1000);
        assert_eq!(logs.last_error().as_deref(), Some("connection refused"));

        let logs = Logs::every("source \"x\"".into(), Duration::ZERO);
        assert!(logs.warn("first") && logs.warn("second"));
    }

    #[test]
    fn the_end_of_a_partition_is_no_complaint() {
        let logs = Logs::new("source \"x\"".into());
        logs.error(&KafkaError::Global(RDKafkaErrorCode::PartitionEOF), "end");
        assert_eq!((logs.last_error(), logs.events()), (None, 1));
        assert!(logs.warn("first real line"));
    }
}
