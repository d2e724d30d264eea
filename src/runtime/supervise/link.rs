//! The process's end of the link to its supervisor.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::message::{Report, STOP};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::panic;

/// How long a report may take to be sent: the supervisor reads a hundred times a second.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a process reports that it is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// A connection to the supervisor of this process. Clones share it.
#[derive(Clone, Debug)]
pub struct Link {
    process: usize,
    stream: Arc<Mutex<UnixStream>>,
}

impl Link {
    /// Connects process `process` of the cluster to the supervisor at `socket`.
    ///
    /// # Errors
    /// Of kind `Mesh`, if there is no supervisor.
    pub fn connect(socket: &Path, process: usize) -> Result<Self> {
        let failed = |why| {
            let error = Error::new(ErrorKind::Mesh, format!("process {process} cannot reach its supervisor"));
            error.because(why)
        };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_write_timeout(Some(SEND_TIMEOUT)).map_err(failed)?;
        let link = Link { process, stream: Arc::new(Mutex::new(stream)) };
        if link.tell(&Report::Hello { process }) {
            Ok(link)
        } else {
            Err(failed(std::io::ErrorKind::BrokenPipe.into()))
        }
    }

    /// Sends `report`; returns whether that succeeded.
    pub fn tell(&self, report: &Report) -> bool {
        let Ok(mut line) = serde_json::to_vec(report) else { return false };
        line.push(b'\n');
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(&line).is_ok()
    }

    /// From now on reports to the supervisor that this process is alive, calls `stop` when the supervisor asks for it,
    /// and ends this process when the supervisor is gone.
    ///
    /// # Errors
    /// Of kind `Internal`, if no thread can be started for it.
    pub fn watch(&self, mut stop: impl FnMut() + Send + 'static) -> Result<()> {
        let failed = |why| Error::new(ErrorKind::Internal, "cannot watch the supervisor").because(why);
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).try_clone().map_err(failed)?;
        let process = self.process;
        let listen = move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            // The supervisor is the same program; its lines are short.
            while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                if line == STOP {
                    stop();
                }
                line.clear();
            }
            panic::end(&format!("process {process} has lost its supervisor and stops"), ErrorKind::Mesh.exit_code());
        };
        std::thread::Builder::new().name("tidewatch-link".to_owned()).spawn(listen).map_err(failed)?;
        let link = self.clone();
        let renew = move || {
            while link.tell(&Report::Alive) {
                std::thread::sleep(ALIVE_EVERY);
            }
        };
        std::thread::Builder::new().name("tidewatch-lease".to_owned()).spawn(renew).map_err(failed)?;
        Ok(())
    }
}
