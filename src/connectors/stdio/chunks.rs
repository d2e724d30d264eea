//! A stream that can only be read by blocking: a thread does, and reads ahead as much as a bounded channel holds.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memchr;

use crate::connectors::lines::Splitter;
use crate::connectors::source::{Collector, Partition};
use crate::error::{Error, Result};

/// How much is read at once, in bytes: the size of a pipe on Linux.
const CHUNK_BYTES: usize = 64 * 1024;

/// How many chunks may be read ahead: 1 MiB.
const CHUNKS_MAX: usize = 16;

/// The chunks that have been read of a stream.
pub(super) struct Chunks {
    source: String,
    chunks: Receiver<Vec<u8>>,
    /// Bytes in `chunks`.
    ahead: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<io::Error>>>,
}

/// The result of a read that does not block.
pub(super) enum Ready {
    Chunk(Vec<u8>),
    Nothing,
    /// The stream has ended, or cannot be read.
    End,
}

impl Chunks {
    /// Starts to read `stream` for the source `source`.
    pub(super) fn start(source: &str, stream: impl Read + Send + 'static) -> Result<Self> {
        let (sender, chunks) = mpsc::sync_channel(CHUNKS_MAX);
        let ahead = Arc::new(AtomicU64::new(0));
        let failure = Arc::new(Mutex::new(None));
        let (counted, told) = (Arc::clone(&ahead), Arc::clone(&failure));
        let read_all = move || {
            let mut stream = stream;
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(n) => {
                        counted.fetch_add(n as u64, Ordering::Relaxed);
                        if sender.send(buffer[..n].to_vec()).is_err() {
                            return;
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                        return;
                    }
                }
            }
        };
        // The thread is never joined: it may block in a read that never returns, and ends with the process.
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(read_all)
            .map_err(|e| Error::source(format!("source {source:?} cannot start a thread")).because(e))?;
        Ok(Chunks { source: source.to_owned(), chunks, ahead, failure })
    }

    /// The next chunk, if one has been read.
    pub(super) fn ready(&self) -> Ready {
        match self.chunks.try_recv() {
            Ok(chunk) => {
                self.ahead.fetch_sub(chunk.len() as u64, Ordering::Relaxed);
                Ready::Chunk(chunk)
            }
            Err(TryRecvError::Empty) => Ready::Nothing,
            Err(TryRecvError::Disconnected) => Ready::End,
        }
    }

    /// The next chunk, however long that takes; `None` at the end.
    pub(super) fn wait(&self) -> Option<Vec<u8>> {
        let chunk = self.chunks.recv().ok()?;
        self.ahead.fetch_sub(chunk.len() as u64, Ordering::Relaxed);
        Some(chunk)
    }

    /// How many bytes have been read ahead.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Whether the chunks ended because the stream ended.
    ///
    /// # Errors
    /// If it could not be read any further.
    pub(super) fn check(&self) -> Result<()> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(cause) => Err(Error::source(format!("source {:?} cannot read standard input", self.source))
                .because(cause)
                .hint("check what is connected to it")),
        }
    }
}

/// Splits chunks into lines.
pub(super) struct LineAssembler {
    splitter: Splitter,
    /// The beginning of an unfinished line; at most `record_bytes_max` bytes between chunks.
    pub(super) unfinished: Vec<u8>,
    /// The offset of the first byte of `unfinished`.
    offset: u64,
}

impl LineAssembler {
    /// The lines of `partition`, of at most `record_bytes_max` bytes.
    pub(super) fn new(partition: Partition, record_bytes_max: usize) -> Self {
        LineAssembler { splitter: Splitter::new(partition, record_bytes_max), unfinished: Vec::new(), offset: 0 }
    }

    /// Hands over the lines that end in `chunk`.
    pub(super) fn take(&mut self, mut chunk: &[u8], collector: &mut dyn Collector) {
        if !self.unfinished.is_empty() {
            let end = memchr(b'\n', chunk).map_or(chunk.len(), |newline| newline + 1);
            self.unfinished.extend_from_slice(&chunk[..end]);
            chunk = &chunk[end..];
            let used = self.splitter.split(self.offset, &self.unfinished, collector);
            self.offset += used as u64;
            self.unfinished.drain(..used);
        }
        if !chunk.is_empty() {
            let used = self.splitter.split(self.offset, chunk, collector);
            self.offset += used as u64;
            self.unfinished.extend_from_slice(&chunk[used..]);
        }
    }

    /// Hands over what comes after the last newline.
    pub(super) fn finish(&mut self, collector: &mut dyn Collector) {
        self.splitter.finish(self.offset, &self.unfinished, collector);
        self.unfinished = Vec::new();
    }
}
