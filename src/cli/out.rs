//! What the command line prints, for people on standard error and as its answer on standard output.
//!
//! Standard error that cannot be written (a full disk, a reader that is gone) changes nothing: no run ends because nobody can
//! be told about it. Of standard output the same holds if its reader is gone, as in `tidewatch list | head -1`; any other
//! failure is an error of the command once it has ended. Rows are no business of this module: a sink reports its own failures.

use std::fmt::Arguments;
use std::io::{self, ErrorKind as IoErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// The first failure of standard output.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a line to standard error.
macro_rules! note {
    ($($words:tt)*) => { $crate::cli::out::note(format_args!($($words)*)) };
}

/// Writes a line to standard output.
macro_rules! show {
    ($($words:tt)*) => { $crate::cli::out::show(format_args!($($words)*)) };
}

/// Writes a line to standard error, in one piece.
pub(super) fn note(line: Arguments<'_>) {
    // Whoever should read why it cannot be written would read it there.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line to standard output; [`checked`] says whether all of them were written.
pub(super) fn show(line: Arguments<'_>) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if failed.is_none() {
        *failed = write(&mut io::stdout().lock(), line).err();
    }
}

fn write(to: &mut impl Write, line: Arguments<'_>) -> io::Result<()> {
    to.write_all(format!("{line}\n").as_bytes())?;
    to.flush()
}

/// Whether standard output took everything, or nobody reads it any more.
///
/// # Errors
/// Of kind `Sink`, once: with the first failure.
pub(super) fn checked() -> Result<()> {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failed {
        Some(why) if why.kind() != IoErrorKind::BrokenPipe => {
            Err(Error::sink("cannot write to standard output").because(why))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a line, but cannot pass it on.
    struct Full;

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_line_is_written_whole_or_failed() {
        let mut bytes = Vec::new();
        write(&mut bytes, format_args!("{} rows", 3)).unwrap();
        assert_eq!(bytes, b"3 rows\n");
        // What is only buffered was not written.
        assert_eq!(write(&mut Full, format_args!("x")).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
