//! Standard input without a journal: its lines are gone once they were handed over.

use std::io::Read;

use super::chunks::{Chunks, LineAssembler, Ready};
use super::input::{IDLE_WAIT, STDIN};
use crate::connectors::source::{Collector, Polled, SourceContext, SourceReader};
use crate::error::Result;

/// The lines of a stream, without a journal.
pub(super) struct StreamReader {
    chunks: Chunks,
    lines: LineAssembler,
    announced: bool,
    ended: bool,
}

impl StreamReader {
    pub(super) fn start(context: &SourceContext, stream: impl Read + Send + 'static) -> Result<Self> {
        let chunks = Chunks::start(&context.name, stream)?;
        let lines = LineAssembler::new(STDIN, context.record_bytes_max);
        Ok(StreamReader { chunks, lines, announced: false, ended: false })
    }

    fn end(&mut self, collector: &mut dyn Collector) -> Result<Polled> {
        self.chunks.check()?;
        if !self.ended {
            self.ended = true;
            self.lines.finish(collector);
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
            match self.chunks.ready() {
                Ready::Chunk(chunk) => {
                    taken += chunk.len();
                    self.lines.take(&chunk, collector);
                }
                Ready::Nothing => {
                    if taken == 0 {
                        collector.caught_up(STDIN);
                    }
                    break Polled::Wait(IDLE_WAIT);
                }
                Ready::End => return self.end(collector),
            }
        };
        collector.lag(STDIN, self.chunks.ahead());
        Ok(polled)
    }

    fn partitions(&self) -> Option<usize> {
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::*;
    use crate::connectors::lines::tests::{Call, Calls, naive};
    use crate::connectors::stdio::input::tests::context;

    /// A stream that returns at most `.1` bytes per read.
    struct Pieces(io::Cursor<Vec<u8>>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = buffer.len().min(self.1);
            self.0.read(&mut buffer[..n])
        }
    }

    fn read_all(bytes: &[u8], piece: usize, record_bytes_max: usize) -> Calls {
        let stream = Pieces(io::Cursor::new(bytes.to_vec()), piece);
        let mut reader = StreamReader::start(&context(record_bytes_max), stream).unwrap();
        let mut heard = Calls::default();
        while reader.poll(64, &mut heard).unwrap() != Polled::Finished {
            assert!(reader.lines.unfinished.len() <= record_bytes_max);
            std::thread::yield_now();
        }
        heard
    }

    #[test]
    fn lines_come_in_order_and_the_partition_ends() {
        let heard = read_all(b"one\ntwo\r\n\nthree", 3, 100);
        assert_eq!(heard.said.first(), Some(&Call::Joined(0, "stdin".into())));
        assert_eq!(heard.said.last(), Some(&Call::Ended(0)));
        assert_eq!(heard.records(), [(0, "one".into()), (4, "two\r".into()), (10, "three".into())]);
    }

    #[test]
    fn an_open_but_silent_input_is_caught_up_and_never_waited_for() {
        let (end, stream) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut reader = StreamReader::start(&context(100), stream).unwrap();
        let mut heard = Calls::default();
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Wait(IDLE_WAIT));
        assert!(heard.caught_up.contains(&0));
        drop(end);
        while reader.poll(1_000, &mut heard).unwrap() != Polled::Finished {}
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Finished);
        assert_eq!(heard.said.iter().filter(|said| **said == Call::Ended(0)).count(), 1);
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
