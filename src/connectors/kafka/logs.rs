//! What librdkafka has to say, in our log: at most one line per client and interval, with a count of what was left out.
//!
//! A broker that is down makes librdkafka complain several times a second, and once per connection. The wall clock is read
//! here to space out lines of a log, and for nothing else.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::causes::{Cause, Complaint};

/// How long a client is silent after a line.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The most brokers of which a client's complaint is kept.
const COMPLAINTS_MAX: usize = 16;

/// The parts of librdkafka's log that say why a connection failed.
const COMPLAINING: &[&str] = &["FAIL", "REQTMOUT"];

/// The log of one client.
pub(super) struct Logs {
    /// `source "logins"` or `sink "alerts"`.
    owner: String,
    interval: Duration,
    /// Whether lines below the level of warnings are wanted too.
    verbose: bool,
    state: Mutex<State>,
    /// How many events of any kind were seen: tells "the queue was empty" from "the queue had only a log line".
    events: AtomicU64,
}

#[derive(Default)]
struct State {
    last_line: Option<Instant>,
    left_out: u64,
    last_error: Option<String>,
    /// The newest of each broker, the newest of all last.
    complaints: Vec<Complaint>,
}

impl Logs {
    /// The log of the client of `owner`; `verbose` if the user asked for what librdkafka says below the level of warnings.
    pub(super) fn new(owner: String, verbose: bool) -> Self {
        Self::every(owner, LINE_INTERVAL, verbose)
    }

    fn every(owner: String, interval: Duration, verbose: bool) -> Self {
        Logs { owner, interval, verbose, state: Mutex::default(), events: AtomicU64::new(0) }
    }

    /// Whose client it is.
    pub(super) fn owner(&self) -> &str {
        &self.owner
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

    /// The newest complaint of each broker, the newest of all last: why none can be reached, if none can.
    pub(super) fn complaints(&self) -> Vec<Complaint> {
        self.lock().complaints.clone()
    }

    /// A line from librdkafka.
    pub(super) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.event();
        // Below warnings are those that librdkafka holds to be usual, such as that a broker hangs up: not for the log, but perhaps the
        // reason why no broker can be reached.
        if COMPLAINING.contains(&facility) && level as u8 <= RDKafkaLogLevel::Info as u8 {
            // "[thrd:…]: …"
            let said = message
                .strip_prefix("[thrd:")
                .and_then(|rest| rest.split_once("]: "))
                .map_or(message, |(_, said)| said);
            self.complain(None, said);
        }
        if !self.verbose && level as u8 > RDKafkaLogLevel::Warning as u8 {
            return;
        }
        match level {
            // The user asked for these with the property `debug`, so all of them are wanted.
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", "{}: {facility}: {message}", self.owner),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", "{}: {facility}: {message}", self.owner);
            }
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
        self.remember(error, reason);
        self.warn(reason);
    }

    fn remember(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        {
            let mut state = self.lock();
            // It follows the complaint that says why, and says less.
            if code == Some(RDKafkaErrorCode::AllBrokersDown) && state.last_error.is_some() {
                return;
            }
            state.last_error = Some(reason.to_owned());
        }
        self.complain(code, reason);
    }

    fn complain(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let Some(complaint) = Complaint::of(code, reason) else { return };
        let complaints = &mut self.lock().complaints;
        let before = complaints.iter().position(|other| other.broker == complaint.broker);
        match before.map(|index| complaints.remove(index)) {
            // What is known of it says more.
            Some(other) if complaint.cause == Cause::Other && other.cause != Cause::Other => complaints.push(other),
            _ => complaints.push(complaint),
        }
        if complaints.len() > COMPLAINTS_MAX {
            complaints.remove(0);
        }
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
        let logs = Logs::every("source \"x\"".into(), Duration::from_secs(3600), false);
        assert!(logs.warn("first"));
        for _ in 0..1000 {
            logs.error(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "connection refused");
        }
        assert_eq!(logs.lock().left_out, 1000);
        assert_eq!(logs.last_error().as_deref(), Some("connection refused"));

        let logs = Logs::every("source \"x\"".into(), Duration::ZERO, false);
        assert!(logs.warn("first") && logs.warn("second"));
    }

    #[test]
    fn of_each_broker_the_newest_complaint_is_kept_and_that_all_are_down_is_none() {
        let logs = Logs::new("source \"x\"".into(), false);
        let error = |code, reason: &str| logs.error(&KafkaError::Global(code), reason);
        error(RDKafkaErrorCode::AllBrokersDown, "2/2 brokers are down");
        assert_eq!((logs.last_error().as_deref(), logs.complaints()), (Some("2/2 brokers are down"), vec![]));
        for (broker, why) in [(1, "Connection refused"), (2, "Connection refused"), (1, "Disconnected")] {
            error(RDKafkaErrorCode::BrokerTransportFailure, &format!("b{broker}:9092/bootstrap: {why}"));
        }
        error(RDKafkaErrorCode::AllBrokersDown, "2/2 brokers are down");
        let kept: Vec<String> = logs.complaints().into_iter().map(|complaint| complaint.broker).collect();
        assert_eq!(
            (logs.last_error().as_deref(), kept),
            (Some("b1:9092/bootstrap: Disconnected"), vec!["b2:9092".into(), "b1:9092".into()])
        );
        for broker in 0..2 * COMPLAINTS_MAX {
            error(RDKafkaErrorCode::SSL, &format!("c{broker}:9092/bootstrap: x"));
        }
        assert_eq!(logs.complaints().len(), COMPLAINTS_MAX);
    }

    #[test]
    fn a_line_below_warnings_is_kept_as_a_reason_and_not_shown() {
        let logs = Logs::new("source \"x\"".into(), false);
        let line =
            |level, facility: &str, text: &str| logs.log(level, facility, &format!("[thrd:b:1/bootstrap]: {text}"));
        line(RDKafkaLogLevel::Info, "FAIL", "b:1/bootstrap: Disconnected (after 0ms in state APIVERSION_QUERY)");
        line(RDKafkaLogLevel::Info, "CONNECT", "b:2/bootstrap: hello");
        line(RDKafkaLogLevel::Debug, "FAIL", "b:3/bootstrap: Connection refused");
        let causes = |logs: &Logs| logs.complaints().into_iter().map(|c| (c.broker, c.cause)).collect::<Vec<_>>();
        assert_eq!(causes(&logs), [("b:1".to_owned(), Cause::WantsTls)]);
        // What says less takes the place of nothing.
        line(RDKafkaLogLevel::Info, "FAIL", "b:1/bootstrap: hm");
        assert_eq!(causes(&logs), [("b:1".to_owned(), Cause::WantsTls)]);
        line(RDKafkaLogLevel::Warning, "REQTMOUT", "b:1/bootstrap: Timed out ApiVersionRequest in flight");
        assert_eq!(causes(&logs), [("b:1".to_owned(), Cause::Silent)]);
        assert_eq!((logs.events(), logs.lock().left_out), (5, 0));
        assert!(!logs.warn("the last line but one was the first to be shown"));
    }

    #[test]
    fn the_end_of_a_partition_is_no_complaint() {
        let logs = Logs::new("source \"x\"".into(), false);
        logs.error(&KafkaError::Global(RDKafkaErrorCode::PartitionEOF), "end");
        assert_eq!((logs.last_error(), logs.events()), (None, 1));
        assert!(logs.warn("first real line"));
    }
}
