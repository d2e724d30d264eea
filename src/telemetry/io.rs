//! The one thread for waiting on the outside for anything but data: admin requests, signals.
//!
//! It runs a tokio runtime of its own, so that none of this can take time from a worker's step.

use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};

/// The thread `tidewatch-io` and its runtime; it stops when this is dropped.
pub struct IoThread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl IoThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Of kind `Internal`, if the operating system has no thread or no poll descriptor for it.
    pub fn start() -> Result<Self> {
        let failed = |e| Error::new(ErrorKind::Internal, "cannot start thread \"tidewatch-io\"").because(e);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            // An error means that the sender is gone, which is the same request.
            let _ = runtime.block_on(stopped);
        };
        let thread = std::thread::Builder::new().name("tidewatch-io".into()).spawn(run).map_err(failed)?;
        Ok(IoThread { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// The runtime, to spawn further tasks on. They must not block, and end when the thread stops.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends all tasks and waits for the thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic on that thread has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}
