//! Standard output: one row per line, whole rows only, from all workers.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::connectors::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use crate::error::{Error, Result};
use crate::settings::Section;
use crate::time::Epoch;

/// How many bytes of rows are buffered for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// How many buffers may wait for a slow reader; beyond that rows accumulate in the writer, and the epochs that are not
/// written yet hold the dataflow back.
const BUFFERS_MAX: usize = 16;

/// A sink of kind `stdout`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutSink;

impl StdoutSink {
    /// Reads the sink's section, which has no settings.
    pub fn from_section(_section: &mut Section<'_>) -> Option<Self> {
        Some(StdoutSink)
    }
}

impl SinkConnector for StdoutSink {
    fn open(&self, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        // `Stdout` locks itself for each write, so that rows of several workers do not mix.
        Ok(Box::new(StreamWriter::start(&context.name, io::stdout())?))
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

/// Whole rows, and the epoch that is complete once they are written.
struct RowBatch {
    rows: Vec<u8>,
    sealed: Option<Epoch>,
}

/// What the writing thread reports.
#[derive(Default)]
struct WriteProgress {
    written: Option<Epoch>,
    failure: Option<Error>,
}

/// Writes rows to a stream that may block.
struct StreamWriter {
    batch: RowBatch,
    /// `None` once the sink is finished.
    thread: Option<(SyncSender<RowBatch>, JoinHandle<()>)>,
    progress: Arc<Mutex<WriteProgress>>,
}

impl StreamWriter {
    fn start(sink: &str, stream: impl Write + Send + 'static) -> Result<Self> {
        let (sender, batches) = mpsc::sync_channel::<RowBatch>(BUFFERS_MAX);
        let progress = Arc::new(Mutex::new(WriteProgress::default()));
        let told = Arc::clone(&progress);
        let name = sink.to_owned();
        let write_all = move || {
            let mut stream = stream;
            while let Ok(RowBatch { rows, sealed }) = batches.recv() {
                let result = stream.write_all(&rows).and_then(|()| stream.flush());
                let mut progress = told.lock().unwrap_or_else(PoisonError::into_inner);
                match result {
                    Ok(()) => progress.written = sealed.or(progress.written),
                    Err(cause) => {
                        progress.failure = Some(write_error(&name, cause));
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(write_all)
            .map_err(|e| Error::sink(format!("sink {sink:?} cannot start a thread")).because(e))?;
        let batch = RowBatch { rows: Vec::new(), sealed: None };
        Ok(StreamWriter { batch, thread: Some((sender, thread)), progress })
    }

    /// Offers the buffered rows to the thread; they stay here if too much is waiting there.
    fn offer(&mut self) {
        let Some((sender, _)) = &self.thread else { return };
        if self.batch.rows.is_empty() && self.batch.sealed.is_none() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, RowBatch { rows: Vec::new(), sealed: None });
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) = sender.try_send(batch) {
            self.batch = batch;
        }
    }

    fn check(&self) -> Result<Option<Epoch>> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.failure.take().map_or(Ok(progress.written), Err)
    }
}

impl SinkWriter for StreamWriter {
    fn write(&mut self, _key: Option<&[u8]>, row: &[u8]) -> Result<()> {
        // Rows of the next epoch must not travel under the seal of the previous one.
        if self.batch.sealed.is_some() {
            self.offer();
        }
        // Still here: the seal waits for these rows too, which is late but never wrong.
        self.batch.sealed = None;
        self.batch.rows.extend_from_slice(row);
        self.batch.rows.push(b'\n');
        if self.batch.rows.len() >= WRITE_BYTES {
            self.offer();
        }
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.batch.sealed = Some(epoch);
        self.offer();
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        self.offer();
        self.check()
    }

    fn finish(&mut self) -> Result<()> {
        if let Some((sender, thread)) = self.thread.take() {
            let rest = std::mem::replace(&mut self.batch, RowBatch { rows: Vec::new(), sealed: None });
            // If the thread is gone, `check` reports why.
            let _ = sender.send(rest);
            drop(sender);
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        self.check().map(drop)
    }
}

fn write_error(sink: &str, cause: io::Error) -> Error {
    if cause.kind() == ErrorKind::BrokenPipe {
        return Error::sink(format!("sink {sink:?}: stdout was closed by its reader"));
    }
    Error::sink(format!("sink {sink:?} cannot write to stdout"))
        .because(cause)
        .hint("check where standard output goes, for example whether that disk is full")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn wait_for(writer: &mut StreamWriter, epoch: Epoch) -> Result<()> {
        for _ in 0..2_000 {
            if writer.durable()? == Some(epoch) {
                return Ok(());
            }
            std::thread::sleep(writer.poll_interval());
        }
        panic!("epoch {epoch} is not durable");
    }

    #[test]
    fn rows_are_lines_written_at_the_seal() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut writer = StreamWriter::start("out", ours).unwrap();
        writer.write(None, b"a").unwrap();
        writer.write(None, b"b").unwrap();
        assert_eq!(writer.durable().unwrap(), None);
        writer.seal(5).unwrap();
        wait_for(&mut writer, 5).unwrap();
        writer.write(None, b"c").unwrap();
        writer.seal(6).unwrap();
        writer.finish().unwrap();
        drop(writer);
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a\nb\nc\n");
    }

    #[test]
    fn a_reader_that_stops_never_makes_the_worker_wait_and_loses_nothing() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut writer = StreamWriter::start("out", ours).unwrap();
        let row = vec![b'x'; 99_999];
        for epoch in 1..=100 {
            writer.write(None, &row).unwrap();
            writer.seal(epoch).unwrap();
        }
        assert_ne!(writer.durable().unwrap(), Some(100), "nobody has read yet");
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        wait_for(&mut writer, 100).unwrap();
        writer.finish().unwrap();
        drop(writer);
        assert_eq!(reading.join().unwrap(), 100 * 100_000);
    }

    #[test]
    fn a_closed_reader_is_a_clear_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut writer = StreamWriter::start("out", ours).unwrap();
        writer.write(None, b"a").unwrap();
        writer.seal(1).unwrap();
        let error = wait_for(&mut writer, 1).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Sink);
        assert!(error.to_string().contains("stdout was closed by its reader"), "{error}");
    }
}
