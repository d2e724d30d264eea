//! Watches a topic for new partitions, on a thread of its own: asking for metadata waits for a broker.
//!
//! The thread keeps nothing alive: it holds the client weakly and ends when the reader is gone.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::connection::{Answer, ask};
use super::source::Consuming;
use crate::error::{Error, Result};

/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How many times in a row the brokers must deny the topic until it counts as deleted: one of them may be behind.
const DENIALS_MAX: u32 = 3;

/// What was noticed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The topic has so many partitions now.
    Partitions(u32),
    /// The topic has fewer than it had: it is another one.
    Fewer(u32),
    /// The topic is not there any more.
    Gone,
}

/// A running watch; dropping it ends the thread.
pub(super) struct Discovery {
    found: Receiver<Found>,
    _stop: Sender<()>,
}

impl Discovery {
    /// Asks for `topic` every `interval`; `known` partitions are no news.
    ///
    /// # Errors
    /// If the operating system gives us no thread.
    pub(super) fn start(
        consumer: &Arc<BaseConsumer<Consuming>>,
        topic: &str,
        interval: Duration,
        known: u32,
    ) -> Result<Self> {
        // One message is enough: the thread waits until the reader has taken it.
        let (send, found) = sync_channel(1);
        let (stop, stopped) = channel();
        let (consumer, topic) = (Arc::downgrade(consumer), topic.to_owned());
        thread::Builder::new()
            .name("kafka-discovery".into())
            .spawn(move || watch(&consumer, &topic, interval, known, &stopped, &send))
            .map_err(|error| Error::source("cannot start the thread that looks for new partitions").because(error))?;
        Ok(Discovery { found, _stop: stop })
    }

    /// What was noticed since the last call; never waits.
    pub(super) fn found(&self) -> Option<Found> {
        self.found.try_recv().ok()
    }
}

fn watch(
    consumer: &Weak<BaseConsumer<Consuming>>,
    topic: &str,
    interval: Duration,
    mut known: u32,
    stopped: &Receiver<()>,
    send: &SyncSender<Found>,
) {
    let (mut denials, mut fewer) = (0, 0);
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let Some(consumer) = consumer.upgrade() else { return };
        let answer = ask(consumer.client(), topic, ASK_TIMEOUT);
        drop(consumer);
        let news = match answer {
            Ok(Answer::Unknown) => {
                denials += 1;
                (denials >= DENIALS_MAX).then_some(Found::Gone)
            }
            // Not by the first look either: a broker that is behind may not know of new ones yet.
            Ok(Answer::Partitions(n)) if n < known => {
                (denials, fewer) = (0, fewer + 1);
                (fewer >= DENIALS_MAX).then_some(Found::Fewer(n))
            }
            Ok(Answer::Partitions(n)) => {
                (denials, fewer) = (0, 0);
                (n > known).then(|| {
                    known = n;
                    Found::Partitions(n)
                })
            }
            // A broker that is down is the client's business.
            Ok(Answer::Refused(_)) | Err(_) => None,
        };
        if let Some(news) = news
            && send.send(news).is_err()
        {
            return;
        }
    }
}
