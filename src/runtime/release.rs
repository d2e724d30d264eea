//! From read to release: how long records are in flight.
//!
//! A source records how many records it read when, and in which epoch. One operator behind all sinks sees their
//! frontier: when they are done with an epoch, timely schedules it at once, so nothing has to poll for it, and the
//! measurement is as exact as this worker can make it. It feeds only telemetry.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::{Concatenate, Probe};
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use crate::telemetry::SourceMetrics;
use crate::time::Epoch;

/// The operator's name; no stage of a dataflow can have it.
const NAME: &str = "sinks.release";

/// Records that were read within this time of each other count as read with the first of them. It bounds what is kept
/// in memory to this worker's time in flight, however many polls there are.
const RESOLUTION: Duration = Duration::from_micros(100);

/// What one source read on one worker and is not released yet. Clones share it.
#[derive(Clone)]
pub struct Reads(Rc<RefCell<Unreleased>>);

struct Unreleased {
    metrics: SourceMetrics,
    /// In the order of their epochs.
    batches: VecDeque<ReadBatch>,
}

struct ReadBatch {
    epoch: Epoch,
    read: Instant,
    records: u64,
}

impl Reads {
    /// Without any reads.
    pub fn new(metrics: SourceMetrics) -> Self {
        Reads(Rc::new(RefCell::new(Unreleased { metrics, batches: VecDeque::new() })))
    }

    /// `records` records of `epoch` were read, or could have been, at `read` or later.
    pub fn read(&self, epoch: Epoch, read: Instant, records: u64) {
        if records == 0 {
            return;
        }
        let batches = &mut self.0.borrow_mut().batches;
        match batches.back_mut() {
            Some(last) if last.epoch == epoch && read < last.read + RESOLUTION => last.records += records,
            _ => batches.push_back(ReadBatch { epoch, read, records }),
        }
    }

    /// The sinks are done with every epoch before `open`, as of `now`.
    fn released(&self, open: Epoch, now: Instant) {
        let Unreleased { metrics, batches } = &mut *self.0.borrow_mut();
        let done = batches.partition_point(|batch| batch.epoch < open);
        if done > 0 {
            metrics.released(
                batches.drain(..done).map(|batch| (now.saturating_duration_since(batch.read), batch.records)),
            );
        }
    }
}

/// Puts the operator behind `sinks`, and `probe` behind it. `committed` is called with each epoch before which the
/// sinks are done with everything.
pub fn release<'s>(
    scope: Scope<'s, Epoch>,
    sinks: Vec<StreamVec<'s, Epoch, ()>>,
    reads: Vec<Reads>,
    committed: impl Fn(Epoch) + 'static,
    probe: &ProbeHandle<Epoch>,
) {
    scope
        .concatenate(sinks)
        .unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, NAME, move |initial, _| {
            drop(initial);
            move |(input, frontier), _output| {
                input.for_each(|_, _| {});
                let (open, now) = (frontier.frontier().first().copied().unwrap_or(Epoch::MAX), Instant::now());
                reads.iter().for_each(|reads| reads.released(open, now));
                committed(open);
            }
        })
        .probe_with(probe);
}

#[cfg(test)]
mod tests;
