//! SIGTERM and SIGINT: the first one stops reading and lets what was read come out; the second one ends the process at once.
//!
//! Signals within a second are one: `timeout` and service managers send one to the process and one to its group, and what was
//! meant as a request to finish must not cut the run short.
//!
//! A process under a supervisor passes signals on and does nothing by itself: a terminal sends Ctrl-C to all processes at
//! once, and service managers may do the same, so only the supervisor can tell a second signal from the same one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::control::Control;
use crate::runtime::supervise::{Link, Report, StopRequests};
use crate::telemetry::{IoThread, Readiness};

/// The exit code of a process that was told twice to end, or did not end in time.
pub(super) const EXIT_FORCED: u8 = 130;

/// How long after a signal others count as the same one.
pub(super) const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// What a stop does to a running dataflow.
#[derive(Clone)]
pub(super) struct Stopping {
    pub control: Control,
    pub readiness: Readiness,
    /// How long the sinks may take.
    pub grace: Duration,
}

impl Stopping {
    fn begin(&self) {
        self.readiness.stopping();
        self.control.stop();
    }
}

/// Handles the signals of a process on its own on the I/O thread from now on.
pub(super) fn watch(io: &IoThread, stopping: Stopping) -> Result<()> {
    let mut signals = Signals::listen(io)?;
    io.handle().spawn(async move {
        signals.next().await;
        if stopping.readiness.is_starting() {
            // Nothing was read, so that there is nothing to wait for: not even for the other processes of a mesh.
            tracing::info!("stopped before the dataflow ran");
            std::process::exit(0);
        }
        tracing::info!(
            "stopping: what was read is still written; a second signal, a second later or more, ends at once"
        );
        stopping.begin();
        tokio::select! {
            () = signals.next() => {},
            () = tokio::time::sleep(stopping.grace) => overdue(stopping.grace),
        }
        std::process::exit(EXIT_FORCED.into());
    });
    Ok(())
}

/// Handles the signals of a process under a supervisor, and the supervisor's request to stop.
pub(super) fn watch_supervised(io: &IoThread, stopping: &Stopping, link: &Link) -> Result<()> {
    let told = link.clone();
    let mut signals = Signals::listen(io)?;
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let (begun, grace) = (stopping.clone(), stopping.grace);
    link.watch(move || {
        begun.begin();
        stopped.notify_one();
    })?;
    io.handle().spawn(async move {
        loop {
            signals.next().await;
            told.tell(&Report::Signalled);
        }
    });
    io.handle().spawn(async move {
        stop.notified().await;
        tokio::time::sleep(grace).await;
        overdue(grace);
        std::process::exit(EXIT_FORCED.into());
    });
    Ok(())
}

/// Counts the signals of a supervisor.
pub(super) fn count(io: &IoThread) -> Result<StopRequests> {
    let mut signals = Signals::listen(io)?;
    let requests = StopRequests::default();
    let counted = requests.clone();
    io.handle().spawn(async move {
        loop {
            signals.next().await;
            counted.add();
        }
    });
    Ok(requests)
}

/// Waits for `time`, or until a signal; says whether there was none.
pub(super) fn wait(requests: &StopRequests, time: Duration) -> bool {
    let until = Instant::now() + time;
    while requests.count() == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    requests.count() == 0
}

fn overdue(grace: Duration) {
    tracing::error!(?grace, "the sinks did not finish in time");
}

/// The signals that ask a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    apart: Apart,
}

/// Tells signals apart, by the time between them.
#[derive(Default)]
struct Apart {
    /// The last one that counted.
    counted: Option<Instant>,
}

impl Apart {
    /// Whether a signal at `now` is another one than the last that counted.
    fn counts(&mut self, now: Instant) -> bool {
        let another = self.counted.is_none_or(|last| now.saturating_duration_since(last) >= SAME_SIGNAL);
        if another {
            self.counted = Some(now);
        }
        another
    }
}

impl Signals {
    fn listen(io: &IoThread) -> Result<Self> {
        let failed = |why| Error::new(ErrorKind::Internal, "cannot handle signals").because(why);
        let _runtime = io.handle().enter();
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            apart: Apart::default(),
        })
    }

    /// Waits for a signal that is not the last one over again.
    async fn next(&mut self) {
        loop {
            tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
            if self.apart.counts(Instant::now()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_within_a_second_are_one() {
        let start = Instant::now();
        let mut apart = Apart::default();
        let mut at = |ms| apart.counts(start + Duration::from_millis(ms));
        assert!(at(0));
        assert!(!at(0) && !at(1) && !at(999));
        // A second after the one that counted, however many there were meanwhile.
        assert!(at(1_000));
        assert!(!at(1_999));
        assert!(at(2_000));
    }
}
