//! One error type for the whole crate: what failed, on which named thing, and what to do about it.
//!
//! Failures of *records* are not errors but [dead letters](crate::record::DeadLetter); failures of a component are an
//! [`Error`], which stops the dataflow with the exit code of its [`ErrorKind`]; failures of ours are panics.

mod shown;
pub mod stage;

use std::error::Error as StdError;
use std::fmt;

pub(crate) use shown::Shown;

/// A result whose error is Tidewatch's own [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which part of the system failed; decides the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration, the command line or the construction of a dataflow. Exit code 2.
    Config,
    /// A source could not be opened or read. Exit code 3.
    Source,
    /// A sink could not be opened or written. Exit code 4.
    Sink,
    /// Keyed state reached a limit or could not be stored. Exit code 5.
    State,
    /// The mesh of processes could not form, or lost a process. Exit code 6.
    Mesh,
    /// A defect of Tidewatch or of the dataflow's own code. Exit code 70.
    Internal,
}

impl ErrorKind {
    /// The exit code of a process that stops because of such an error.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Config => 2,
            ErrorKind::Source => 3,
            ErrorKind::Sink => 4,
            ErrorKind::State => 5,
            ErrorKind::Mesh => 6,
            ErrorKind::Internal => 70,
        }
    }

    /// The kind whose exit code this is, if there is one.
    pub fn of_exit_code(code: u8) -> Option<Self> {
        use ErrorKind::{Config, Internal, Mesh, Sink, Source, State};
        [Config, Source, Sink, State, Mesh, Internal].into_iter().find(|kind| kind.exit_code() == code)
    }
}

/// What failed, on which named thing, why, and what to do.
///
/// `Display` prints the message and its causes on one line, and the hint, if any, on a second one.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` names the thing that failed, in lower case, without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None, cause: None }
    }

    /// A configuration error.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// A source error.
    pub fn source(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Source, message)
    }

    /// A sink error.
    pub fn sink(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Sink, message)
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error underneath.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Which part of the system failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause: Option<&(dyn StdError + 'static)> = self.cause.as_ref().map(|c| c.as_ref() as _);
        while let Some(c) = cause {
            write!(f, ": {c}")?;
            cause = c.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|c| c.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_thing_cause_and_hint() {
        let error = Error::source("cannot open source \"logins\"")
            .because(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file \"/x\""))
            .hint("set sources.logins.path");
        assert_eq!(
            error.to_string(),
            "cannot open source \"logins\": no such file \"/x\"\n  hint: set sources.logins.path"
        );
        assert_eq!(error.kind().exit_code(), 3);
    }
}
