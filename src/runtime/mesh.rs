//! The bootstrap of the mesh: one authenticated TCP connection between every two processes of a cluster.
//!
//! Every process listens on its own address and connects to all processes with a lower index. Both ends prove that they
//! know the shared secret, and that they run the same build with the same configuration, before a socket is handed to
//! timely; whoever else reaches the port is refused, logged once, and delays nobody. The frames and what they defend
//! against are in `docs/design/0002-mesh.md`. Nothing is encrypted: someone on the path can read and alter the data.

mod build;
mod connect;
mod form;
mod frame;
mod handshake;
pub mod hosts;
mod secret;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

pub use build::build_id;
pub use frame::fuzz;
pub use secret::{SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret};
pub use socket::free_loopback_addresses;

use crate::error::{Error, ErrorKind, Result};

/// How long the mesh may take to form by default, from the first `bind` to the last admitted process.
pub const FORM_DEADLINE: Duration = Duration::from_secs(60);

/// How long one candidate may take from connecting to its last byte of the handshake.
pub const CANDIDATE_DEADLINE: Duration = Duration::from_secs(3);

/// The greatest number of processes in a cluster.
pub const PROCESSES_MAX: usize = 1024;

/// The greatest length of a cluster name, build id or configuration fingerprint, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 256;

/// What two processes must have in common to work together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of the cluster, so that two clusters with one secret cannot mix.
    pub cluster: String,
    /// The build that runs, see [`build_id`]: timely's data format is only defined within one binary.
    pub build: String,
    /// A fingerprint of the configuration: workers that build different dataflows corrupt each other.
    pub config: String,
    /// Counts the starts of the cluster, so that a leftover of an earlier start cannot join.
    pub generation: u64,
}

/// What a process needs to know to join the mesh.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// The address (`host:port`) of every process, in process order; at most [`PROCESSES_MAX`].
    pub addresses: Vec<String>,
    /// Which of `addresses` is this process.
    pub index: usize,
    /// Workers in this process; the same in all.
    pub threads: usize,
    /// The secret all processes share. Without one, only loopback addresses are allowed.
    pub secret: Option<Secret>,
    /// What the other processes must have in common with this one.
    pub identity: Identity,
    /// Where to listen, if that is not `addresses[index]` (behind address translation, in a container).
    pub bind: Option<SocketAddr>,
    /// Allows addresses that are not loopback without a secret; a warning at every start.
    pub insecure: bool,
    /// How long the mesh may take to form, by default [`FORM_DEADLINE`].
    pub deadline: Duration,
}

impl MeshConfig {
    /// The configuration of process `index` of `addresses`, without a secret and with the default deadline.
    pub fn new(addresses: Vec<String>, index: usize, threads: usize, identity: Identity) -> Self {
        MeshConfig {
            addresses,
            index,
            threads,
            secret: None,
            identity,
            bind: None,
            insecure: false,
            deadline: FORM_DEADLINE,
        }
    }

    /// What can be said about the configuration without touching the network.
    fn check(&self) -> Result<()> {
        let processes = self.addresses.len();
        if processes > PROCESSES_MAX {
            return Err(Error::config(format!("{processes} processes are more than the limit of {PROCESSES_MAX}")));
        }
        if self.index >= processes {
            return Err(Error::config(format!("process index {} is not below {processes} processes", self.index)));
        }
        if self.threads == 0 || u32::try_from(self.threads).is_err() {
            return Err(Error::config(format!("{} workers per process are not between 1 and 2^32", self.threads)));
        }
        let Identity { cluster, build, config, .. } = &self.identity;
        for (what, text) in [("cluster name", cluster), ("build id", build), ("configuration fingerprint", config)] {
            if text.len() > TEXT_BYTES_MAX {
                let length = text.len();
                return Err(Error::config(format!("the {what} has {length} bytes, more than {TEXT_BYTES_MAX}")));
            }
        }
        let mut seen = BTreeSet::new();
        for address in &self.addresses {
            hosts::check_address(address).map_err(Error::config)?;
            if !seen.insert(address.to_ascii_lowercase()) {
                return Err(Error::config(format!("two processes have the mesh address {address:?}")));
            }
        }
        // A single process opens no port.
        if processes > 1 { self.check_exposure() } else { Ok(()) }
    }

    /// Refuses a mesh that anybody on the network could join.
    fn check_exposure(&self) -> Result<()> {
        let bind = self.bind.map(|address| address.to_string());
        let exposed = self.addresses.iter().chain(&bind).find(|address| !is_loopback(address));
        match (exposed, &self.secret) {
            (Some(address), None) if self.insecure => {
                tracing::warn!(%address, "the mesh has no secret: whoever reaches its port can join and feed it data");
                Ok(())
            }
            (Some(address), None) => {
                Err(Error::config(format!("the mesh address {address:?} is not loopback and there is no secret"))
                    .hint("give all processes the same secret: --secret-file FILE, a file of at least 16 random bytes"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether `address` (`host:port`) is certainly reachable from this host alone. Other names are not looked up: what
/// they mean can change.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Connects this process with all others; blocks until all are there.
///
/// The sockets are in process order with `None` for this process, blocking and without timeouts: what timely's
/// `initialize_networking_from_sockets` expects. The listener is closed on return.
///
/// # Errors
/// Of kind `Config` if the configuration is at fault; of kind `Mesh` if the own address cannot be listened on, if
/// processes are still missing after the deadline (names them, and why), or at once if an authenticated process runs
/// another build, configuration, generation, cluster or size.
pub fn form(config: &MeshConfig) -> Result<Vec<Option<TcpStream>>> {
    config.check()?;
    if config.addresses.len() == 1 {
        return Ok(vec![None]);
    }
    form::Former::start(config)?.run()
}

/// An error of the mesh.
fn mesh_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Mesh, message)
}
