//! The partitions of a reader: position, end, and whether they are empty. No I/O.

use crate::connectors::source::{Collector, Partition};
use crate::record::Reason;

use super::batch::Payload;
use super::statistics::PartitionReport;

/// The partitions of one reader.
pub(super) struct Partitions {
    /// By number; `None` for those of other workers.
    states: Vec<Option<PartitionProgress>>,
    /// For messages; payloads are cut already.
    record_bytes_max: usize,
    unannounced: Vec<u32>,
    newly_ended: Vec<u32>,
    /// Partitions that have not ended.
    live: usize,
}

struct PartitionProgress {
    /// The first offset to read.
    from: i64,
    /// The next offset expected.
    position: i64,
    /// The offset before which the partition ends, if the source is finite.
    end: Option<i64>,
    ended: bool,
    /// The client has said that the end of the log was reached, and no record has come since.
    at_end: bool,
    /// The end of the log for which `at_end` was verified: control records make it differ from `position`.
    empty_at: Option<i64>,
}

impl Partitions {
    /// No partitions yet.
    pub(super) fn new(record_bytes_max: usize) -> Self {
        Partitions { states: Vec::new(), record_bytes_max, unannounced: Vec::new(), newly_ended: Vec::new(), live: 0 }
    }

    /// Adds a partition that is read from `position`, and before `end` if there is one.
    pub(super) fn add(&mut self, partition: u32, position: i64, end: Option<i64>) {
        let index = partition as usize;
        if self.states.len() <= index {
            self.states.resize_with(index + 1, || None);
        }
        self.states[index] =
            Some(PartitionProgress { from: position, position, end, ended: false, at_end: false, empty_at: None });
        self.unannounced.push(partition);
        self.live += 1;
    }

    /// Tells the collector of new partitions; those that are empty end at once.
    pub(super) fn announce(&mut self, collector: &mut dyn Collector) {
        for partition in std::mem::take(&mut self.unannounced) {
            collector.joined(Partition(partition), &partition.to_string());
            self.end_if_reached(partition, collector);
        }
    }

    /// Handles a message. Returns whether its offset had been delivered before.
    pub(super) fn record(
        &mut self,
        partition: u32,
        offset: i64,
        payload: Payload<'_>,
        collector: &mut dyn Collector,
    ) -> bool {
        let Some(state) = self.states.get_mut(partition as usize).and_then(Option::as_mut) else { return false };
        if state.ended {
            return false;
        }
        if offset < state.position {
            return true;
        }
        state.position = offset + 1;
        state.at_end = false;
        state.empty_at = None;
        if state.end.is_none_or(|end| offset < end) {
            let id = Partition(partition);
            let number = offset.cast_unsigned();
            match payload {
                Payload::Whole(bytes) => collector.record(id, number, bytes),
                Payload::TooLarge { size, head } => {
                    let detail = format!("{size} bytes, and record_bytes_max is {}", self.record_bytes_max);
                    collector.rejected(id, number, size as u64, head, Reason::TooLarge, &detail);
                }
                Payload::Missing => collector.rejected(id, number, 0, &[], Reason::Malformed, "no value (a tombstone)"),
            }
        }
        self.end_if_reached(partition, collector);
        false
    }

    /// Handles a fetch that came back empty at the end of the partition's log.
    pub(super) fn end_of_log(&mut self, partition: u32, collector: &mut dyn Collector) {
        let Some(state) = self.states.get_mut(partition as usize).and_then(Option::as_mut) else { return };
        if state.ended {
            return;
        }
        state.at_end = true;
        state.empty_at = None;
        collector.lag(Partition(partition), 0);
        collector.caught_up(Partition(partition));
        // The log never ends before the end that was looked up, but control records may be all that is left before it.
        if let Some(end) = state.end {
            state.position = state.position.max(end);
        }
        self.end_if_reached(partition, collector);
    }

    /// Handles the client's statistics. `drained`: everything fetched before them has been handed over.
    pub(super) fn report(&mut self, report: &[PartitionReport], drained: bool, collector: &mut dyn Collector) {
        for figures in report {
            let Some(state) = self.states.get_mut(figures.partition as usize).and_then(Option::as_mut) else {
                continue;
            };
            if state.ended {
                continue;
            }
            if state.at_end && figures.empty && (drained || state.position == figures.end) {
                state.empty_at = Some(figures.end);
            }
            let partition = Partition(figures.partition);
            if state.at_end && state.empty_at == Some(figures.end) {
                collector.lag(partition, 0);
                if figures.empty {
                    collector.caught_up(partition);
                }
            } else {
                collector.lag(partition, (figures.end - state.position).max(0).cast_unsigned());
            }
        }
    }

    /// Whether no partition is left to read.
    pub(super) fn all_ended(&self) -> bool {
        self.live == 0
    }

    /// The partitions that have ended since the last call.
    pub(super) fn newly_ended(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.newly_ended)
    }

    /// The first offset that is read of a partition.
    pub(super) fn from(&self, partition: u32) -> u64 {
        self.states.get(partition as usize).and_then(Option::as_ref).map_or(0, |state| state.from.cast_unsigned())
    }

    /// The next offset of every partition that is being read.
    pub(super) fn positions(&self) -> impl Iterator<Item = (u32, i64)> {
        let reading = |state: &&PartitionProgress| !state.ended;
        (0..).zip(&self.states).filter_map(move |(p, state)| state.as_ref().filter(reading).map(|s| (p, s.position)))
    }

    /// Continues at `position`: what came before is gone.
    pub(super) fn skip_to(&mut self, partition: u32, position: i64, collector: &mut dyn Collector) {
        let Some(state) = self.states.get_mut(partition as usize).and_then(Option::as_mut) else { return };
        let records = (position - state.position).unsigned_abs();
        collector.gap(Partition(partition), position.unsigned_abs(), records);
        state.position = position;
        state.at_end = false;
        state.empty_at = None;
        self.end_if_reached(partition, collector);
    }

    fn end_if_reached(&mut self, partition: u32, collector: &mut dyn Collector) {
        let Some(state) = self.states.get_mut(partition as usize).and_then(Option::as_mut) else { return };
        if !state.ended && state.end.is_some_and(|end| state.position >= end) {
            state.ended = true;
            self.live -= 1;
            self.newly_ended.push(partition);
            collector.ended(Partition(partition));
        }
    }
}

#[cfg(test)]
mod tests;
