//! Lines that can be read again: in a run with a state directory, standard input goes through a
//! [journal](crate::checkpoint::journal).
//!
//! One thread reads, one appends to the journal, and the reader here reads the journal, up to what is on the disk. So a
//! record is seen by the dataflow only when it can be read again, and the reader does the same whether a record has
//! just come or was read by a process that was killed.
//!
//! The inputs of all runs on a state directory are *one* partition, one after the other, as if one process had read
//! them: a line is as late or as early as it would have been then. If each run's input were a partition, each would
//! join where the watermark is by then, and what is out of order around a restart would be judged by when the restart
//! was.
//!
//! What the end of an input means cannot be seen: that all is done, or that the program at the other end was stopped
//! and will be started again. The setting says it ([`AtEnd`]). By default the partition ends, as it does without a
//! state directory: all windows close, and with them the time of the dataflow is over, so a later run that gets more
//! input refuses it, rather than call everything late. With `keep` the run ends as after a signal, and the next one
//! goes on. A run that was killed has seen no end, and is always gone on from.

use std::io::Read;

use super::chunks::Chunks;
use super::input::{AtEnd, IDLE_WAIT, STDIN};
use super::keep::{Keeper, Outcome};
use crate::checkpoint::bindings::KnownPartition;
use crate::checkpoint::journal::{Cursor, Entry, Journal, Journals, Wanted};
use crate::connectors::lines::too_large;
use crate::connectors::source::{Collector, Partition, Polled, SourceContext, SourceReader};
use crate::error::Result;
use crate::record::Reason;

/// The lines of this run's input and of those before it, by way of a journal.
pub(super) struct KeptReader {
    record_bytes_max: usize,
    at_end: AtEnd,
    ended_before: bool,
    begins_at: u64,
    journal: Journal,
    cursor: Cursor,
    keeping: Outcome,
    announced: bool,
    held: bool,
    finished: bool,
}

impl KeptReader {
    /// Goes on with what is `known` of the partition, and with the lines of `stream` after that.
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
        let keeper = Keeper {
            source: context.name.clone(),
            chunks: Chunks::start(&context.name, stream)?,
            record_bytes_max: context.record_bytes_max,
            appender,
            ended_before,
        };
        Ok(KeptReader {
            record_bytes_max: context.record_bytes_max,
            at_end,
            ended_before,
            begins_at: from,
            journal,
            cursor,
            keeping: keeper.start()?,
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

impl SourceReader for KeptReader {
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
                // An input that nobody looks at is not silent.
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

/// Whoever is next on the state directory appends to a journal that nobody else does.
impl Drop for KeptReader {
    fn drop(&mut self) {
        self.journal.close();
    }
}

#[cfg(test)]
mod tests;
