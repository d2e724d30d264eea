//! A replayable standard input: in a run with a state directory, it goes through a
//! [journal](crate::checkpoint::journal).
//!
//! One thread reads, one appends to the journal, and the reader here reads the journal, up to what is on disk. So the
//! dataflow sees a record only when it can be read again, and the reader does the same whether a record has just
//! arrived or was read by a process that was killed.
//!
//! The inputs of all runs on a state directory are *one* partition, one after the other, as if one process had read
//! them: a line is as late as it would have been then. If each run's input were a partition, each would join at the
//! watermark of that moment, and the lateness of disorder around a restart would depend on when the restart was.
//!
//! The end of an input can mean two things: that everything is done, or that the program at the other end was stopped
//! and will be started again. The setting chooses ([`AtEnd`]). By default the partition ends, as it does without a
//! state directory: all windows close, the watermark is at the end of time, and a later run that gets more input
//! refuses it, rather than treating everything as late. With `keep` the run ends as after a signal, and the next one
//! resumes it. A run that was killed has seen no end, and can always be resumed.

use std::io::Read;

use super::chunks::Chunks;
use super::input::{AtEnd, IDLE_WAIT, STDIN};
use super::journal_writer::{InputOutcome, JournalWriter};
use crate::checkpoint::bindings::KnownPartition;
use crate::checkpoint::journal::{Entry, Journal, JournalReader, Journals, Wanted};
use crate::connectors::lines::too_large;
use crate::connectors::source::{Collector, Partition, Polled, SourceContext, SourceReader};
use crate::error::Result;
use crate::record::Reason;

/// Reads the lines of this run's input and of those before it, from a journal.
pub(super) struct JournaledReader {
    record_bytes_max: usize,
    at_end: AtEnd,
    ended_before: bool,
    begins_at: u64,
    journal: Journal,
    cursor: JournalReader,
    keeping: InputOutcome,
    announced: bool,
    held: bool,
    finished: bool,
}

impl JournaledReader {
    /// Resumes the partition as `known`, and continues with the lines of `stream`.
    pub(super) fn start(
        context: &SourceContext,
        journals: &Journals,
        known: Option<&KnownPartition>,
        (bytes_max, at_end): (u64, AtEnd),
        stream: impl Read + Send + 'static,
    ) -> Result<Self> {
        let (from, next) = known.map_or((0, 0), |known| (known.from, known.next));
        let ended_before = known.is_some_and(|known| known.ended);
        let (journal, appender, cursor) = journals.open(&context.name, STDIN.0, Wanted { from, next, bytes_max })?;
        if journal.durable() > next {
            let records = journal.durable() - next;
            tracing::info!(source = context.name, records, "records of the journal belong to no epoch yet: read now");
        }
        let writer = JournalWriter {
            source: context.name.clone(),
            chunks: Chunks::start(&context.name, stream)?,
            record_bytes_max: context.record_bytes_max,
            appender,
            ended_before,
        };
        Ok(JournaledReader {
            record_bytes_max: context.record_bytes_max,
            at_end,
            ended_before,
            begins_at: from,
            journal,
            cursor,
            keeping: writer.start()?,
            announced: false,
            held: false,
            finished: false,
        })
    }

    /// Everything was handed over, and nothing more is appended.
    fn end(&mut self, collector: &mut dyn Collector) -> Result<Polled> {
        if let Some(outcome) = self.keeping.take() {
            outcome?;
        }
        self.finished = true;
        if self.at_end == AtEnd::Close || self.ended_before {
            collector.ended(STDIN);
        }
        Ok(Polled::Finished)
    }
}

impl SourceReader for JournaledReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        if !self.announced {
            self.announced = true;
            collector.joined(STDIN, "stdin");
        }
        if self.finished {
            return Ok(Polled::Finished);
        }
        if self.held {
            return Ok(Polled::Wait(IDLE_WAIT));
        }
        // Asked first: what was appended before the end is in the journal then.
        let is_over = self.keeping.is_known();
        let mut taken = 0;
        let polled = loop {
            if taken >= budget_bytes.max(1) {
                break Polled::More;
            }
            let Some((offset, entry)) = self.cursor.read()? else {
                if is_over {
                    break self.end(collector)?;
                }
                // An input that is not read is not idle.
                if taken == 0 && !self.journal.is_full() {
                    collector.caught_up(STDIN);
                }
                break Polled::Wait(IDLE_WAIT);
            };
            match entry {
                Entry::Record(bytes) => {
                    taken += bytes.len() + 1;
                    collector.record(STDIN, offset, bytes);
                }
                Entry::Rejected { size, head } => {
                    taken += head.len() + 1;
                    let detail = too_large(size, self.record_bytes_max);
                    collector.rejected(STDIN, offset, size, head, Reason::TooLarge, &detail);
                }
            }
        };
        collector.lag(STDIN, self.journal.durable() - self.cursor.offset());
        collector.journal(STDIN, self.journal.bytes(), self.journal.is_full());
        Ok(polled)
    }

    fn begins_at(&self, _: Partition) -> u64 {
        self.begins_at
    }

    fn hold(&mut self, _: Partition, held: bool) {
        self.held = held;
    }

    fn checkpointed(&mut self, _: Partition, next: u64) {
        self.journal.prune(next);
    }

    fn partitions(&self) -> Option<usize> {
        Some(1)
    }
}

/// The next run on the state directory must be the only one that appends.
impl Drop for JournaledReader {
    fn drop(&mut self) {
        self.journal.close();
    }
}

#[cfg(test)]
mod tests;
