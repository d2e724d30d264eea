//! The source operator: drives a connector's reader, decodes what it hands over, and decides what is on time.
//!
//! Its capability is the clock of the dataflow: on every worker it follows the same rule, now rounded up to the tick, also
//! where there is nothing to read. At the end of an epoch the operator tells every worker what became of its partitions
//! ([`Mark`]s); that is the point at which an epoch is bound to what was read in it.
//!
//! Back-pressure is the distance between this clock and the sinks: with too many epochs in flight the operator does not read.

mod intake;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use self::intake::Intake;
use super::control::Control;
use crate::connectors::source::{Polled, SourceConnector, SourceContext, SourceReader};
use crate::error::Result;
use crate::error::stage::StageName;
use crate::operators::admission::TimeRules;
use crate::operators::watermark::{Mark, WatermarkView};
use crate::record::{DeadLetter, Decode};
use crate::telemetry::SourceMetrics;
use crate::time::{Epoch, Ticker};

/// How many bytes one activation reads at most: enough to amortise scheduling, little enough to stay in the cache.
const POLL_BYTES: usize = 256 * 1024;

/// How long a source waits before it looks again whether the sinks have caught up.
const BACKPRESSURE_WAIT: Duration = Duration::from_millis(1);

/// A check of the dataflow's own on each decoded record; the error says why the record is refused.
pub type Validation<T> = Box<dyn Fn(&T) -> Result<(), String>>;

/// Checks that are added while the dataflow is built, after the source.
pub type Validations<T> = Rc<RefCell<Vec<Validation<T>>>>;

/// How much may be under way between the sources and the sinks.
#[derive(Clone, Copy, Debug)]
pub struct FlowControl {
    /// Epochs in which something was read that is not committed yet.
    pub epochs_in_flight_max: usize,
    /// Records that one worker reads in one epoch.
    pub records_per_epoch_max: u64,
}

/// What a source operator is made of.
pub struct SourceStage<T: Decode> {
    /// Where it runs.
    pub context: SourceContext,
    /// Whom it reads from.
    pub connector: Arc<dyn SourceConnector>,
    /// How records are decoded.
    pub options: T::Options,
    /// What is on time.
    pub rules: TimeRules,
    /// What the dataflow itself refuses.
    pub validations: Validations<T>,
    /// Whether to stop.
    pub control: Control,
    /// The clock.
    pub ticker: Ticker,
    /// How far the sinks are.
    pub sinks: ProbeHandle<Epoch>,
    /// How far ahead of the sinks reading may be.
    pub flow_control: FlowControl,
    /// The watermark as this worker knows it.
    pub view: Rc<WatermarkView>,
    /// Where the source counts.
    pub metrics: SourceMetrics,
}

/// The streams of a source: records, marks addressed to workers, and dead letters.
pub type Sourced<'s, T> =
    (StreamVec<'s, Epoch, T>, StreamVec<'s, Epoch, (u64, Mark)>, StreamVec<'s, Epoch, DeadLetter>);

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// Builds the source operator. A connector that cannot be opened fails the run.
pub fn source<'s, T: Decode>(scope: Scope<'s, Epoch>, stage: SourceStage<T>) -> Sourced<'s, T> {
    let mut builder = OperatorBuilder::new(stage.context.name.clone(), scope);
    let (records, records_stream) = builder.new_output::<Vec<T>>();
    let (marks, marks_stream) = builder.new_output::<Vec<(u64, Mark)>>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let activator = scope.activator_for(builder.operator_info().address);
    let name = StageName::of(&stage.context.name);
    let outputs = Outputs {
        records: OutputBuilder::from(records),
        marks: OutputBuilder::from(marks),
        letters: OutputBuilder::from(letters),
    };

    builder.build(move |capabilities| {
        let mut reading = Reading::open(stage, outputs, capabilities);
        move |_frontiers| {
            let _stage = name.enter();
            match reading.as_mut().map(Reading::activate) {
                Some(Next::Again(None)) => activator.activate(),
                Some(Next::Again(Some(wait))) => activator.activate_after(wait),
                // Dropping the capabilities is what ends the source.
                Some(Next::Over) => reading = None,
                None => {}
            }
        }
    });
    (records_stream, marks_stream, letters_stream)
}

struct Outputs<T: Decode> {
    records: Output<T>,
    marks: Output<(u64, Mark)>,
    letters: Output<DeadLetter>,
}

/// What becomes of the operator after an activation.
enum Next {
    /// It runs again, at once or after a while.
    Again(Option<Duration>),
    /// It has nothing more to say.
    Over,
}

