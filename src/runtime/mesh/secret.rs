//! The secret that all processes of a cluster share.
//!
//! It never appears in a log line, an error or `Debug`. It is not wiped from memory: whoever can read the memory of a
//! process can read its data as well.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;

use super::mesh_error;
use crate::error::{Error, Result};
use crate::settings::regular;

/// The least length of a secret, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;

/// The greatest length of a secret, in bytes; a longer file is not a secret but a mistake.
pub const SECRET_BYTES_MAX: usize = 4096;

/// Bytes that all processes of a cluster know and nobody else does.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret of `bytes`.
    ///
    /// # Errors
    /// If there are fewer than [`SECRET_BYTES_MIN`] or more than [`SECRET_BYTES_MAX`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            let length = bytes.len();
            return Err(Error::config(format!(
                "the mesh secret has {length} bytes, not between {SECRET_BYTES_MIN} and {SECRET_BYTES_MAX}"
            ))
            .hint("write one with: head -c 32 /dev/urandom | base64 > FILE"));
        }
        Ok(Secret(bytes))
    }

    /// Reads a secret from a file, without one newline at its end; warns if others than the owner can read the file.
    ///
    /// # Errors
    /// If the file cannot be read, is not a regular file, or its length is out of bounds.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed =
            |error: std::io::Error| Error::config(format!("cannot read the mesh secret from {path:?}")).because(error);
        let file = regular::open(path).map_err(failed)?;
        warn_if_readable_by_others(&file, path);
        let mut bytes = Vec::new();
        // One byte more than the newline of the longest secret: enough to see that a file is too long.
        file.take(SECRET_BYTES_MAX as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Secret::new(bytes).map_err(|error| {
            Error::config(format!("the mesh secret file {path:?} cannot be used")).because(error.to_string())
        })
    }

    /// A new secret: 32 bytes from the operating system, in hexadecimal, so that it survives any text file.
    ///
    /// # Errors
    /// If the operating system has no random bytes.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; 32];
        fill_random(&mut bytes)?;
        Ok(Secret(hex(&bytes).into_bytes()))
    }

    /// Writes the secret to a new file that only the owner can read, for other processes of this cluster.
    ///
    /// # Errors
    /// If the file exists already or cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|e| cannot_save(path, e))?;
        file.write_all(&self.0).map_err(|e| cannot_save(path, e))
    }

    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

fn cannot_save(path: &Path, error: std::io::Error) -> Error {
    mesh_error(format!("cannot write the mesh secret to {path:?}")).because(error)
}

#[cfg(unix)]
fn warn_if_readable_by_others(file: &File, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = file.metadata() else { return };
    let mode = metadata.permissions().mode();
    // Not an error: mounted secrets are often 0644 inside a container nobody else is in.
    if mode & 0o077 != 0 {
        let mode = format!("{:04o}", mode & 0o7777);
        tracing::warn!(path = %path.display(), %mode, "the mesh secret file is open to group or others; chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_: &File, _: &Path) {}

/// Fills `bytes` from the operating system's random source.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    SysRng.try_fill_bytes(bytes).map_err(|e| mesh_error("the operating system gives no random bytes").because(e))
}

/// `bytes` in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let secret = Secret::new("a very secret secret").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
    }

    #[test]
    fn a_file_loses_one_newline_and_keeps_to_the_limits() {
        let read = |bytes: &[u8]| Secret::from_file(file_with(bytes).path()).map(|secret| secret.0);
        assert_eq!(read(b"0123456789abcdef\n").unwrap(), b"0123456789abcdef");
        assert_eq!(read(b"0123456789abcdef\r\n").unwrap(), b"0123456789abcdef");
        assert_eq!(read(b"0123456789abcdef\n\n").unwrap(), b"0123456789abcdef\n");
        let error = read(b"0123456789abcde\n").unwrap_err().to_string();
        assert!(error.contains("15 bytes") && !error.contains("0123456789"), "{error}");
        let longest = [b'x'; SECRET_BYTES_MAX];
        assert_eq!(read(&[&longest[..], b"\r\n"].concat()).unwrap(), longest);
        assert!(read(&[b'x'; SECRET_BYTES_MAX + 1]).is_err());
        assert!(Secret::from_file("/nonexistent/secret").unwrap_err().to_string().contains("/nonexistent/secret"));
    }

    #[test]
    fn generated_secrets_differ_and_can_be_passed_on_in_a_file() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_eq!(one.as_bytes().len(), 64);
        assert_ne!(one, other);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        one.save(&path).unwrap();
        assert_eq!(Secret::from_file(&path).unwrap(), one);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(other.save(&path).is_err(), "an existing file is not overwritten");
    }
}
