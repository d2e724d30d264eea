//! The frames of the handshake as bytes: greeting, proof, reply.
//!
//! All numbers are big-endian. A greeting has a fixed size; the other two carry one block whose length is checked
//! against [`IDENTITY_BYTES_MAX`] before anything is read or allocated for it. Reading never takes a byte beyond the
//! frame, because what follows the last one is timely's.

use std::io::{self, Read};

use super::{Identity, TEXT_BYTES_MAX};

/// The first bytes of every greeting.
const MAGIC: [u8; 8] = *b"tidemesh";
/// The version of the frames.
const VERSION: u16 = 1;
/// The size of a greeting, in bytes.
pub(super) const GREETING_BYTES: usize = 52;
/// The size of a nonce, in bytes.
pub(super) const NONCE_BYTES: usize = 32;
/// The size of an HMAC-SHA256, in bytes.
pub(super) const MAC_BYTES: usize = 32;
/// The greatest size of an identity on the wire: three numbers and three texts.
pub(super) const IDENTITY_BYTES_MAX: usize = 16 + 3 * (2 + TEXT_BYTES_MAX);

/// Which end of the connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Connector = 1,
    Listener = 2,
}

/// The first frame of either end: who speaks to whom, and a fresh nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub role: Role,
    /// Process index of the speaker.
    pub from: u32,
    /// Process index of the one it means to speak to.
    pub to: u32,
    pub nonce: [u8; NONCE_BYTES],
}

/// The connector's second frame: its identity, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub member: Vec<u8>,
    pub mac: [u8; MAC_BYTES],
}

/// The listener's second frame: its decision and its identity, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub verdict: Verdict,
    pub member: Vec<u8>,
    pub mac: [u8; MAC_BYTES],
}

/// What the listener decided about an authenticated connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is part of the mesh.
    Admitted = 1,
    /// The identities differ.
    Mismatch = 2,
    /// The index is not one that connects to this process.
    WrongIndex = 3,
    /// Another live connection has this index.
    Duplicate = 4,
}

/// An identity with the size of the cluster it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemberIdentity {
    pub identity: Identity,
    pub processes: u32,
    /// Workers per process.
    pub threads: u32,
}

impl Greeting {
    pub fn encode(&self) -> [u8; GREETING_BYTES] {
        let mut bytes = [0; GREETING_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bytes[10] = self.role as u8;
        bytes[12..16].copy_from_slice(&self.from.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.to.to_be_bytes());
        bytes[20..52].copy_from_slice(&self.nonce);
        bytes
    }

    /// Reads a greeting of an end in `role`; the error says what was there instead.
    pub fn read(input: &mut impl Read, role: Role) -> Result<Greeting, String> {
        // The magic on its own: garbage is refused as soon as it is there, however short it is.
        let magic: [u8; 8] = read_array(input).map_err(|e| describe(&e))?;
        if magic != MAGIC {
            return Err(if is_http(&magic) {
                "sent an HTTP request or answer; this port is for the mesh alone".to_string()
            } else {
                "sent bytes that are no greeting of the mesh".to_string()
            });
        }
        let version = u16::from_be_bytes(read_array(input).map_err(|e| describe(&e))?);
        if version != VERSION {
            return Err(format!("speaks version {version} of the mesh protocol, this process speaks {VERSION}"));
        }
        let [found, reserved] = read_array(input).map_err(|e| describe(&e))?;
        if found != role as u8 || reserved != 0 {
            return Err(format!("greeted as role {found}, expected {}", role as u8));
        }
        let from = u32::from_be_bytes(read_array(input).map_err(|e| describe(&e))?);
        let to = u32::from_be_bytes(read_array(input).map_err(|e| describe(&e))?);
        let nonce = read_array(input).map_err(|e| describe(&e))?;
        Ok(Greeting { role, from, to, nonce })
    }
}

impl Proof {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 + self.member.len() + MAC_BYTES);
        push_block(&mut bytes, &self.member);
        bytes.extend_from_slice(&self.mac);
        bytes
    }

    pub fn read(input: &mut impl Read) -> Result<Proof, String> {
        let member = read_block(input)?;
        let mac = read_array(input).map_err(|e| describe(&e))?;
        Ok(Proof { member, mac })
    }
}