/// The operator while it has something to read.
struct Reading<T: Decode> {
    reader: Box<dyn SourceReader>,
    intake: Intake<T>,
    outputs: Outputs<T>,
    /// One per output, all at the epoch in which records are read now.
    capabilities: Vec<Capability<Epoch>>,
    workers: u64,
    control: Control,
    ticker: Ticker,
    sinks: ProbeHandle<Epoch>,
    flow_control: FlowControl,
    /// Whether partitions were announced.
    announced: bool,
    /// Records read in this epoch.
    in_epoch: u64,
    /// Epochs in which this worker read something that is not committed yet. Counted rather than measured by the clock, so that
    /// a host whose clock is ahead is not throttled for it.
    in_flight: VecDeque<Epoch>,
}

impl<T: Decode> Reading<T> {
    fn open(stage: SourceStage<T>, outputs: Outputs<T>, capabilities: Vec<Capability<Epoch>>) -> Option<Self> {
        let SourceStage { context, connector, options, rules, validations, control, ticker, .. } = stage;
        let reader = connector.open(&context).map_err(|error| control.fail(error)).ok()?;
        Some(Reading {
            reader,
            workers: context.workers as u64,
            intake: Intake::new(context.name, options, rules, validations, stage.view, stage.metrics),
            outputs,
            capabilities,
            control,
            ticker,
            sinks: stage.sinks,
            flow_control: stage.flow_control,
            announced: false,
            in_epoch: 0,
            in_flight: VecDeque::new(),
        })
    }

    fn activate(&mut self) -> Next {
        if self.control.failed() {
            return Next::Over;
        }
        let now = self.ticker.epoch();
        if self.announced {
            self.end_epoch(now);
        }
        let polled = match self.poll(now) {
            Ok(polled) => polled,
            Err(error) => {
                self.control.fail(error);
                return Next::Over;
            }
        };
        if !std::mem::replace(&mut self.announced, true) {
            // The first poll announced the partitions: all are known, on every worker, before the first epoch begins.
            self.end_epoch(now);
        }
        self.send();
        match polled {
            Polled::Finished if self.control.stopping() || !self.intake.holds() => {
                self.mark();
                Next::Over
            }
            Polled::More => Next::Again(None),
            Polled::Finished => Next::Again(Some(BACKPRESSURE_WAIT)),
            Polled::Wait(wait) => Next::Again(Some(wait.min(self.ticker.until_next()))),
        }
    }

    fn epoch(&self) -> Epoch {
        *self.capabilities[0].time()
    }

    /// Moves on to the epoch `now`, if that is a later one.
    fn end_epoch(&mut self, now: Epoch) {
        if now > self.epoch() {
            self.mark();
            self.capabilities.iter_mut().for_each(|capability| capability.downgrade(&now));
            self.in_epoch = 0;
        }
    }

    /// Tells every worker what became of the partitions in this epoch.
    fn mark(&mut self) {
        let (now_ms, workers) = (self.ticker.now_ms(), self.workers);
        let mut output = self.outputs.marks.activate();
        let mut session = output.session(&self.capabilities[1]);
        self.intake.marks(now_ms, |mark| (0..workers).for_each(|worker| session.give((worker, mark))));
    }

    /// Reads, unless there is a reason not to.
    fn poll(&mut self, now: Epoch) -> Result<Polled> {
        self.intake.epoch = if self.announced { self.epoch() } else { now };
        let committed = self.sinks.with_frontier(|f| f.first().copied().unwrap_or(Epoch::MAX));
        while self.in_flight.front().is_some_and(|epoch| *epoch < committed) {
            self.in_flight.pop_front();
        }
        self.intake.metrics.epochs_in_flight(self.in_flight.len());
        let FlowControl { epochs_in_flight_max, records_per_epoch_max } = self.flow_control;
        if self.control.stopping() {
            Ok(Polled::Finished)
        } else if self.in_flight.len() > epochs_in_flight_max || self.in_epoch >= records_per_epoch_max {
            self.intake.not_fetched();
            self.intake.metrics.backpressured(BACKPRESSURE_WAIT);
            Ok(Polled::Wait(BACKPRESSURE_WAIT))
        } else if self.intake.release() {
            Ok(Polled::Wait(BACKPRESSURE_WAIT))
        } else {
            self.reader.poll(if self.announced { POLL_BYTES } else { 0 }, &mut self.intake)
        }
    }

    /// Sends what was read.
    fn send(&mut self) {
        self.intake.count();
        let admitted = self.intake.admitted();
        self.in_epoch += admitted;
        let epoch = self.epoch();
        if (admitted > 0 || !self.intake.letters.is_empty()) && self.in_flight.back() != Some(&epoch) {
            self.in_flight.push_back(epoch);
        }
        if admitted > 0 {
            let mut output = self.outputs.records.activate();
            output.session(&self.capabilities[0]).give_containers(self.intake.batches.iter_mut());
            self.intake.batches.clear();
        }
        if !self.intake.letters.is_empty() {
            let mut output = self.outputs.letters.activate();
            output.session(&self.capabilities[2]).give_container(&mut self.intake.letters);
        }
    }
}
