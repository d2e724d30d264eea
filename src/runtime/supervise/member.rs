//! One process under supervision, and its connection.

use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::message::{Finished, LINE_BYTES_MAX, Report, STOP};
use super::rows::RowForwarder;
use crate::error::{Error, ErrorKind, Result};

/// A process that the supervisor started, and may end.
pub(super) struct Member {
    child: Child,
    status: Option<ExitStatus>,
    connection: Option<Connection>,
    rows: Option<RowForwarder>,
    /// Whether the supervisor ended it.
    killed: bool,
    /// Whether it was asked to finish.
    stopped: bool,
    /// When its last report came, once it is connected.
    heard: Option<Instant>,
    /// Whether the reason why it ended, or will end, is known.
    pub(super) explained: bool,
    /// Its totals, once it has finished.
    pub(super) finished: Option<Finished>,
}

impl Member {
    pub(super) fn start(process: usize, mut command: Command) -> Result<Self> {
        let failed = |why| Error::new(ErrorKind::Mesh, format!("cannot start process {process}")).because(why);
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
        let stdout = child.stdout.take();
        tracing::info!(process, pid = child.id(), "started");
        let mut member = Member {
            child,
            status: None,
            connection: None,
            rows: None,
            killed: false,
            stopped: false,
            heard: None,
            explained: false,
            finished: None,
        };
        if let Some(stdout) = stdout {
            // Dropping a member ends its process.
            member.rows = Some(RowForwarder::pass_on(process, stdout).map_err(failed)?);
        }
        Ok(member)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(super) fn reap(&mut self) -> bool {
        if self.status.is_none() {
            // It is our child, so there can be no error.
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    /// Ends it, if it has not ended.
    pub(super) fn kill(&mut self) {
        if !self.reap() {
            self.killed = true;
            // It may exit by itself at this moment.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    pub(super) fn connected(&mut self, connection: Connection) {
        self.connection = Some(connection);
        self.heard = Some(Instant::now());
    }

    /// Asks it to finish, once it is connected.
    pub(super) fn stop(&mut self) {
        if let Some(connection) = &mut self.connection
            && !self.stopped
        {
            self.stopped = true;
            connection.send(STOP);
        }
    }

    /// Its reports since the last call.
    pub(super) fn hear(&mut self) -> Vec<Report> {
        let reports = self.connection.as_mut().map(Connection::read).unwrap_or_default();
        if !reports.is_empty() {
            self.renew();
        }
        reports
    }

    /// Counts as having reported just now.
    pub(super) fn renew(&mut self) {
        self.heard = self.heard.map(|_| Instant::now());
    }

    /// Whether it is connected, still running, and has not reported for `lease`.
    pub(super) fn is_silent_for(&self, lease: Duration) -> bool {
        let busy = self.status.is_none() && self.finished.is_none() && !self.explained;
        busy && self.heard.is_some_and(|heard| heard.elapsed() >= lease)
    }

    /// Its exit status, if it did not finish and nothing else explains that.
    pub(super) fn unexplained(&self, stopping: bool) -> Option<ExitStatus> {
        let status = self.status.filter(|_| !self.explained && !self.killed)?;
        let fine = status.success() && (self.finished.is_some() || stopping);
        (!fine).then_some(status)
    }

    pub(super) fn rows_passed_on(&self) -> bool {
        self.rows.as_ref().is_none_or(RowForwarder::passed_on)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The supervisor's end of a link.
pub(super) struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
    open: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, unread: Vec::new(), open: true })
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// The reports that have arrived, without waiting.
    pub(super) fn read(&mut self) -> Vec<Report> {
        let mut buffer = [0; 16 * 1024];
        while self.open {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
                Err(why) if why.kind() == IoErrorKind::Interrupted => {}
                Err(why) if why.kind() == IoErrorKind::WouldBlock => break,
                Err(_) => self.open = false,
            }
            self.open &= self.unread.len() <= LINE_BYTES_MAX;
        }
        let Some(end) = memchr::memrchr(b'\n', &self.unread) else { return Vec::new() };
        let rest = self.unread.split_off(end + 1);
        let lines = std::mem::replace(&mut self.unread, rest);
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Sends a few bytes; a process that does not accept them is lost, which will show otherwise.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }
}
