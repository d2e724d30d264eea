//! Standard output of several processes: passed on in whole lines, so that no row is torn by another process's.
//!
//! The pipe to each process provides back-pressure when the reader of the supervisor's output is slow. An unfinished
//! line of a process that died is not passed on.

use std::io::{self, Read, Write};
use std::thread::JoinHandle;

/// How much is read at once, in bytes: the size of a pipe on Linux.
const CHUNK_BYTES: usize = 64 * 1024;

/// Passes on the rows of one process.
pub(super) struct RowForwarder {
    thread: JoinHandle<()>,
}

impl RowForwarder {
    /// Starts the thread; it ends when the process has closed its output, or ours is closed.
    pub(super) fn pass_on(process: usize, from: impl Read + Send + 'static) -> io::Result<Self> {
        let pass = move || {
            if let Err(why) = pass_lines(from, io::stdout) {
                // The process notices by its own sink, whose pipe is closed now.
                tracing::debug!(process, %why, "rows cannot be passed on");
            }
        };
        let thread = std::thread::Builder::new().name(format!("rows-{process}")).spawn(pass)?;
        Ok(RowForwarder { thread })
    }

    /// Whether everything was passed on.
    pub(super) fn passed_on(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Copies whole lines. One write takes the lock of standard output once, so that lines of several threads do not mix.
fn pass_lines<W: Write>(mut from: impl Read, to: impl Fn() -> W) -> io::Result<()> {
    // At least one line is buffered: as long as the longest row, which its process holds in memory, too.
    let mut held = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            Err(why) => return Err(why),
        };
        let Some(end) = memchr::memrchr(b'\n', &chunk[..read]) else {
            held.extend_from_slice(&chunk[..read]);
            continue;
        };
        held.extend_from_slice(&chunk[..=end]);
        let mut to = to();
        to.write_all(&held)?;
        to.flush()?;
        held.clear();
        held.extend_from_slice(&chunk[end + 1..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Gives its bytes in small pieces.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(self.0.len()).min(buffer.len());
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    /// Keeps every write apart.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_whole_lines_are_written_however_they_come() {
        let long = "x".repeat(3 * CHUNK_BYTES);
        let text = format!("a\nbc\n{long}\nlast\ntorn");
        for size in [1, 2, 3, 7, CHUNK_BYTES, usize::MAX] {
            let writes = Writes::default();
            pass_lines(Pieces(text.as_bytes(), size), || writes.clone()).unwrap();
            let writes = writes.0.lock().unwrap().clone();
            assert!(writes.iter().all(|write| write.ends_with('\n')), "{size}");
            assert_eq!(writes.concat(), format!("a\nbc\n{long}\nlast\n"));
        }
    }
}
