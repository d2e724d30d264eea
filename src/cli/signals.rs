//! SIGTERM and SIGINT: the first one stops reading and lets what was read come out; the second one ends the process at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::control::Control;
use crate::telemetry::{IoThread, Readiness};

/// The exit code of a process that was told twice to end, or did not end in time.
const EXIT_FORCED: i32 = 130;

/// Handles signals on the I/O thread from now on.
pub(super) fn watch(io: &IoThread, control: Control, readiness: Readiness, grace: Duration) -> Result<()> {
    let failed = |why| Error::new(ErrorKind::Internal, "cannot handle signals").because(why);
    let runtime = io.handle().enter();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    drop(runtime);
    io.handle().spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: what was read is still written; a second signal ends at once");
        readiness.stopping();
        control.stop();
        tokio::select! {
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
            () = tokio::time::sleep(grace) => tracing::error!(?grace, "the sinks did not finish in time"),
        }
        std::process::exit(EXIT_FORCED);
    });
    Ok(())
}
