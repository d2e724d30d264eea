//! Which build runs: the version, and a hash of the executable itself.
//!
//! A version alone would let two builds of a changed program meet, whose types differ while timely trusts every byte.

use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::mesh_error;
use super::secret::hex;
use crate::error::Result;

/// How many bytes of the executable's SHA-256 make up the build id: enough against accidents, which is all it is for.
const HASH_BYTES: usize = 8;

/// The build of this process: `VERSION-HASH`, the hash taken over the bytes of the running executable, once.
///
/// # Errors
/// Of kind `Mesh` if the executable cannot be read.
pub fn build_id() -> Result<&'static str> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let file = open_self().map_err(|e| mesh_error("cannot read the running executable for its build id").because(e))?;
    let hash = hash(file).map_err(|e| mesh_error("cannot read the running executable for its build id").because(e))?;
    Ok(ID.get_or_init(|| format!("{}-{hash}", env!("CARGO_PKG_VERSION"))))
}

/// The running executable; on Linux the very file, even if its path was replaced or deleted since.
fn open_self() -> io::Result<File> {
    File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))
}

fn hash(mut input: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize()[..HASH_BYTES])),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_stable_and_depends_on_every_byte() {
        assert_eq!(build_id().unwrap(), build_id().unwrap());
        assert_eq!(build_id().unwrap().len(), env!("CARGO_PKG_VERSION").len() + 1 + 2 * HASH_BYTES);
        let mut binary = vec![7; 200_000];
        let before = hash(&binary[..]).unwrap();
        binary[199_999] = 8;
        assert_ne!(hash(&binary[..]).unwrap(), before);
    }
}
