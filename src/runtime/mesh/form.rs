//! Forming the mesh: one thread owns the state and decides; one thread per candidate and per lower index does the
//! talking.
//!
//! Threads only send events, and ask before they admit anyone, so that there are no locks and two candidates with one
//! index cannot both win. The number of candidates heard at a time is bounded: when it is reached the oldest that has
//! proved nothing has to go, so that silent strangers cannot keep a process out.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::frame::Verdict;
use super::handshake::{HandshakeFailure, Local};
use super::{CANDIDATE_DEADLINE, MeshConfig, connect, mesh_error, socket};
use crate::error::{Error, Result};

/// The greatest number of candidates heard at a time; each costs a thread and two descriptors for at most 3 s.
pub(super) const CANDIDATES_MAX: usize = 64;
/// How long a candidate may keep its place when others wait for one: a handshake takes two round trips, so one of us is
/// done by then, and a flood of strangers is worked off at 256 a second.
const HEARING_MIN: Duration = Duration::from_millis(250);
/// The greatest number of refusals that are logged one by one; after that, one line says that there are more.
const LOGGED_MAX: usize = 1000;
/// The interval at which the listener is asked for new candidates.
const POLL: Duration = Duration::from_millis(5);
/// The interval at which admitted connections are checked for still being there.
const SWEEP: Duration = Duration::from_millis(200);

/// What the threads of candidates and connectors report.
pub(super) enum MeshEvent {
    /// We reached a process with a lower index.
    Connected { peer: usize, stream: TcpStream },
    /// We did not, and try again.
    Unreachable { peer: usize, reason: String },
    /// An authenticated candidate wants to be process `peer`.
    Claim { id: u64, peer: usize, answer: SyncSender<Verdict> },
    /// It knows that it is.
    Admitted { id: u64, peer: usize, stream: TcpStream },
    /// A candidate is not one of us.
    Refused { id: u64, claimed: Option<usize>, reason: String },
    /// The cluster cannot form: two processes do not fit together.
    Failed { id: Option<u64>, error: Error },
}

/// A connection that came in and has not been decided about.
struct Candidate {
    id: u64,
    address: SocketAddr,
    since: Instant,
    /// A second handle, to end the conversation.
    stream: TcpStream,
    /// The index it proved and was promised.
    promised: Option<usize>,
    /// Why we ended the conversation, if we did.
    cut: Option<&'static str>,
}

