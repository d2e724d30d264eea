//! Standard input: the lines of one partition, read by worker 0.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use memchr::memchr;

use crate::connectors::lines::Splitter;
use crate::connectors::source::{Collector, Partition, Polled, SourceConnector, SourceContext, SourceReader};
use crate::error::{Error, Result};
use crate::settings::Section;

/// How much is read at once, in bytes: what a pipe holds on Linux.
const CHUNK_BYTES: usize = 64 * 1024;

/// How many chunks may be read ahead: 1 MiB.
const CHUNKS_MAX: usize = 16;

/// How soon an empty input is looked at again.
const IDLE_WAIT: Duration = Duration::from_millis(10);

const STDIN: Partition = Partition(0);

/// There is one standard input; two sources would each get a part of it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A source of kind `stdin`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdinSource;

impl StdinSource {
    /// Reads the source's section: there is nothing to set.
    pub fn from_section(_section: &mut Section<'_>) -> Option<Self> {
        Some(StdinSource)
    }
}

impl SourceConnector for StdinSource {
    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        if !context.owns(STDIN) {
            return Ok(Box::new(NothingToRead));
        }
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Err(Error::source(format!("source {:?}: standard input is already being read", context.name))
                .hint("only one source of a run can be of kind \"stdin\""));
        }
        Ok(Box::new(StreamReader::start(context, io::stdin())?))
    }
}

/// What workers get that do not own the partition.
struct NothingToRead;

impl SourceReader for NothingToRead {
    fn poll(&mut self, _budget_bytes: usize, _collector: &mut dyn Collector) -> Result<Polled> {
        Ok(Polled::Finished)
    }

    fn partitions(&self) -> Option<usize> {
        Some(1)
    }
}

/// The lines of a stream that can only be read by waiting for it.
struct StreamReader {
    source: String,
    chunks: Receiver<Vec<u8>>,
    /// Bytes in `chunks`.
    ahead: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<io::Error>>>,
    splitter: Splitter,
    /// The beginning of an unfinished line; at most `record_bytes_max` bytes between polls.
    unfinished: Vec<u8>,
    /// The offset of the first byte of `unfinished`.
    offset: u64,
    announced: bool,
    ended: bool,
}

impl StreamReader {
    fn start(context: &SourceContext, stream: impl Read + Send + 'static) -> Result<Self> {
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
        // Nobody joins the thread: it may sit in a read that never returns, and ends with the process.
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(read_all)
            .map_err(|e| Error::source(format!("source {:?} cannot start a thread", context.name)).because(e))?;
        Ok(StreamReader {
            source: context.name.clone(),
            chunks,
            ahead,
            failure,
            splitter: Splitter::new(STDIN, context.record_bytes_max),
            unfinished: Vec::new(),
            offset: 0,
            announced: false,
            ended: false,
        })
    }

    fn take(&mut self, mut chunk: &[u8], collector: &mut dyn Collector) {
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

    fn end(&mut self, collector: &mut dyn Collector) -> Result<Polled> {
        if let Some(cause) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Error::source(format!("source {:?} cannot read standard input", self.source))
                .because(cause)
                .hint("check what is connected to it"));
        }
        if !self.ended {
            self.ended = true;
            self.splitter.finish(self.offset, &self.unfinished, collector);
            self.unfinished = Vec::new();
            collector.lag(STDIN, 0);
            collector.ended(STDIN);
        }
        Ok(Polled::Finished)
    }
}

impl SourceReader for StreamReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        if !self.announced {
            self.announced = true;
            collector.joined(STDIN, "stdin");
        }
        let mut taken = 0;
        let polled = loop {
            if taken >= budget_bytes.max(1) {
                break Polled::More;
            }
            match self.chunks.try_recv() {
                Ok(chunk) => {
                    taken += chunk.len();
                    self.ahead.fetch_sub(chunk.len() as u64, Ordering::Relaxed);
                    self.take(&chunk, collector);
                }
                Err(TryRecvError::Empty) => {
                    if taken == 0 {
                        collector.caught_up(STDIN);
                    }
                    break Polled::Wait(IDLE_WAIT);
                }
                Err(TryRecvError::Disconnected) => return self.end(collector),
            }
        };
        collector.lag(STDIN, self.ahead.load(Ordering::Relaxed));
        Ok(polled)
    }

    fn partitions(&self) -> Option<usize> {
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connectors::lines::tests::{Heard, Said, naive};

    /// A stream that gives at most `.1` bytes at once.
    struct Pieces(io::Cursor<Vec<u8>>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = buffer.len().min(self.1);
            self.0.read(&mut buffer[..n])
        }
    }

    fn context(record_bytes_max: usize) -> SourceContext {
        SourceContext { name: "in".into(), worker: 0, workers: 1, record_bytes_max }
    }

    fn read_all(bytes: &[u8], piece: usize, record_bytes_max: usize) -> Heard {
        let stream = Pieces(io::Cursor::new(bytes.to_vec()), piece);
        let mut reader = StreamReader::start(&context(record_bytes_max), stream).unwrap();
        let mut heard = Heard::default();
        while reader.poll(64, &mut heard).unwrap() != Polled::Finished {
            assert!(reader.unfinished.len() <= record_bytes_max);
            std::thread::yield_now();
        }
        heard
    }

    #[test]
    fn lines_come_in_order_and_the_partition_ends() {
        let heard = read_all(b"one\ntwo\r\n\nthree", 3, 100);
        assert_eq!(heard.said.first(), Some(&Said::Joined(0, "stdin".into())));
        assert_eq!(heard.said.last(), Some(&Said::Ended(0)));
        assert_eq!(heard.records(), [(0, "one".into()), (4, "two\r".into()), (10, "three".into())]);
    }

    #[test]
    fn an_open_but_silent_input_is_caught_up_and_never_waited_for() {
        let (end, stream) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut reader = StreamReader::start(&context(100), stream).unwrap();
        let mut heard = Heard::default();
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Wait(IDLE_WAIT));
        assert!(heard.caught_up.contains(&0));
        drop(end);
        while reader.poll(1_000, &mut heard).unwrap() != Polled::Finished {}
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Finished);
        assert_eq!(heard.said.iter().filter(|said| **said == Said::Ended(0)).count(), 1);
    }

    #[test]
    fn other_workers_have_nothing_to_read() {
        let other = SourceContext { worker: 1, workers: 2, ..context(100) };
        let mut reader = StdinSource.open(&other).unwrap();
        let mut heard = Heard::default();
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Finished);
        assert!(heard.said.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pieces_of_any_size_give_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![3 => Just(b'a'), 1 => Just(b'\n'), 1 => any::<u8>()], 0..300),
            piece in 1usize..50,
            record_bytes_max in 1usize..20,
        ) {
            let mut said = read_all(&bytes, piece, record_bytes_max).said;
            said.pop();
            said.remove(0);
            prop_assert_eq!(said, naive(&bytes, record_bytes_max));
        }
    }
}
