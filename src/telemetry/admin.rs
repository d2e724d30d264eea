//! The admin server: metrics, health and the graph over HTTP, read-only.
//!
//! A request never reaches a worker: it is answered from what workers have published. Everything has a limit: one
//! request per connection, few connections, small headers, no bodies, and a deadline for each. A new connection never
//! waits for a slow one: when all slots are taken, the oldest connection is closed. There is no authentication, which
//! is why the address is on the loopback unless configured otherwise, and why a page of another site in a browser on
//! this machine is refused ([`callers`]).

mod callers;
mod routes;
mod slots;

use std::io::ErrorKind as IoErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinHandle;

use self::slots::ConnectionSlots;
use super::io::IoThread;
use super::metrics::Metrics;
use crate::error::{Error, Result};

/// Where to listen, and the limits.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// The address; port 0 lets the operating system choose one.
    pub address: SocketAddr,
    /// Whether the address was configured. If it was not, and is taken, any free port is used instead.
    pub explicit: bool,
    /// Host names that requests may be addressed to, in lower case, beside `localhost` and every IP address.
    pub hosts: Vec<String>,
    /// Limits on clients.
    pub limits: AdminLimits,
}

/// Limits on clients of the admin server.
#[derive(Clone, Copy, Debug)]
pub struct AdminLimits {
    /// Connections served at once; for a further one the oldest is closed, of those that have sent no request if there
    /// are any.
    pub connections: usize,
    /// How long a client may take to send its request.
    pub header_timeout: Duration,
    /// How long a connection may last.
    pub connection_timeout: Duration,
    /// Bytes of the request line and headers; at least 8 KiB.
    pub header_bytes: usize,
}

impl Default for AdminLimits {
    /// 64 connections, 10 s for the request, 30 s in all, 16 KiB.
    fn default() -> Self {
        AdminLimits {
            connections: 64,
            header_timeout: Duration::from_secs(10),
            connection_timeout: Duration::from_secs(30),
            header_bytes: 16 * 1024,
        }
    }
}

/// Whether the dataflow runs, as `/readyz` reports it. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const RUNNING: u8 = 1;
const STOPPING: u8 = 2;

impl Readiness {
    /// The dataflow runs. A no-op once shutdown has begun.
    pub fn running(&self) {
        // It fails only if the state has advanced, which must not be undone.
        let _ = self.0.compare_exchange(STARTING, RUNNING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Shutdown has begun.
    pub fn stopping(&self) {
        self.0.store(STOPPING, Ordering::Release);
    }

    /// Whether the dataflow runs and shutdown has not begun.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == RUNNING
    }

    /// Whether the dataflow has neither started to run nor been stopped.
    pub fn is_starting(&self) -> bool {
        self.0.load(Ordering::Acquire) == STARTING
    }

    /// The state in one word.
    pub fn as_str(&self) -> &'static str {
        match self.0.load(Ordering::Acquire) {
            STARTING => "starting",
            RUNNING => "running",
            _ => "stopping",
        }
    }
}

/// The running server; it stops when this is dropped.
pub struct Admin {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Admin {
    /// Listens and serves on `io`'s thread.
    ///
    /// # Errors
    /// Of kind `Config`, if the address cannot be listened on.
    pub fn start(io: &IoThread, options: AdminOptions, metrics: Metrics, readiness: Readiness) -> Result<Self> {
        let listener = bind(options.address, options.explicit)?;
        let failed = |e| Error::config("cannot prepare the admin server's socket").because(e);
        let address = listener.local_addr().map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = io.handle().enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        drop(runtime);
        let served = Served { metrics, readiness, hosts: options.hosts.into() };
        let accepting = io.handle().spawn(accept(listener, options.limits, served));
        tracing::info!(%address, "admin server listens");
        Ok(Admin { address, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and ends all connections.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn bind(address: SocketAddr, explicit: bool) -> Result<TcpListener> {
    let failed = |e: std::io::Error| {
        let hint = if e.kind() == IoErrorKind::AddrInUse {
            "another process listens there; choose another address, or port 0 for any free one"
        } else {
            "choose an address of this machine, and a port that this user may listen on"
        };
        Error::config(format!("cannot listen on admin address {address}")).because(e).hint(hint)
    };
    match TcpListener::bind(address) {
        Err(e) if e.kind() == IoErrorKind::AddrInUse && !explicit => {
            tracing::info!(%address, "the default admin address is taken; using any free port");
            TcpListener::bind((address.ip(), 0)).map_err(failed)
        }
        bound => bound.map_err(failed),
    }
}

/// What requests are answered from.
#[derive(Clone)]
struct Served {
    metrics: Metrics,
    readiness: Readiness,
    hosts: Arc<[String]>,
}

async fn accept(listener: tokio::net::TcpListener, limits: AdminLimits, served: Served) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes)
        .keep_alive(false);
    // Dropped with this task, which closes the connections.
    let mut slots = ConnectionSlots::new(limits.connections);
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of descriptors, or a client that is gone already: retrying at once would help neither.
                tracing::debug!(%error, "admin server cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let served = served.clone();
        slots.serve(|asked| {
            let service = service_fn(move |request| {
                asked.store(true, Ordering::Relaxed);
                let response = routes::respond(&request, &served);
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            let connection = http.serve_connection(TokioIo::new(socket), service);
            async move {
                // A client's mistake concerns the client only: it gets a response or a closed connection.
                let _ = tokio::time::timeout(limits.connection_timeout, connection).await;
            }
        });
        // Accepted connections are polled before more are accepted: in a burst, one whose request has arrived already
        // must not be closed for another.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests;
