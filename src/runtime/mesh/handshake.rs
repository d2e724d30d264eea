//! The handshake: each end proves that it knows the secret, then both compare who they are.
//!
//! ```text
//! connector                                  listener
//!     greeting: indexes, nonce         ->
//!                                      <-    greeting: indexes, nonce
//!     proof: identity, MAC             ->    verifies, compares, decides
//!     verifies, compares               <-    reply: verdict, identity, MAC
//! ```
//!
//! A MAC covers its sender's role and everything said so far, so that none can be replayed or reflected. The listener
//! says nothing about itself to someone who has not proved the secret. A difference is only believed from someone who
//! has; then it is final, for both ends.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::frame::{
    GREETING_BYTES, Greeting, MAC_BYTES, MemberIdentity, Proof, Reply, Role, Verdict, describe, push_block,
};
use super::secret::fill_random;
use super::socket::{Timed, prepare};
use super::{CANDIDATE_DEADLINE, MeshConfig, mesh_error};
use crate::error::{Error, Result};

/// This end of every handshake.
pub(super) struct Local {
    pub index: usize,
    member: MemberIdentity,
    /// The shared secret; empty without one, so that everything else is still checked.
    key: Vec<u8>,
}

/// How a handshake failed.
pub(super) enum HandshakeFailure {
    /// The other end is not, or not yet, one of us; says why. Another may come.
    Refused { claimed: Option<usize>, reason: String },
    /// The other end knows the secret, and we cannot work together.
    Final(Error),
}

impl HandshakeFailure {
    fn refused(claimed: Option<u32>, reason: impl Into<String>) -> Self {
        HandshakeFailure::Refused { claimed: claimed.map(|index| index as usize), reason: reason.into() }
    }
}

impl Local {
    pub fn new(config: &MeshConfig) -> Self {
        let number = |n: usize| u32::try_from(n).expect("checked against the limits before the mesh forms");
        Local {
            index: config.index,
            member: MemberIdentity {
                identity: config.identity.clone(),
                processes: number(config.addresses.len()),
                threads: number(config.threads),
            },
            key: config.secret.as_ref().map_or_else(Vec::new, |secret| secret.as_bytes().to_vec()),
        }
    }

    /// Greets process `peer` at the other end of a connection we opened.
    pub fn connect(&self, stream: &TcpStream, peer: usize) -> Result<(), HandshakeFailure> {
        let refused = |reason: String| HandshakeFailure::refused(None, reason);
        let broken = |error: std::io::Error| refused(describe(&error));
        prepare(stream).map_err(broken)?;
        let mut timed = Timed::new(stream, Instant::now() + CANDIDATE_DEADLINE);
        let mine = self.greeting(Role::Connector, peer as u32)?.encode();
        timed.write_all(&mine).map_err(broken)?;

        let greeting = Greeting::read(&mut timed, Role::Listener).map_err(refused)?;
        if greeting.from as usize != peer {
            return Err(refused(format!("says that it is process {}, not {peer}", greeting.from)));
        }
        let theirs = greeting.encode();
        let own = self.member.encode();
        let mac = self.seal(b"connector", &[&mine, &theirs], &[&own]).finalize().into_bytes().into();
        timed.write_all(&Proof { member: own.clone(), mac }.encode()).map_err(broken)?;

        // The listener answers a wrong proof by closing, so that is what a wrong secret looks like from here.
        let reply = Reply::read(&mut timed)
            .map_err(|reason| refused(format!("{reason} after our proof; does it use another secret?")))?;
        let verdict = [reply.verdict as u8];
        self.seal(b"listener", &[&mine, &theirs], &[&own, &verdict, &reply.member])
            .verify_slice(&reply.mac)
            .map_err(|_| refused("uses another secret".to_string()))?;
        let member = MemberIdentity::decode(&reply.member).map_err(refused)?;
        self.compare(&member, peer).map_err(HandshakeFailure::Final)?;
        match reply.verdict {
            Verdict::Admitted => Ok(()),
            Verdict::Duplicate => Err(refused(format!("has another connection from a process {}", self.index))),
            Verdict::Mismatch => Err(refused("found a mismatch where we find none".to_string())),
            Verdict::WrongIndex => Err(HandshakeFailure::Final(
                mesh_error(format!("process {peer} does not take this process for process {}", self.index))
                    .hint("every process needs the same addresses in the same order, and an index of its own"),
            )),
        }
    }

