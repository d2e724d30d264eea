//! Standard input: the lines of one partition, read by worker 0, which is in the first process.

use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::journaled::JournaledReader;
use super::passing::StreamReader;
use crate::checkpoint::bindings::KnownPartition;
use crate::connectors::source::{
    Collector, Partition, Polled, SourceConnector, SourceContext, SourceReader, not_replayable,
};
use crate::error::{Error, Result};
use crate::settings::{Bytes, Section};

/// How soon an empty input is checked again.
pub(super) const IDLE_WAIT: Duration = Duration::from_millis(10);

pub(super) const STDIN: Partition = Partition(0);

/// The range of `journal_bytes_max`.
const JOURNAL_BYTES: RangeInclusive<Bytes> = Bytes(1 << 20)..=Bytes(1 << 50);

const JOURNAL_BYTES_DEFAULT: Bytes = Bytes(1 << 30);

/// There is one standard input; two sources would each get a part of it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What the end of the input means in a run with a state directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// It is complete: all windows close, and later runs can add nothing.
    #[default]
    Close,
    /// The run ends, and the next one continues with its own input: windows stay open.
    Keep,
}

/// A source of kind `stdin`.
#[derive(Clone, Copy, Debug)]
pub struct StdinSource {
    journal_bytes_max: u64,
    at_end: AtEnd,
}

impl Default for StdinSource {
    fn default() -> Self {
        StdinSource { journal_bytes_max: JOURNAL_BYTES_DEFAULT.0, at_end: AtEnd::default() }
    }
}

impl StdinSource {
    /// Reads the source's section; its settings concern runs with a state directory.
    pub fn from_section(section: &mut Section<'_>) -> Option<Self> {
        let ends = [("close", AtEnd::Close), ("keep", AtEnd::Keep)];
        Some(StdinSource {
            journal_bytes_max: section.within("journal_bytes_max", JOURNAL_BYTES, JOURNAL_BYTES_DEFAULT).0,
            at_end: section.choice("at_end", &ends, AtEnd::default()),
        })
    }
}

/// Takes standard input, for the one source that may have it.
fn take(context: &SourceContext) -> Result<io::Stdin> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Error::source(format!("source {:?}: standard input is already being read", context.name))
            .hint("only one source of a run can be of kind \"stdin\""));
    }
    Ok(io::stdin())
}

impl SourceConnector for StdinSource {
    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        if !context.owns(STDIN) {
            return Ok(Box::new(NothingToRead));
        }
        Ok(Box::new(StreamReader::start(context, take(context)?)?))
    }

    /// It has a journal in a run with a state directory.
    fn is_replayable(&self) -> bool {
        true
    }

    fn reopen(&self, context: &SourceContext, known: &[KnownPartition]) -> Result<Box<dyn SourceReader>> {
        let Some(journals) = &context.journals else { return Err(not_replayable(&context.name)) };
        if !context.owns(STDIN) {
            return Ok(Box::new(NothingToRead));
        }
        let known = known.iter().find(|known| known.partition == STDIN.0);
        let (bytes_max, at_end) = (self.journal_bytes_max, self.at_end);
        Ok(Box::new(JournaledReader::start(context, journals, known, (bytes_max, at_end), take(context)?)?))
    }
}

/// The reader of workers that do not own the partition.
struct NothingToRead;

impl SourceReader for NothingToRead {
    fn poll(&mut self, _budget_bytes: usize, _collector: &mut dyn Collector) -> Result<Polled> {
        Ok(Polled::Finished)
    }

    fn partitions(&self) -> Option<usize> {
        Some(1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::connectors::lines::tests::Calls;
    use crate::settings::{Node, Value};

    pub(crate) fn context(record_bytes_max: usize) -> SourceContext {
        SourceContext { name: "in".into(), worker: 0, workers: 1, record_bytes_max, journals: None }
    }

    #[test]
    fn other_workers_have_nothing_to_read() {
        let other = SourceContext { worker: 1, workers: 2, ..context(100) };
        let mut reader = StdinSource::default().open(&other).unwrap();
        let mut heard = Calls::default();
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Finished);
        assert!(heard.said.is_empty());
    }

    #[test]
    fn without_a_state_directory_there_is_no_journal() {
        let error = StdinSource::default().reopen(&context(100), &[]).err().unwrap();
        assert!(error.to_string().contains("cannot be read again"), "{error}");
    }

    #[test]
    fn the_section_is_read_and_its_faults_are_told() {
        let read = |entries: [(&str, &str); 2]| {
            let entry = |(key, text): (&str, &str)| (key.to_owned(), Node::code(Value::String(text.to_owned())));
            let table = Node::code(Value::Table(entries.map(entry).into()));
            let mut faults = Vec::new();
            let mut section = Section::new("s", Some(&table), &mut faults);
            let source = StdinSource::from_section(&mut section).unwrap();
            section.finish();
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            (source.journal_bytes_max, source.at_end, faults)
        };
        let (bytes, at_end, faults) = read([("journal_bytes_max", "64MiB"), ("at_end", "keep")]);
        assert_eq!((bytes, at_end, faults), (64 << 20, AtEnd::Keep, vec![]));
        let (bytes, at_end, faults) = read([("journal_bytes_max", "1kB"), ("at_end", "never")]);
        assert_eq!((bytes, at_end, faults.len()), (1 << 30, AtEnd::Close, 2));
        assert!(faults[0].contains("1MiB") && faults[1].contains("\"close\", \"keep\""), "{faults:?}");
    }
}
