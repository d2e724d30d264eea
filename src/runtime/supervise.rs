//! Supervision of the local processes of a cluster: starts them, stops them together, and says in one line which one was lost
//! and how.
//!
//! Each process is connected to its supervisor by a socket ([`Link`]), in a folder that nobody else can enter. Over it goes
//! the request to stop one way, and what became of the process the other way; its end tells a process that the supervisor
//! is gone, so that none lingers. Timely re-admits nobody, so the loss of one process ends all of them; [`Restarts`] says whether and
//! when all begin again.

mod cause;
mod link;
mod member;
mod message;
mod restarts;
mod rows;
#[cfg(test)]
mod tests;

use std::io::ErrorKind as IoErrorKind;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::cause::Trouble;
pub use self::link::Link;
use self::member::{Connection, Member};
pub use self::message::{Finished, Report};
pub use self::restarts::Restarts;
use crate::error::{Error, ErrorKind, Result};

/// The interval at which the supervisor looks after its processes.
const POLL: Duration = Duration::from_millis(10);

/// How long a process may say nothing before it counts as lost. It says something every second.
const LEASE: Duration = Duration::from_secs(10);

/// A pause of the supervisor itself after which nobody's silence means anything.
const OWN_PAUSE: Duration = Duration::from_secs(1);

/// How long the supervisor waits after the first sign of trouble for the others to end by themselves, and for the cause of
/// it: the process that was lost may be seen after those that lost it.
const SETTLE: Duration = Duration::from_millis(500);

/// How long the rows of processes that ended badly may take to be passed on.
const LAST_ROWS: Duration = Duration::from_secs(1);

/// How often the supervisor was told to stop. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct StopRequests(Arc<AtomicUsize>);

impl StopRequests {
    /// Adds a request: the first one lets the processes finish, the second one ends them.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// How often.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// How a cluster ended, if not with an error.
#[derive(Debug)]
pub enum Ending {
    /// Every process finished; this is what they counted together, and whether they were stopped.
    Finished(Finished, bool),
    /// A second request, or the end of the grace period, cut it short.
    Forced,
}

/// The supervisor of running processes. Dropping it ends them.
pub struct Supervisor {
    listener: UnixListener,
    members: Vec<Member>,
    /// Connections that have not said which process they are.
    strangers: Vec<Connection>,
    troubles: Vec<Trouble>,
    troubled: Option<Instant>,
    stopping: bool,
}

impl Supervisor {
    /// Starts `commands`, in process order. They must connect to `socket` with [`Link::connect`]; their standard output is
    /// passed on in whole lines.
    ///
    /// # Errors
    /// Of kind `Mesh`, if the socket cannot be made or a process cannot be started.
    pub fn start(socket: &Path, commands: Vec<Command>) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|why| {
                let error = Error::new(ErrorKind::Mesh, format!("cannot make the socket {socket:?}")).because(why);
                error.hint("TMPDIR must name a folder with a short path in which this user may make sockets")
            })?;
        let mut supervisor = Supervisor {
            listener,
            members: Vec::with_capacity(commands.len()),
            strangers: Vec::new(),
            troubles: Vec::new(),
            troubled: None,
            stopping: false,
        };
        for (process, command) in commands.into_iter().enumerate() {
            supervisor.members.push(Member::start(process, command)?);
        }
        Ok(supervisor)
    }

    /// Looks after the processes until all have ended.
    ///
    /// # Errors
    /// What ended the cluster: the error of a process that failed, with its kind; or of kind `Mesh` and in one line, which
    /// process was lost and how.
    pub fn run(mut self, requests: &StopRequests) -> Result<Ending> {
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= OWN_PAUSE {
                self.members.iter_mut().for_each(Member::renew);
            }
            looked = Instant::now();
            let ended = self.members.iter_mut().map(Member::reap).filter(|ended| *ended).count();
            // After the processes were asked whether they had ended: what they said before is then all there.
            self.listen();
            self.judge();
            match requests.count() {
                0 => {}
                1 => self.stop(),
                _ => return Ok(Ending::Forced),
            }
            if ended == self.members.len() || self.troubled.is_some_and(|since| since.elapsed() >= SETTLE) {
                break;
            }
            thread::sleep(POLL);
        }
        self.conclude(requests)
    }

    fn conclude(mut self, requests: &StopRequests) -> Result<Ending> {
        self.members.iter_mut().for_each(Member::kill);
        let patience = Instant::now() + LAST_ROWS;
        while self.members.iter().any(|member| !member.rows_passed_on()) {
            if !self.troubles.is_empty() && Instant::now() >= patience {
                break;
            }
            if requests.count() > 1 {
                return Ok(Ending::Forced);
            }
            thread::sleep(POLL);
        }
        if let Some(trouble) = cause::first(std::mem::take(&mut self.troubles)) {
            return if trouble.is_forced() { Ok(Ending::Forced) } else { Err(trouble.into_error()) };
        }
        let mut all = Finished::default();
        self.members.iter_mut().filter_map(|member| member.finished.take()).for_each(|finished| all.merge(&finished));
        Ok(Ending::Finished(all, self.stopping))
    }

    /// Asks every process to finish.
    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            tracing::info!(
                "stopping: what was read is still written; a second signal, a second later or more, ends at once"
            );
        }
        self.members.iter_mut().for_each(Member::stop);
    }

    /// Hears what the processes have to say.
    fn listen(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.strangers.extend(Connection::new(stream).ok()),
                Err(why) if why.kind() == IoErrorKind::Interrupted => {}
                Err(why) => {
                    if why.kind() != IoErrorKind::WouldBlock {
                        tracing::debug!(%why, "cannot accept a process's connection");
                    }
                    break;
                }
            }
        }
        for mut connection in std::mem::take(&mut self.strangers) {
            let mut reports = connection.read().into_iter();
            match reports.next() {
                Some(Report::Hello { process }) if process < self.members.len() => {
                    self.members[process].connected(connection);
                    reports.for_each(|report| self.take(process, report));
                }
                None if connection.is_open() => self.strangers.push(connection),
                _ => {}
            }
        }
        for process in 0..self.members.len() {
            for report in self.members[process].hear() {
                self.take(process, report);
            }
        }
    }

    fn take(&mut self, process: usize, report: Report) {
        match report {
            Report::Hello { .. } | Report::Alive => {}
            Report::Signalled => self.stop(),
            Report::Finished(finished) => self.members[process].finished = Some(finished),
            Report::Failed { code, message } => self.trouble(process, Trouble::Failed { code, message }),
            Report::Lost { message } => {
                let pid = self.members[process].pid();
                self.trouble(process, Trouble::Lost { process, pid, message });
            }
        }
    }

    /// Sees to processes that ended without a word, and to those that say nothing.
    fn judge(&mut self) {
        for process in 0..self.members.len() {
            let member = &self.members[process];
            if member.is_silent_for(LEASE) {
                let trouble = Trouble::Silent { process, pid: member.pid(), lease: LEASE };
                self.trouble(process, trouble);
                continue;
            }
            if let Some(status) = member.unexplained(self.stopping) {
                let trouble = Trouble::Exited { process, pid: member.pid(), status };
                self.trouble(process, trouble);
            }
        }
    }

    fn trouble(&mut self, process: usize, trouble: Trouble) {
        self.members[process].explained = true;
        self.troubles.push(trouble);
        self.troubled.get_or_insert_with(Instant::now);
    }
}