impl Reply {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(3 + self.member.len() + MAC_BYTES);
        bytes.push(self.verdict as u8);
        push_block(&mut bytes, &self.member);
        bytes.extend_from_slice(&self.mac);
        bytes
    }

    pub fn read(input: &mut impl Read) -> Result<Reply, String> {
        let [verdict] = read_array(input).map_err(|e| describe(&e))?;
        let verdict = match verdict {
            1 => Verdict::Admitted,
            2 => Verdict::Mismatch,
            3 => Verdict::WrongIndex,
            4 => Verdict::Duplicate,
            other => return Err(format!("answered with verdict {other}, which does not exist")),
        };
        let member = read_block(input)?;
        let mac = read_array(input).map_err(|e| describe(&e))?;
        Ok(Reply { verdict, member, mac })
    }
}

impl MemberIdentity {
    pub fn encode(&self) -> Vec<u8> {
        let Identity { cluster, build, config, generation } = &self.identity;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&generation.to_be_bytes());
        bytes.extend_from_slice(&self.processes.to_be_bytes());
        bytes.extend_from_slice(&self.threads.to_be_bytes());
        for text in [cluster, build, config] {
            push_block(&mut bytes, text.as_bytes());
        }
        bytes
    }

    /// Reads an identity that fills `bytes` exactly.
    pub fn decode(mut bytes: &[u8]) -> Result<MemberIdentity, String> {
        let short = |_| "sent an identity that is cut short".to_string();
        let generation = u64::from_be_bytes(read_array(&mut bytes).map_err(short)?);
        let processes = u32::from_be_bytes(read_array(&mut bytes).map_err(short)?);
        let threads = u32::from_be_bytes(read_array(&mut bytes).map_err(short)?);
        let [cluster, build, config] = [read_text(&mut bytes)?, read_text(&mut bytes)?, read_text(&mut bytes)?];
        if !bytes.is_empty() {
            return Err(format!("sent an identity with {} bytes too many", bytes.len()));
        }
        Ok(MemberIdentity { identity: Identity { cluster, build, config, generation }, processes, threads })
    }
}

/// Appends a length and that many bytes.
pub(super) fn push_block(bytes: &mut Vec<u8>, block: &[u8]) {
    let length = u16::try_from(block.len()).expect("texts are checked against TEXT_BYTES_MAX before the mesh forms");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(block);
}

fn read_block(input: &mut impl Read) -> Result<Vec<u8>, String> {
    let length = usize::from(u16::from_be_bytes(read_array(input).map_err(|e| describe(&e))?));
    if length > IDENTITY_BYTES_MAX {
        return Err(format!("announced an identity of {length} bytes, more than {IDENTITY_BYTES_MAX}"));
    }
    let mut block = vec![0; length];
    input.read_exact(&mut block).map_err(|e| describe(&e))?;
    Ok(block)
}

fn read_text(bytes: &mut &[u8]) -> Result<String, String> {
    let short = |_| "sent an identity that is cut short".to_string();
    let length = usize::from(u16::from_be_bytes(read_array(bytes).map_err(short)?));
    if length > TEXT_BYTES_MAX {
        return Err(format!("sent a text of {length} bytes, more than {TEXT_BYTES_MAX}"));
    }
    let (text, rest) = bytes.split_at_checked(length).ok_or("sent an identity that is cut short")?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).map_err(|_| "sent a text that is not UTF-8".to_string())
}

fn read_array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What happened to the connection, in words that follow "it".
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed the connection during the handshake".to_string(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "was silent until the handshake's deadline".to_string(),
        _ => format!("broke the connection: {error}"),
    }
}

