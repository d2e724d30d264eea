//! Reads another source at a rate, as if its records arrived then: a replay, to measure latency.
//!
//! The loop is open: the pace does not wait for the reader. A reader that is behind gets everything at once that has
//! become due meanwhile, with the time for which it was due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::source::{Block, Collector, Partition, Polled, SourceConnector, SourceContext, SourceReader};
use crate::error::Result;
use crate::record::Reason;
use crate::telemetry::SkipReason;

/// How many bytes must be due before blocks are handed over. A block is about this large: with less, records would be
/// handed over before they are due.
const BLOCK_DUE: f64 = 128.0 * 1024.0;

/// How much at most becomes due before the reader is polled again, in seconds of the pace.
const STEP: f64 = 0.000_5;

/// How long after its last record the source ends: then that record was released as any other, and the cost of the end
/// itself (all windows close) is in no record's latency.
const LINGER: Duration = Duration::from_millis(500);

/// The shortest and the longest wait, in seconds.
const WAIT_MIN: f64 = 0.000_05;
const WAIT_MAX: f64 = 1.0;

/// A source that is read at a rate.
pub struct Paced {
    inner: Arc<dyn SourceConnector>,
    bytes_per_second: f64,
}

impl Paced {
    /// Reads `inner` at `bytes_per_second` (more than 0) over all workers, each partition at an equal share: bytes of
    /// records, each with one for its delimiter.
    pub fn new(inner: Arc<dyn SourceConnector>, bytes_per_second: f64) -> Self {
        Paced { inner, bytes_per_second }
    }
}

impl SourceConnector for Paced {
    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        let inner = self.inner.open(context)?;
        let all = inner.partitions().unwrap_or(context.workers).max(1);
        Ok(Box::new(PacedReader {
            inner,
            per_partition: self.bytes_per_second / all as f64,
            partitions: 0,
            since: None,
            given: 0,
            waited: Duration::ZERO,
            ended: Vec::new(),
            over: None,
        }))
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    fn is_trusted(&self) -> bool {
        self.inner.is_trusted()
    }

    fn block_at(&self, name: &str, place: &[u8]) -> Result<Box<dyn Block>> {
        self.inner.block_at(name, place)
    }
}

struct PacedReader {
    inner: Box<dyn SourceReader>,
    /// The rate of one partition, in bytes per second.
    per_partition: f64,
    /// How many this worker has.
    partitions: u32,
    /// When bytes first became due.
    since: Option<Instant>,
    given: u64,
    waited: Duration,
    /// Partitions that have ended, which was not reported to the collector yet.
    ended: Vec<Partition>,
    /// When all had ended.
    over: Option<Instant>,
}

impl PacedReader {
    fn rate(&self) -> f64 {
        self.per_partition * f64::from(self.partitions)
    }

    /// Ends the partitions, once it is time.
    fn end(&mut self, over: Instant, collector: &mut dyn Collector) -> Polled {
        let left = LINGER.saturating_sub(over.elapsed());
        if !left.is_zero() && !self.ended.is_empty() {
            return Polled::Wait(left);
        }
        self.ended.drain(..).for_each(|partition| collector.ended(partition));
        Polled::Finished
    }
}

impl SourceReader for PacedReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        self.waited = Duration::ZERO;
        if let Some(over) = self.over {
            return Ok(self.end(over, collector));
        }
        let mut due = 0.0;
        if budget_bytes > 0 && self.partitions > 0 {
            let elapsed = self.since.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
            due = elapsed * self.rate() - self.given as f64;
            if due < 1.0 {
                return Ok(Polled::Wait(wait(1.0 - due, self.rate())));
            }
            self.waited = Duration::from_secs_f64(due / self.rate());
        }
        let ended = &mut self.ended;
        let mut counting = Counting { to: collector, bytes: 0, joined: 0, ended, blocks: due >= BLOCK_DUE };
        let polled = self.inner.poll(budget_bytes.min(due as usize), &mut counting)?;
        let Counting { bytes, joined, .. } = counting;
        self.given += bytes;
        self.partitions += joined;
        let due = due - bytes as f64;
        Ok(match polled {
            Polled::Finished => {
                let over = *self.over.insert(Instant::now());
                self.end(over, collector)
            }
            Polled::More if budget_bytes > 0 && due < 1.0 => Polled::Wait(wait(1.0 - due, self.rate())),
            other => other,
        })
    }

    fn waited(&self) -> Duration {
        self.waited.max(self.inner.waited())
    }

    fn partitions(&self) -> Option<usize> {
        self.inner.partitions()
    }
}

/// How long until enough is due that another poll is worthwhile, if `missing` bytes are missing until anything is.
fn wait(missing: f64, rate: f64) -> Duration {
    let enough = (rate * STEP).min(BLOCK_DUE);
    Duration::from_secs_f64(((missing + enough) / rate).clamp(WAIT_MIN, WAIT_MAX))
}

