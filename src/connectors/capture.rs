//! A sink whose rows a test reads back.
//!
//! A row is visible once its epoch is sealed. The order of rows between workers is not defined: compare
//! [`Capture::sorted`].
//! [`Capture::sorted`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use crate::error::Result;
use crate::time::Epoch;

/// A row and its key.
pub type Row = (Option<Vec<u8>>, Vec<u8>);

/// A sink that keeps its rows in memory; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    inner: Arc<Mutex<Captured>>,
}

#[derive(Debug, Default)]
struct Captured {
    rows: Vec<Row>,
    finished: usize,
}

impl Capture {
    /// An empty capture.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rows of all sealed epochs with their keys; each worker's in the order it wrote them.
    pub fn rows(&self) -> Vec<Row> {
        self.lock().rows.clone()
    }

    /// The rows of all sealed epochs as text, sorted: the form in which the outputs of two runs are compared.
    pub fn sorted(&self) -> Vec<String> {
        let mut texts: Vec<String> =
            self.lock().rows.iter().map(|(_, row)| String::from_utf8_lossy(row).into_owned()).collect();
        texts.sort_unstable();
        texts
    }

    /// Takes the rows out.
    pub fn take(&self) -> Vec<Row> {
        std::mem::take(&mut self.lock().rows)
    }

    /// How many workers have finished the sink.
    pub fn finished(&self) -> usize {
        self.lock().finished
    }

    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SinkConnector for Capture {
    fn open(&self, _context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(CaptureWriter { capture: self.clone(), unsealed: Vec::new(), sealed: None }))
    }

    fn delivery(&self) -> Delivery {
        Delivery::None
    }
}

struct CaptureWriter {
    capture: Capture,
    unsealed: Vec<Row>,
    sealed: Option<Epoch>,
}

impl SinkWriter for CaptureWriter {
    fn write(&mut self, key: Option<&[u8]>, row: &[u8]) -> Result<()> {
        self.unsealed.push((key.map(<[u8]>::to_vec), row.to_vec()));
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.capture.lock().rows.append(&mut self.unsealed);
        self.sealed = Some(epoch);
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        Ok(self.sealed)
    }

    fn finish(&mut self) -> Result<()> {
        self.capture.lock().finished += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_seen_once_sealed() {
        let capture = Capture::new();
        let context = SinkContext { name: "out".into(), shard: 0, shards: 1, run_ms: 0, generation: None };
        let mut writer = capture.open(&context).unwrap();
        writer.write(Some(b"k"), b"b").unwrap();
        writer.write(None, b"a").unwrap();
        assert_eq!((capture.rows(), writer.durable().unwrap()), (vec![], None));
        writer.seal(7).unwrap();
        assert_eq!((capture.sorted(), writer.durable().unwrap()), (vec!["a".into(), "b".into()], Some(7)));
        writer.finish().unwrap();
        assert_eq!((capture.take()[0].0.as_deref(), capture.finished()), (Some(&b"k"[..]), 1));
        assert!(capture.rows().is_empty());
    }
}
