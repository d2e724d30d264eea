//! A source whose partitions are scripted by a test, step by step.
//!
//! Records get the offsets 0, 1, 2 … of their partition. Partitions are numbered in the order of the list and shared
//! between workers by the usual rule. How many steps a poll takes is a parameter, so that a test can vary the
//! interleaving of partitions and the cut into epochs without changing the input.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::source::{Collector, Partition, Polled, SourceConnector, SourceContext, SourceReader};
use crate::checkpoint::bindings::KnownPartition;
use crate::error::Result;
use crate::record::{DEAD_LETTER_BYTES_MAX, Reason};

/// How long a reader of partitions without an end asks not to be polled.
const IDLE_WAIT: Duration = Duration::from_millis(1);

/// A step of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptStep {
    /// It has a record.
    Bytes(Vec<u8>),
    /// A fetch comes back empty.
    CaughtUp,
    /// It ends; later steps are not taken. A partition without this step stays open, and empty, after its last step.
    Eof,
}

/// A scripted source.
#[derive(Clone, Debug)]
pub struct Script {
    partitions: Arc<Vec<Vec<ScriptStep>>>,
    batch: usize,
    each: bool,
}

impl Script {
    /// A source with one partition per list of steps; a poll takes one step of each partition.
    pub fn new(partitions: Vec<Vec<ScriptStep>>) -> Self {
        let batch = partitions.len().max(1);
        Script { partitions: Arc::new(partitions), batch, each: false }
    }

    /// A source of one partition per list of records, each of which ends.
    pub fn of_records<R: Into<Vec<u8>>>(partitions: Vec<Vec<R>>) -> Self {
        let steps = |records: Vec<R>| {
            records
                .into_iter()
                .map(|record| ScriptStep::Bytes(record.into()))
                .chain([ScriptStep::Eof])
                .collect::<Vec<ScriptStep>>()
        };
        Self::new(partitions.into_iter().map(steps).collect())
    }

    /// Takes `batch` steps per poll (at least 1), in turn over the worker's partitions.
    #[must_use]
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch.max(1);
        self.each = false;
        self
    }

    /// Takes `batch` steps (at least 1) of *each* of the worker's partitions per poll, whatever the budget, and only up
    /// to an empty fetch. So what a poll reads of a partition does not depend on how many workers share the partitions.
    #[must_use]
    pub fn batch_each(mut self, batch: usize) -> Self {
        self.batch = batch.max(1);
        self.each = true;
        self
    }
}

impl Script {
    /// Reads the partitions of one worker; `first` has the offset of each partition's first record.
    fn reader(&self, context: &SourceContext, first: &[u64]) -> Box<dyn SourceReader> {
        let numbered =
            self.partitions.iter().zip(first).zip(0..).map(|((steps, first), n)| (Partition(n), steps, *first));
        let own: VecDeque<ScriptedPartition> = numbered
            .filter(|(partition, ..)| context.owns(*partition))
            .map(|(partition, steps, offset)| ScriptedPartition { partition, steps: steps.clone().into(), offset })
            .collect();
        let Script { batch, each, .. } = *self;
        let (all, record_bytes_max) = (self.partitions.len(), context.record_bytes_max);
        Box::new(ScriptReader { parts: own, all, batch, each, record_bytes_max, announced: false })
    }
}

impl SourceConnector for Script {
    fn is_replayable(&self) -> bool {
        true
    }

    fn is_trusted(&self) -> bool {
        true
    }

    /// Empty fetches before the end of what an earlier run read are not repeated.
    fn reopen(&self, context: &SourceContext, known: &[KnownPartition]) -> Result<Box<dyn SourceReader>> {
        let mut partitions = self.partitions.to_vec();
        let mut first = vec![0; partitions.len()];
        for known in known {
            let mut records = 0;
            partitions[known.partition as usize].retain(|step| {
                let record = matches!(step, ScriptStep::Bytes(_));
                let again =
                    records >= known.next || (*step != ScriptStep::CaughtUp && !(record && records < known.from));
                records += u64::from(record);
                again
            });
            first[known.partition as usize] = known.from;
        }
        Ok(Script { partitions: Arc::new(partitions), ..self.clone() }.reader(context, &first))
    }

    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        Ok(self.reader(context, &vec![0; self.partitions.len()]))
    }
}

struct ScriptedPartition {
    partition: Partition,
    steps: VecDeque<ScriptStep>,
    offset: u64,
}

/// The result of a step.
enum StepResult {
    /// A record of this many bytes.
    Record(usize),
    Nothing,
    Ended,
}

impl ScriptedPartition {
    fn step(&mut self, record_bytes_max: usize, collector: &mut dyn Collector) -> StepResult {
        match self.steps.pop_front() {
            Some(ScriptStep::Eof) => {
                collector.ended(self.partition);
                StepResult::Ended
            }
            Some(ScriptStep::CaughtUp) | None => {
                collector.caught_up(self.partition);
                StepResult::Nothing
            }
            Some(ScriptStep::Bytes(bytes)) => {
                let size = bytes.len();
                if size > record_bytes_max {
                    let head = &bytes[..size.min(DEAD_LETTER_BYTES_MAX)];
                    let detail = format!("record_bytes_max is {record_bytes_max}");
                    collector.rejected(self.partition, self.offset, size as u64, head, Reason::TooLarge, &detail);
                } else {
                    collector.record(self.partition, self.offset, &bytes);
                }
                self.offset += 1;
                StepResult::Record(size)
            }
        }
    }
}