fn is_http(magic: &[u8; 8]) -> bool {
    let methods: [&[u8]; 8] = [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"HTTP/"];
    methods.iter().any(|method| magic.starts_with(&method[..method.len().min(8)]))
}

/// Feeds arbitrary bytes to the parsers of the handshake, for fuzzing.
///
/// # Panics
/// If a frame that was accepted does not encode to the bytes it was read from.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let consumed = |rest: &[u8]| &bytes[..bytes.len() - rest.len()];
    for role in [Role::Connector, Role::Listener] {
        let mut rest = bytes;
        if let Ok(greeting) = Greeting::read(&mut rest, role) {
            assert_eq!(greeting.encode(), consumed(rest));
        }
    }
    let mut rest = bytes;
    if let Ok(proof) = Proof::read(&mut rest) {
        assert_eq!(proof.encode(), consumed(rest));
        let _ = MemberIdentity::decode(&proof.member);
    }
    let mut rest = bytes;
    if let Ok(reply) = Reply::read(&mut rest) {
        assert_eq!(reply.encode(), consumed(rest));
    }
    if let Ok(member) = MemberIdentity::decode(bytes) {
        assert_eq!(member.encode(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(text: &str) -> MemberIdentity {
        let [cluster, build, config] = [text; 3].map(str::to_string);
        MemberIdentity { identity: Identity { cluster, build, config, generation: u64::MAX }, processes: 3, threads: 2 }
    }

    #[test]
    fn lengths_are_bounded_at_their_limits() {
        let longest = member(&"x".repeat(TEXT_BYTES_MAX)).encode();
        assert_eq!(longest.len(), IDENTITY_BYTES_MAX);
        assert!(MemberIdentity::decode(&longest).is_ok());
        let error = MemberIdentity::decode(&member(&"x".repeat(TEXT_BYTES_MAX + 1)).encode()).unwrap_err();
        assert_eq!(error, "sent a text of 257 bytes, more than 256");
        let mut block = Vec::new();
        push_block(&mut block, &vec![0; IDENTITY_BYTES_MAX + 1]);
        assert!(read_block(&mut &block[..]).unwrap_err().contains("more than 790"));
    }

    #[test]
    fn refusals_say_what_was_there_instead() {
        let read = |mut bytes: &[u8]| Greeting::read(&mut bytes, Role::Connector).unwrap_err();
        assert!(read(b"GET / HTTP/1.1\r\n\r\n").contains("HTTP"));
        assert!(read(&[0xff; 64]).contains("no greeting"));
        assert!(read(b"").contains("closed"));
        let mut greeting = Greeting { role: Role::Connector, from: 1, to: 0, nonce: [9; 32] }.encode();
        assert!(read(&greeting[..51]).contains("closed"));
        greeting[9] = 2;
        assert!(read(&greeting).contains("version 2"));
        let own = Greeting { role: Role::Listener, from: 1, to: 0, nonce: [9; 32] }.encode();
        assert!(read(&own).contains("role 2"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
            fuzz(&bytes);
        }

        #[test]
        fn damaged_frames_are_refused_or_read_back(
            (at, byte) in (0usize..400, any::<u8>()),
            text in "\\PC{0,60}",
            cut in 0usize..400,
            nonce in any::<[u8; 32]>(),
        ) {
            let block = member(&text).encode();
            prop_assert_eq!(MemberIdentity::decode(&block).unwrap(), member(&text));
            let frames = [
                Greeting { role: Role::Connector, from: 2, to: 1, nonce }.encode().to_vec(),
                Proof { member: block.clone(), mac: nonce }.encode(),
                Reply { verdict: Verdict::Admitted, member: block.clone(), mac: nonce }.encode(),
                block,
            ];
            for mut frame in frames {
                fuzz(&frame);
                if let Some(slot) = frame.get_mut(at) {
                    *slot = byte;
                }
                fuzz(&frame);
                frame.truncate(cut);
                fuzz(&frame);
            }
        }
    }
}