impl Candidate {
    /// Ends the conversation, for a reason that completes "when".
    fn cut(&mut self, when: &'static str) {
        if self.cut.is_none() {
            self.cut = Some(when);
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

/// One other process.
#[derive(Default)]
struct PeerSlot {
    stream: Option<TcpStream>,
    /// Why there is no stream yet.
    reason: Option<String>,
    /// Dropped to end the thread that connects.
    connector: Option<Sender<()>>,
}

/// The owner of everything while the mesh forms.
pub(super) struct Former<'a> {
    config: &'a MeshConfig,
    local: Arc<Local>,
    listener: TcpListener,
    deadline: Instant,
    slots: Vec<PeerSlot>,
    candidates: VecDeque<Candidate>,
    accepted: u64,
    refused: usize,
    accept_error: Option<io::ErrorKind>,
    events: Receiver<MeshEvent>,
    sender: Sender<MeshEvent>,
}

impl<'a> Former<'a> {
    /// Listens, and starts to connect.
    pub fn start(config: &'a MeshConfig) -> Result<Self> {
        let deadline = Instant::now() + config.deadline;
        let (sender, events) = mpsc::channel();
        let mut former = Former {
            config,
            local: Arc::new(Local::new(config)),
            listener: socket::listen(config)?,
            deadline,
            slots: config.addresses.iter().map(|_| PeerSlot::default()).collect(),
            candidates: VecDeque::new(),
            accepted: 0,
            refused: 0,
            accept_error: None,
            events,
            sender,
        };
        for peer in 0..config.index {
            former.connect(peer)?;
        }
        Ok(former)
    }

    /// Waits for all processes, and hands over their connections.
    pub fn run(mut self) -> Result<Vec<Option<TcpStream>>> {
        let outcome = self.wait();
        self.dismiss(if outcome.is_ok() { "the mesh had formed" } else { "the mesh had failed" });
        outcome?;
        tracing::info!(processes = self.slots.len(), refused = self.refused, "the mesh has formed");
        let streams: Vec<Option<TcpStream>> = self.slots.into_iter().map(|slot| slot.stream).collect();
        for (peer, stream) in streams.iter().enumerate() {
            if let Some(stream) = stream {
                socket::hand_over(stream)
                    .map_err(|e| mesh_error(format!("cannot prepare the connection to process {peer}")).because(e))?;
            }
        }
        Ok(streams)
    }

    fn wait(&mut self) -> Result<()> {
        let mut swept = Instant::now();
        loop {
            let complete = self.is_complete();
            if complete || swept.elapsed() >= SWEEP {
                self.sweep()?;
                swept = Instant::now();
            }
            if complete && self.is_complete() {
                return Ok(());
            }
            if Instant::now() >= self.deadline {
                return Err(self.missing());
            }
            self.accept();
            match self.events.recv_timeout(POLL) {
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender ourselves"),
            }
            while let Ok(event) = self.events.try_recv() {
                self.handle(event)?;
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.slots.iter().enumerate().all(|(i, slot)| i == self.config.index || slot.stream.is_some())
    }

    fn handle(&mut self, event: MeshEvent) -> Result<()> {
        match event {
            MeshEvent::Connected { peer, stream } => self.fill(peer, stream),
            MeshEvent::Unreachable { peer, reason } => {
                if self.slots[peer].reason.as_ref() != Some(&reason) {
                    tracing::info!(process = peer, address = %self.config.addresses[peer], %reason, "waiting for a process");
                    self.slots[peer].reason = Some(reason);
                }
            }
            MeshEvent::Claim { id, peer, answer } => {
                // The thread waits for the answer; if it is gone nevertheless, a refusal follows.
                let _ = answer.send(self.decide(id, peer));
            }
            MeshEvent::Admitted { id, peer, stream } => {
                self.forget(Some(id));
                self.fill(peer, stream);
            }
            MeshEvent::Refused { id, claimed, reason } => self.refuse(id, claimed, reason),
            MeshEvent::Failed { id, error } => {
                self.forget(id);
                return Err(error);
            }
        }
        Ok(())
    }

    fn forget(&mut self, id: Option<u64>) {
        self.candidates.retain(|candidate| Some(candidate.id) != id);
    }

    fn fill(&mut self, peer: usize, stream: TcpStream) {
        if self.slots[peer].stream.is_some() {
            // Only a closed one is replaced, see `decide`.
            tracing::warn!(process = peer, "a process left while the mesh formed, and came back");
        }
        tracing::debug!(process = peer, "connected");
        self.slots[peer] = PeerSlot { stream: Some(stream), reason: None, connector: None };
    }

    /// Whether an authenticated candidate may be process `peer`.
    fn decide(&mut self, id: u64, peer: usize) -> Verdict {
        let taken = self.slots[peer].stream.as_ref().is_some_and(|stream| !socket::is_closed(stream))
            || self.candidates.iter().any(|candidate| candidate.promised == Some(peer));
        match self.candidates.iter_mut().find(|candidate| candidate.id == id) {
            Some(candidate) if !taken && candidate.cut.is_none() => {
                candidate.promised = Some(peer);
                Verdict::Admitted
            }
            _ => Verdict::Duplicate,
        }
    }

    fn refuse(&mut self, id: u64, claimed: Option<usize>, reason: String) {
        let Some(at) = self.candidates.iter().position(|candidate| candidate.id == id) else { return };
        let Some(candidate) = self.candidates.remove(at) else { return };
        let reason = candidate.cut.map_or(reason, |cut| format!("had not finished its handshake when {cut}"));
        let address = candidate.address;
        if let Some(slot) = claimed.and_then(|peer| self.slots.get_mut(peer)) {
            slot.reason = Some(format!("a candidate from {address} that claimed its index {reason}"));
        }
        self.refused += 1;
        match self.refused {
            n if n <= LOGGED_MAX => tracing::warn!(peer = %address, %reason, "refused a candidate on the mesh port"),
            n if n == LOGGED_MAX + 1 => tracing::warn!("refused more candidates on the mesh port, not logged any more"),
            _ => {}
        }
    }

    /// Accepts candidates from the listener, up to the limit.
    fn accept(&mut self) {
        for _ in 0..CANDIDATES_MAX {
            if !self.make_room() {
                return;
            }
            match self.listener.accept() {
                Ok((stream, address)) => {
                    self.accept_error = None;
                    if let Err(error) = self.hear(stream, address) {
                        tracing::warn!(peer = %address, %error, "cannot hear a candidate on the mesh port");
                    }
                }
                Err(error) => {
                    // No descriptors, say: logged once, and retried at the next poll.
                    let ordinary = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind());
                    if !ordinary && self.accept_error.replace(error.kind()) != Some(error.kind()) {
                        tracing::warn!(%error, "cannot accept connections on the mesh port");
                    }
                    return;
                }
            }
        }
    }

    /// Whether another candidate can be accepted, if need be in place of the oldest one.
    fn make_room(&mut self) -> bool {
        if self.candidates.iter().filter(|candidate| candidate.cut.is_none()).count() < CANDIDATES_MAX {
            return true;
        }
        let oldest = self.candidates.iter_mut().find(|c| c.cut.is_none() && c.promised.is_none());
        match oldest {
            Some(candidate) if candidate.since.elapsed() >= HEARING_MIN => {
                candidate.cut("newer candidates needed its place");
                true
            }
            _ => false,
        }
    }

    fn hear(&mut self, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
        let id = self.accepted;
        self.accepted += 1;
        let handle = stream.try_clone()?;
        let (local, events) = (Arc::clone(&self.local), self.sender.clone());
        thread::Builder::new().name("mesh:candidate".to_string()).spawn(move || {
            let admit = |peer| {
                let (answer, verdict) = mpsc::sync_channel(1);
                let asked = events.send(MeshEvent::Claim { id, peer, answer });
                // No answer means that the mesh has failed meanwhile.
                asked.ok().and_then(|()| verdict.recv().ok()).unwrap_or(Verdict::Duplicate)
            };
            let event = match local.accept(&stream, admit) {
                Ok(peer) => MeshEvent::Admitted { id, peer, stream },
                Err(HandshakeFailure::Refused { claimed, reason }) => MeshEvent::Refused { id, claimed, reason },
                Err(HandshakeFailure::Final(error)) => MeshEvent::Failed { id: Some(id), error },
            };
            let _ = events.send(event);
        })?;
        let since = Instant::now();
        self.candidates.push_back(Candidate { id, address, since, stream: handle, promised: None, cut: None });
        Ok(())
    }

    /// Starts a thread that connects to process `peer`.
    fn connect(&mut self, peer: usize) -> Result<()> {
        let (cancel, cancelled) = mpsc::channel();
        self.slots[peer].connector = Some(cancel);
        let (local, address, deadline) = (Arc::clone(&self.local), self.config.addresses[peer].clone(), self.deadline);
        let events = self.sender.clone();
        thread::Builder::new()
            .name(format!("mesh:connect-{peer}"))
            .spawn(move || connect::run(&local, peer, &address, deadline, &events, &cancelled))
            .map_err(|e| mesh_error("cannot start a thread for the mesh").because(e))?;
        Ok(())
    }

    /// Gives up connections that the other end has closed: a process may die and be started again before all are there.
    fn sweep(&mut self) -> Result<()> {
        for peer in 0..self.slots.len() {
            if self.slots[peer].stream.as_ref().is_some_and(socket::is_closed) {
                tracing::warn!(process = peer, "a process left while the mesh formed");
                let reason = Some("left while the mesh formed".to_string());
                self.slots[peer] = PeerSlot { reason, ..PeerSlot::default() };
                if peer < self.config.index {
                    self.connect(peer)?;
                }
            }
        }
        Ok(())
    }

    /// Ends the conversations in progress; waits for the threads, so that every refusal is logged.
    fn dismiss(&mut self, occasion: &'static str) {
        for slot in &mut self.slots {
            slot.connector = None;
        }
        // What has been decided already keeps its own reason.
        while let Ok(event) = self.events.try_recv() {
            self.wind_up(event);
        }
        self.candidates.iter_mut().for_each(|candidate| candidate.cut(occasion));
        let patience = Instant::now() + CANDIDATE_DEADLINE;
        while !self.candidates.is_empty() && Instant::now() < patience {
            if let Ok(event) = self.events.recv_timeout(POLL) {
                self.wind_up(event);
            }
        }
    }

    /// Handles an event after the outcome is known.
    fn wind_up(&mut self, event: MeshEvent) {
        match event {
            // The thread waits for the answer; if it is gone nevertheless, a refusal follows.
            MeshEvent::Claim { answer, .. } => drop(answer.send(Verdict::Duplicate)),
            MeshEvent::Refused { id, claimed, reason } => self.refuse(id, claimed, reason),
            MeshEvent::Admitted { id, .. } => self.forget(Some(id)),
            MeshEvent::Failed { id, .. } => self.forget(id),
            MeshEvent::Connected { .. } | MeshEvent::Unreachable { .. } => {}
        }
    }

    /// Which processes are missing, their addresses, and the last known reason.
    fn missing(&self) -> Error {
        let missing: Vec<String> = (self.slots.iter().enumerate())
            .filter(|(peer, slot)| *peer != self.config.index && slot.stream.is_none())
            .map(|(peer, slot)| {
                let reason = slot.reason.as_deref().unwrap_or("has not connected to this process");
                format!("process {peer} ({}): {reason}", self.config.addresses[peer])
            })
            .collect();
        let (seconds, missing) = (self.config.deadline.as_secs_f32(), missing.join("; "));
        mesh_error(format!(
            "the mesh did not form within {seconds} s; still missing for process {}: {missing}",
            self.config.index
        ))
        .hint("start the missing processes, and let all use the same addresses and the same secret")
    }
}