struct ScriptReader {
    /// The partitions that have not ended, the next one first.
    parts: VecDeque<ScriptedPartition>,
    /// How many partitions all workers have together.
    all: usize,
    batch: usize,
    each: bool,
    record_bytes_max: usize,
    announced: bool,
}

impl ScriptReader {
    /// Takes steps in turn over the partitions.
    fn take_in_turn(&mut self, budget_bytes: usize, collector: &mut dyn Collector) {
        let mut bytes_taken = 0;
        for _ in 0..self.batch {
            let Some(mut part) = self.parts.pop_front() else { break };
            match part.step(self.record_bytes_max, collector) {
                StepResult::Ended => continue,
                StepResult::Nothing => {}
                StepResult::Record(size) => bytes_taken += size,
            }
            self.parts.push_back(part);
            if bytes_taken >= budget_bytes {
                break;
            }
        }
    }

    /// Takes a batch of each partition.
    fn take_each(&mut self, collector: &mut dyn Collector) {
        self.parts.retain_mut(|part| {
            for _ in 0..self.batch {
                match part.step(self.record_bytes_max, collector) {
                    StepResult::Ended => return false,
                    StepResult::Nothing => break,
                    StepResult::Record(_) => {}
                }
            }
            true
        });
    }
}

impl SourceReader for ScriptReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        if !self.announced {
            self.announced = true;
            for part in &self.parts {
                collector.joined(part.partition, &part.partition.0.to_string());
            }
        }
        match (budget_bytes, self.each) {
            (0, _) => {}
            (_, true) => self.take_each(collector),
            (_, false) => self.take_in_turn(budget_bytes, collector),
        }
        Ok(match self.parts.iter().all(|part| part.steps.is_empty()) {
            _ if self.parts.is_empty() => Polled::Finished,
            true => Polled::Wait(IDLE_WAIT),
            false => Polled::More,
        })
    }

    fn partitions(&self) -> Option<usize> {
        Some(self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::tests::{Call, Calls};
    use super::*;

    fn context(worker: usize, workers: usize) -> SourceContext {
        SourceContext { name: "in".into(), worker, workers, record_bytes_max: 3, journals: None }
    }

    #[test]
    fn steps_are_taken_in_turn_and_partitions_belong_to_one_worker() {
        let script = Script::of_records(vec![vec!["a", "b"], vec!["c"], vec!["long"]]);
        let mut heard = Calls::default();
        let mut reader = script.clone().batch(2).open(&context(0, 2)).unwrap();
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::More);
        assert_eq!(heard.said[0], Call::Joined(0, "0".into()));
        assert_eq!(heard.said[2..], [Call::Record(0, 0, b"a".to_vec()), Call::Rejected(2, 0, 4, b"long".to_vec())]);
        while reader.poll(1_000, &mut heard).unwrap() != Polled::Finished {}
        assert_eq!(heard.texts(), ["a", "b"]);

        let mut heard = Calls::default();
        let mut reader = script.open(&context(1, 2)).unwrap();
        while reader.poll(1, &mut heard).unwrap() != Polled::Finished {}
        assert_eq!(heard.texts(), ["c"]);
    }

    #[test]
    fn a_batch_of_each_partition_ends_at_an_empty_fetch() {
        let record = |text: &str| ScriptStep::Bytes(text.into());
        let script = Script::new(vec![
            vec![record("a"), record("b"), ScriptStep::CaughtUp, record("c"), ScriptStep::Eof],
            vec![record("x"), record("y"), record("z"), ScriptStep::Eof],
        ]);
        let mut heard = Calls::default();
        let mut reader = script.batch_each(3).open(&context(0, 1)).unwrap();
        assert_eq!(reader.poll(0, &mut heard).unwrap(), Polled::More);
        assert!(heard.texts().is_empty(), "a poll without a budget only announces");
        reader.poll(1, &mut heard).unwrap();
        assert_eq!((heard.texts().len(), heard.caught_up.contains(&0)), (5, true));
        assert_eq!(reader.poll(1, &mut heard).unwrap(), Polled::Finished);
        assert_eq!(heard.texts(), ["a", "b", "c", "x", "y", "z"]);
    }

    #[test]
    fn a_partition_without_an_end_stays_open_and_empty() {
        let script = Script::new(vec![vec![ScriptStep::Bytes(b"a".to_vec()), ScriptStep::CaughtUp]]);
        let mut heard = Calls::default();
        let mut reader = script.open(&context(0, 1)).unwrap();
        assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::More);
        assert!(heard.caught_up.is_empty());
        for _ in 0..3 {
            assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Wait(IDLE_WAIT));
            assert!(heard.caught_up.contains(&0));
        }
    }
}