/// Counts what is passed to the collector.
struct Counting<'c> {
    to: &'c mut dyn Collector,
    bytes: u64,
    joined: u32,
    ended: &'c mut Vec<Partition>,
    blocks: bool,
}

impl Collector for Counting<'_> {
    fn joined(&mut self, partition: Partition, label: &str) {
        self.joined += 1;
        self.to.joined(partition, label);
    }

    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
        self.bytes += bytes.len() as u64 + 1;
        self.to.record(partition, offset, bytes);
    }

    fn takes_blocks(&self, partition: Partition) -> bool {
        self.blocks && self.to.takes_blocks(partition)
    }

    fn block_bytes(&self) -> usize {
        self.to.block_bytes()
    }

    fn block(&mut self, partition: Partition, block: Box<dyn Block>) {
        self.bytes += block.size() as u64;
        self.to.block(partition, block);
    }

    fn rejected(&mut self, partition: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, detail: &str) {
        self.bytes += size + 1;
        self.to.rejected(partition, offset, size, head, reason, detail);
    }

    fn caught_up(&mut self, partition: Partition) {
        self.to.caught_up(partition);
    }

    fn lag(&mut self, partition: Partition, lag: u64) {
        self.to.lag(partition, lag);
    }

    fn skipped(&mut self, reason: SkipReason, paths: u64) {
        self.to.skipped(reason, paths);
    }

    fn ended(&mut self, partition: Partition) {
        self.ended.push(partition);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::file::FileSource;
    use super::super::lines::tests::Calls;
    use super::*;

    /// Lines of 10 bytes in each of two files, read in 0.2 s.
    const LINES: usize = 20_000;
    const RATE: f64 = 2_000_000.0;
    /// By how much a poll may exceed what is due: a file is read in pieces of at least 4 KiB.
    const PIECES: f64 = 2.0 * 4096.0;

    fn source(folder: &tempfile::TempDir) -> Paced {
        for file in ["a", "b"] {
            let text: String = (0..LINES).map(|line| format!("{file}{line:08}\n")).collect();
            fs::write(folder.path().join(file), text).unwrap();
        }
        let pattern = format!("{}/*", folder.path().display());
        Paced::new(Arc::new(FileSource::new([pattern])), RATE)
    }

    fn context(worker: usize, workers: usize) -> SourceContext {
        SourceContext { name: "in".into(), worker, workers, record_bytes_max: 100, journals: None }
    }

    /// Reads to the end; returns how long that took and how many records had come when.
    fn read(reader: &mut dyn SourceReader) -> (Duration, Vec<(Duration, usize)>) {
        let mut heard = Calls::default();
        let start = Instant::now();
        reader.poll(0, &mut heard).unwrap();
        let (mut records, mut course) = (heard.texts().len(), Vec::new());
        loop {
            let mut heard = Calls::default();
            let polled = reader.poll(256 * 1024, &mut heard).unwrap();
            records += heard.texts().len();
            course.push((start.elapsed(), records));
            match polled {
                Polled::Finished => return (start.elapsed(), course),
                Polled::Wait(wait) => std::thread::sleep(wait),
                Polled::More => {}
            }
        }
    }

    #[test]
    fn records_come_at_the_rate_and_never_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let source = source(&folder);
        // With two workers each reads its half in the same time.
        for (workers, records) in [(1, 2 * LINES), (2, LINES)] {
            let mut reader = source.open(&context(0, workers)).unwrap();
            let (took, course) = read(&mut *reader);
            assert_eq!(course.last().unwrap().1, records, "{workers} workers");
            assert!(took >= Duration::from_millis(190) + LINGER, "{workers} workers: {took:?}");
            for (at, records) in course {
                let due = at.as_secs_f64() * RATE / workers as f64;
                assert!(records as f64 * 10.0 <= due + PIECES, "{records} records after {at:?}");
            }
        }
    }

    #[test]
    fn a_reader_that_is_behind_catches_up_and_is_told_how_late_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = source(&folder).open(&context(0, 1)).unwrap();
        let mut heard = Calls::default();
        reader.poll(0, &mut heard).unwrap();
        reader.poll(1_000, &mut heard).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::More, "there is more due than the budget");
        assert!(reader.waited() >= Duration::from_millis(90), "{:?}", reader.waited());
        while reader.poll(1 << 20, &mut heard).unwrap() == Polled::More {}
        assert!(heard.texts().len() >= LINES - 1_000, "{}", heard.texts().len());
        reader.poll(1_000, &mut heard).unwrap();
        assert!(reader.waited() < Duration::from_millis(90), "{:?}", reader.waited());
    }

    #[test]
    fn a_worker_without_partitions_finishes_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = source(&folder).open(&context(2, 3)).unwrap();
        let mut heard = Calls::default();
        reader.poll(0, &mut heard).unwrap();
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Finished);
    }
}
