//! Sockets of the mesh: options, deadlines, liveness, listening.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::{MeshConfig, mesh_error};
use crate::error::{Error, Result};

/// How long a connection may be idle before the kernel asks whether the peer is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// The interval between such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How many unanswered questions end the connection.
const KEEPALIVE_PROBES: u32 = 3;
/// How long sent data may stay unacknowledged before the connection ends.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an own address that is still in use is tried again: the previous start may be on its way out, and an
/// outgoing connection may hold the port for a moment.
const BIND_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between such attempts.
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// Makes a dead or unreachable peer show as an error within about ten seconds, and small messages leave at once.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// Undoes what the handshake set: timely wants to block for as long as it takes.
pub(super) fn hand_over(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    stream.set_nonblocking(false)
}

/// Whether the other end has closed or broken the connection. Takes nothing from it.
pub(super) fn is_closed(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let blocking = stream.set_nonblocking(false);
    match peeked {
        Ok(read) => read == 0 || blocking.is_err(),
        Err(error) => error.kind() != io::ErrorKind::WouldBlock || blocking.is_err(),
    }
}

/// A socket whose reads and writes all end by one point in time, however slowly the other end trickles.
pub(super) struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl<'a> Timed<'a> {
    pub fn new(stream: &'a TcpStream, deadline: Instant) -> Self {
        Timed { stream, deadline }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Listens on the configured address and on no other. Does not block in `accept`.
pub(super) fn listen(config: &MeshConfig) -> Result<TcpListener> {
    let own = &config.addresses[config.index];
    let place = config.bind.map_or_else(|| own.clone(), |bind| bind.to_string());
    let failed = |error: io::Error| -> Error {
        mesh_error(format!("process {} cannot listen on {place:?}", config.index))
            .because(error)
            .hint("the address must belong to this host and be free; mesh bind overrides it")
    };
    let candidates: Vec<SocketAddr> = match config.bind {
        Some(bind) => vec![bind],
        None => own.to_socket_addrs().map_err(failed)?.collect(),
    };
    let patience = Instant::now() + BIND_PATIENCE.min(config.deadline);
    loop {
        match TcpListener::bind(&candidates[..]) {
            Ok(listener) => {
                listener.set_nonblocking(true).map_err(failed)?;
                return Ok(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience => {
                thread::sleep(BIND_PAUSE);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Addresses on loopback for `processes` local processes, each with a port that is free now.
///
/// Nothing holds the ports until the processes listen on them.
///
/// # Errors
/// If the operating system has no free ports.
pub fn free_loopback_addresses(processes: usize) -> Result<Vec<String>> {
    let failed = |error: io::Error| mesh_error("cannot find free ports on 127.0.0.1").because(error);
    // All are held until all are found, so that none is given twice.
    let mut held = Vec::with_capacity(processes);
    for _ in 0..processes {
        held.push(TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?);
    }
    held.iter().map(|listener| Ok(listener.local_addr().map_err(failed)?.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_connections_are_seen_without_taking_data() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut near, _) = listener.accept().unwrap();
        assert!(!is_closed(&near));
        far.write_all(b"x").unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let mut byte = [0];
        near.peek(&mut byte).unwrap();
        assert!(!is_closed(&near), "there is data before the end");
        near.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        assert_eq!(near.read(&mut byte).unwrap(), 0);
        assert!(is_closed(&near));
    }

    #[test]
    fn trickling_does_not_move_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        let writer = thread::spawn(move || {
            while far.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let start = Instant::now();
        let mut timed = Timed::new(&near, start + Duration::from_millis(200));
        let error = timed.read_exact(&mut [0; 1000]).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        drop(near);
        writer.join().unwrap();
    }

    #[test]
    fn options_are_set() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        }
        stream.set_read_timeout(Some(USER_TIMEOUT)).unwrap();
        hand_over(&stream).unwrap();
        assert_eq!(stream.read_timeout().unwrap(), None);
    }
}