    /// Hears whoever is at the other end of a connection that came in. `admit` decides about an authenticated index,
    /// and what it admits is in the mesh once the reply is sent.
    pub fn accept(&self, stream: &TcpStream, admit: impl FnOnce(usize) -> Verdict) -> Result<usize, HandshakeFailure> {
        let broken = |error: std::io::Error| HandshakeFailure::refused(None, describe(&error));
        prepare(stream).map_err(broken)?;
        let mut timed = Timed::new(stream, Instant::now() + CANDIDATE_DEADLINE);
        let greeting = Greeting::read(&mut timed, Role::Connector).map_err(|r| HandshakeFailure::refused(None, r))?;
        let claimed = Some(greeting.from);
        let refused = |reason: String| HandshakeFailure::refused(claimed, reason);
        let broken = |error: std::io::Error| refused(describe(&error));
        let theirs = greeting.encode();
        let mine = self.greeting(Role::Listener, greeting.from)?.encode();
        timed.write_all(&mine).map_err(broken)?;

        let proof = Proof::read(&mut timed).map_err(refused)?;
        self.seal(b"connector", &[&theirs, &mine], &[&proof.member])
            .verify_slice(&proof.mac)
            .map_err(|_| refused("uses another secret".to_string()))?;
        let member = MemberIdentity::decode(&proof.member).map_err(refused)?;

        let peer = greeting.from as usize;
        let difference = self.compare(&member, peer);
        let fits = greeting.to as usize == self.index && peer > self.index && peer < self.member.processes as usize;
        let verdict = match &difference {
            Err(_) => Verdict::Mismatch,
            Ok(()) if !fits => Verdict::WrongIndex,
            Ok(()) => admit(peer),
        };
        let own = self.member.encode();
        let seal = self.seal(b"listener", &[&theirs, &mine], &[&proof.member, &[verdict as u8], &own]);
        let reply = Reply { verdict, member: own, mac: seal.finalize().into_bytes().into() }.encode();
        let sent = timed.write_all(&reply);
        difference.map_err(HandshakeFailure::Final)?;
        sent.map_err(broken)?;
        let to = greeting.to;
        match verdict {
            Verdict::Admitted => Ok(peer),
            Verdict::Duplicate => Err(refused(format!("claims index {peer}, which is connected already"))),
            _ => Err(refused(format!("claims to be process {peer} and takes us for process {to}"))),
        }
    }

    fn greeting(&self, role: Role, to: u32) -> Result<Greeting, HandshakeFailure> {
        let mut nonce = [0; _];
        fill_random(&mut nonce).map_err(HandshakeFailure::Final)?;
        Ok(Greeting { role, from: self.index as u32, to, nonce })
    }

    /// The MAC of `speaker` over both greetings and the blocks said since.
    fn seal(&self, speaker: &[u8], greetings: &[&[u8; GREETING_BYTES]; 2], blocks: &[&[u8]]) -> Hmac<Sha256> {
        const { assert!(MAC_BYTES == 32) };
        let mut said = Vec::new();
        push_block(&mut said, speaker);
        greetings.iter().for_each(|greeting| said.extend_from_slice(&greeting[..]));
        blocks.iter().for_each(|block| push_block(&mut said, block));
        Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length").chain_update(said)
    }

    /// Fails if we cannot work with `theirs`; names both values of everything that differs.
    fn compare(&self, theirs: &MemberIdentity, peer: usize) -> Result<()> {
        let (a, b) = (&self.member, theirs);
        let text = |what, a: &String, b: &String| (a != b).then(|| format!("{what} {a:?} here but {b:?} there"));
        let number = |what, a: u64, b: u64| (a != b).then(|| format!("{what} {a} here but {b} there"));
        let differences: Vec<String> = [
            text("cluster", &a.identity.cluster, &b.identity.cluster),
            text("build", &a.identity.build, &b.identity.build),
            text("config", &a.identity.config, &b.identity.config),
            number("generation", a.identity.generation, b.identity.generation),
            number("processes", a.processes.into(), b.processes.into()),
            number("workers per process", a.threads.into(), b.threads.into()),
        ]
        .into_iter()
        .flatten()
        .collect();
        if differences.is_empty() {
            return Ok(());
        }
        let differences = differences.join("; ");
        Err(mesh_error(format!("process {} and process {peer} do not fit together: {differences}", self.index))
            .hint("start all processes from one binary with one configuration"))
    }
}
