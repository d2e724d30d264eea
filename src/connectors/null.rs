//! A sink that drops all rows: for measuring a dataflow without its output.

use super::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use crate::error::Result;
use crate::settings::Section;
use crate::time::Epoch;

/// A sink of kind `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl NullSink {
    /// Reads the sink's section, which has no settings.
    pub fn from_section(_section: &mut Section<'_>) -> Option<Self> {
        Some(NullSink)
    }
}

impl SinkConnector for NullSink {
    fn open(&self, _context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(NullWriter { sealed: None }))
    }

    fn delivery(&self) -> Delivery {
        Delivery::None
    }
}

struct NullWriter {
    sealed: Option<Epoch>,
}

impl SinkWriter for NullWriter {
    fn write(&mut self, _key: Option<&[u8]>, _row: &[u8]) -> Result<()> {
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.sealed = Some(epoch);
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        Ok(self.sealed)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
