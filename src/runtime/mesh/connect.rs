//! Connects to one process with a lower index: retries until it answers or the attempt is cancelled.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::CANDIDATE_DEADLINE;
use super::form::MeshEvent;
use super::handshake::{HandshakeFailure, Local};

/// The pause after the first failed attempt; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Connects to process `peer` at `address` until that succeeds, fails for good, the deadline passes, or the sender of
/// `cancelled` is dropped. The outcome, and why each attempt failed, goes to `events`.
pub(super) fn run(
    local: &Arc<Local>,
    peer: usize,
    address: &str,
    deadline: Instant,
    events: &Sender<MeshEvent>,
    cancelled: &Receiver<()>,
) {
    let mut pause = PAUSE_MIN;
    loop {
        let event = match attempt(local, peer, address, deadline) {
            Ok(stream) => MeshEvent::Connected { peer, stream },
            Err(HandshakeFailure::Final(error)) => MeshEvent::Failed { id: None, error },
            Err(HandshakeFailure::Refused { reason, .. }) => MeshEvent::Unreachable { peer, reason },
        };
        let again = matches!(event, MeshEvent::Unreachable { .. });
        if events.send(event).is_err() || !again || Instant::now() + pause >= deadline {
            return;
        }
        if cancelled.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn attempt(local: &Local, peer: usize, address: &str, deadline: Instant) -> Result<TcpStream, HandshakeFailure> {
    let stream = open(address, deadline)
        .map_err(|error| HandshakeFailure::Refused { claimed: None, reason: format!("cannot be reached: {error}") })?;
    local.connect(&stream, peer)?;
    Ok(stream)
}

/// Opens a connection to the first address that `address` resolves to at present and that answers.
fn open(address: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in address.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now()).min(CANDIDATE_DEADLINE);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&target, left) {
            Ok(stream) if is_self_connected(&stream) => {
                last = io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there");
            }
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// On loopback, a connection to a free port can meet itself if the kernel picks that port as its own. It must go at
/// once and without a trace (hence the reset), because it keeps the process we wait for from listening.
fn is_self_connected(stream: &TcpStream) -> bool {
    let itself = matches!((stream.local_addr(), stream.peer_addr()), (Ok(a), Ok(b)) if a == b);
    if itself {
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    itself
}
