//! Passwords and keys: read from a file or the environment, never written in a configuration, never printed.
//!
//! A literal is refused without repeating it, because configurations are committed, logged and shown in process lists. It
//! does not guard memory: a core dump of the process holds its secrets.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::{Setting, Value, params, regular};

/// The longest secret that is read, in bytes.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// Text that is never printed: `Debug` and `Display` show `**REDACTED**`.
///
/// In a configuration it is `{ file = "/run/secrets/x" }` (one final line end is dropped) or `{ env = "NAME" }`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret that the program itself made.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself. Hand it to the client that needs it and to nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file, without its final line end.
    ///
    /// # Errors
    /// One line that names the file: it cannot be read, is not a regular file, is empty, not UTF-8, or longer than [`SECRET_BYTES_MAX`].
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let bytes = regular::read(path, SECRET_BYTES_MAX as u64).map_err(|e| format!("cannot read {path:?}: {e}"))?;
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(format!("{path:?} is longer than {SECRET_BYTES_MAX} bytes"));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{path:?} is not UTF-8"))?;
        let text = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
        if text.is_empty() { Err(format!("{path:?} is empty")) } else { Ok(Secret::new(text)) }
    }

    /// Reads a secret from an environment variable.
    ///
    /// # Errors
    /// One line that names the variable: it is not set, empty, or not UTF-8.
    pub fn from_env(name: &str) -> Result<Self, String> {
        // The standard library panics on names that no environment can hold.
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("{name:?} cannot be an environment variable"));
        }
        match std::env::var(name) {
            Ok(text) if text.is_empty() => Err(format!("environment variable {name} is empty")),
            Ok(text) => Ok(Secret(text)),
            Err(std::env::VarError::NotPresent) => Err(format!("environment variable {name} is not set")),
            Err(std::env::VarError::NotUnicode(_)) => Err(format!("environment variable {name} is not UTF-8")),
        }
    }
}

impl Setting for Secret {
    const EXPECTED: &'static str = "{ file = \"/path\" } or { env = \"NAME\" }";
    const SECRET: bool = true;

    fn read(value: &Value) -> Result<Self, String> {
        let Value::Table(entries) = value else {
            return Err(format!("a secret is never written in a configuration: use {}", Self::EXPECTED));
        };
        let mut entries = entries.iter();
        match (entries.next(), entries.next()) {
            (Some((key, node)), None) if key == "file" => {
                Secret::from_file(&PathBuf::read(&node.value).map_err(|why| PathBuf::misfit(&node.value, &why))?)
            }
            (Some((key, node)), None) if key == "env" => {
                Secret::from_env(&String::read(&node.value).map_err(|_| "env must be a name".to_owned())?)
            }
            _ => Err(format!("expected either {}", Self::EXPECTED)),
        }
    }

    fn misfit(_: &Value, why: &str) -> String {
        why.to_owned()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        params::setting(deserializer)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("**REDACTED**")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("**REDACTED**")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::Node;
    use super::*;

    fn reference(key: &str, to: &str) -> Value {
        Value::Table([(key.to_owned(), Node::code(Value::String(to.to_owned())))].into())
    }

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, Value) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let value = reference("file", file.path().to_str().unwrap());
        (file, value)
    }

    #[test]
    fn a_file_is_read_without_its_line_end_and_never_printed() {
        for bytes in [&b"hunter2"[..], b"hunter2\n", b"hunter2\r\n"] {
            let (_file, value) = file(bytes);
            let secret = Secret::read(&value).unwrap();
            assert_eq!(secret.expose(), "hunter2");
            assert_eq!(format!("{secret} {secret:?}"), "**REDACTED** **REDACTED**");
        }
    }

    #[test]
    fn faulty_files_are_refused_without_their_content() {
        let most = vec![b'x'; SECRET_BYTES_MAX];
        let (_kept, value) = file(&most);
        assert!(Secret::read(&value).is_ok());
        for (bytes, why) in [(&b"\n"[..], "empty"), (b"hunter\xff", "UTF-8"), (&[b'x'; SECRET_BYTES_MAX + 1], "longer")]
        {
            let (_kept, value) = file(bytes);
            let found = Secret::read(&value).unwrap_err();
            assert!(found.contains(why) && !found.contains("hunter"), "{found}");
        }
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let found = Secret::read(&reference("file", pipe.to_str().unwrap())).unwrap_err();
        assert!(found.contains("it is a pipe, not a regular file"), "{found}");
    }

    #[test]
    fn the_path_of_a_file_is_expanded() {
        let found = Secret::read(&reference("file", "${CARGO_MANIFEST_DIR}/no-such-secret")).unwrap_err();
        assert!(found.contains("/no-such-secret") && !found.contains('$'), "{found}");
        let found = Secret::read(&reference("file", "$TIDEWATCH_NO_SUCH/x")).unwrap_err();
        assert!(found.contains("TIDEWATCH_NO_SUCH is not set"), "{found}");
    }

    #[test]
    fn the_environment_is_read_by_name() {
        // Cargo sets this one for every test.
        assert_eq!(Secret::read(&reference("env", "CARGO_PKG_NAME")).unwrap().expose(), "tidewatch");
        for name in ["TIDEWATCH_NO_SUCH_VARIABLE", "", "a=b", "a\0"] {
            assert!(Secret::read(&reference("env", name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_literal_is_refused_without_repeating_it() {
        let literal = Value::String("hunter2".to_owned());
        let why = Secret::read(&literal).unwrap_err();
        assert!(!Secret::misfit(&literal, &why).contains("hunter2"));
        assert!(Secret::misfit(&literal, &why).contains("never written"));
        let error = serde_json::from_str::<Secret>("\"hunter2\"").unwrap_err().to_string();
        assert!(error.contains("never written") && !error.contains("hunter2"), "{error}");
        let error = serde_json::from_str::<Vec<Secret>>("[12345]").unwrap_err().to_string();
        assert!(error.contains("never written") && !error.contains("12345"), "{error}");
    }
}
