//! The thread that polls the client, so that the worker does not: every message is a wait for a lock, an event, and
//! memory to free.
//!
//! The thread runs ahead by [`BATCHES_AHEAD`] batches and then waits for the worker. While it waits it does not look at
//! the client, whose own queue then fills up to its own limit: no thread of the client waits for ours, and since no
//! group is joined there is no `max.poll.interval.ms` to keep. The thread ends, and has ended, when the [`Fetch`] is
//! dropped.
//!
//! Events go through the batches. The client's statistics do not: librdkafka puts them before all messages that wait,
//! and behind 2 MiB of records they would say of an idle partition what was true a while ago. The newest ones are kept
//! beside the batches.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::batch::FetchedBatch;
use super::feed::{Feed, Next};
use super::statistics::Report;
use crate::error::stage::StageName;
use crate::error::{Error, ErrorKind, Result};

/// How many batches may wait for the worker.
pub(super) const BATCHES_AHEAD: usize = 16;

/// How long the thread waits for an event when it has nothing to hand over. An event ends the wait; it bounds how long
/// dropping the reader takes.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// How soon a batch that is not full is offered again to a worker that has not taken those before it.
const OFFER_AGAIN: Duration = Duration::from_millis(2);

/// The client's statistics of its partitions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FetchFigures {
    pub(super) report: Report,
    /// Whether everything that had been fetched before them was handed over before them.
    pub(super) drained: bool,
}

type Newest = Arc<Mutex<Option<FetchFigures>>>;

/// The worker's end of a running thread.
pub(super) struct Fetch {
    source: String,
    /// `None` only while it is dropped.
    batches: Option<Receiver<FetchedBatch>>,
    /// Emptied batches, whose memory is reused.
    emptied: Sender<FetchedBatch>,
    figures: Newest,
    stop: Arc<AtomicBool>,
    /// `None` once it is known to have ended.
    thread: Option<JoinHandle<()>>,
}

impl Fetch {
    /// Starts to hand over events of `feed`, for the source of this name.
    ///
    /// # Errors
    /// If the operating system gives us no thread.
    pub(super) fn start(source: &str, feed: impl Feed) -> Result<Self> {
        let (full, batches) = sync_channel(BATCHES_AHEAD);
        let (emptied, spare) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let figures = Newest::default();
        let newest = Arc::clone(&figures);
        let (stopping, stage) = (Arc::clone(&stop), StageName::of(source));
        let thread = thread::Builder::new()
            .name("kafka-fetch".into())
            .spawn(move || {
                let _stage = stage.enter();
                Fetching { feed, batch: FetchedBatch::default(), full, spare, figures: newest }.run(&stopping);
            })
            .map_err(|error| {
                Error::source(format!("cannot start the thread that reads source {source:?}")).because(error)
            })?;
        Ok(Fetch { source: source.to_owned(), batches: Some(batches), emptied, figures, stop, thread: Some(thread) })
    }

    /// Replaces `batch`, which has been read, by the next one; returns whether there was one. Never blocks.
    ///
    /// # Errors
    /// If the thread has ended, which only a defect causes; what it handed over before is read first.
    pub(super) fn refill(&mut self, batch: &mut FetchedBatch) -> Result<bool> {
        match self.batches.as_ref().map_or(Err(TryRecvError::Disconnected), Receiver::try_recv) {
            Ok(next) => {
                let mut emptied = std::mem::replace(batch, next);
                emptied.clear();
                // A thread that has ended needs none; that it has ended is noticed at the next look.
                let _ = self.emptied.send(emptied);
                Ok(true)
            }
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err(self.ended()),
        }
    }

    /// The newest figures, once.
    pub(super) fn figures(&self) -> Option<FetchFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn ended(&mut self) -> Error {
        let error =
            Error::new(ErrorKind::Internal, format!("the thread that reads source {:?} has ended", self.source));
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => error.because(format!("it panicked: {}", message(&*panic))),
            Some(Ok(())) | None => error,
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Ends a wait for room, so that the thread looks at `stop`.
        drop(self.batches.take());
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the panic hook, and a reader that is dropped has nobody to report to.
            let _ = thread.join();
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The thread's end.
struct Fetching<F> {
    feed: F,
    /// The batch that is being filled.
    batch: FetchedBatch,
    full: SyncSender<FetchedBatch>,
    spare: Receiver<FetchedBatch>,
    figures: Newest,
}

/// The worker's side has been dropped.
struct Gone;

impl<F: Feed> Fetching<F> {
    fn run(mut self, stop: &AtomicBool) {
        let mut wait = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            match self.step(wait) {
                Ok(next) => wait = next,
                Err(Gone) => return,
            }
        }
    }

    /// Takes one event, and returns how long the next step may wait for another one.
    fn step(&mut self, wait: Duration) -> Result<Duration, Gone> {
        let Fetching { feed, batch, full, spare, .. } = self;
        let mut handed_over = None;
        let next = feed.next(wait, |event| {
            if !batch.has_room_for(&event) {
                // Waits until the worker has taken a batch: with this one, and that event, memory is at its bound.
                handed_over = Some(full.send(std::mem::take(batch)));
                // Only now: a batch that the worker has emptied meanwhile is one less to allocate.
                *batch = spare.try_recv().unwrap_or_default();
            }
            batch.push(event);
        });
        if let Some(sent) = handed_over {
            sent.map_err(|_| Gone)?;
            // Some of what was fetched before these statistics may still be in the client's queue.
            self.publish(false);
        }
        match next {
            Next::Event | Next::Own => Ok(Duration::ZERO),
            Next::Nothing => {
                let wait = self.offer()?;
                self.publish(self.batch.is_empty());
                Ok(wait)
            }
        }
    }

    fn publish(&mut self, drained: bool) {
        if let Some(report) = self.feed.report() {
            *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = Some(FetchFigures { report, drained });
        }
    }

    /// Hands over the batch, full or not, if the worker has room for it; if not, it may be filled further.
    fn offer(&mut self) -> Result<Duration, Gone> {
        if self.batch.is_empty() {
            return Ok(IDLE_WAIT);
        }
        match self.full.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => {
                self.batch = self.spare.try_recv().unwrap_or_default();
                Ok(IDLE_WAIT)
            }
            Err(TrySendError::Full(batch)) => {
                self.batch = batch;
                Ok(OFFER_AGAIN)
            }
            Err(TrySendError::Disconnected(_)) => Err(Gone),
        }
    }
}

#[cfg(test)]
mod tests;
