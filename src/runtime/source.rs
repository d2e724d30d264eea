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
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use self::intake::Intake;
use super::control::Control;
use crate::connectors::source::{Polled, SourceConnector, SourceContext};
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

/// Builds the source operator. A connector that cannot be opened fails the run, on every worker alike.
pub fn source<'s, T: Decode>(scope: Scope<'s, Epoch>, stage: SourceStage<T>) -> Sourced<'s, T> {
    let mut builder = OperatorBuilder::new(stage.context.name.clone(), scope);
    let (records, records_stream) = builder.new_output::<Vec<T>>();
    let (marks, marks_stream) = builder.new_output::<Vec<(u64, Mark)>>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut records: Output<T> = OutputBuilder::from(records);
    let mut marks: Output<(u64, Mark)> = OutputBuilder::from(marks);
    let mut letters: Output<DeadLetter> = OutputBuilder::from(letters);
    let activator = scope.activator_for(builder.operator_info().address);

    let mut reader = match stage.connector.open(&stage.context) {
        Ok(reader) => Some(reader),
        Err(error) => {
            stage.control.fail(error);
            None
        }
    };
    let SourceStage {
        context, options, rules, validations, control, ticker, sinks, flow_control, view, metrics, ..
    } = stage;
    let workers = context.workers as u64;
    let name = StageName::of(&context.name);
    let mut intake = Intake::new(context.name, options, rules, validations, view, metrics);

    builder.build(move |mut capabilities| {
        let letters_capability = capabilities.pop().expect("the third output has a capability");
        let marks_capability = capabilities.pop().expect("the second output has a capability");
        let records_capability = capabilities.pop().expect("the first output has a capability");
        let mut held = reader.is_some().then_some((records_capability, marks_capability, letters_capability));
        let mut first = true;
        let mut in_epoch = 0;
        // Epochs in which this worker read something that is not committed yet. Counted rather than measured by the clock, so
        // that a host whose clock is ahead is not throttled for it.
        let mut in_flight: VecDeque<Epoch> = VecDeque::new();
        move |_frontiers| {
            let _stage = name.enter();
            let Some((records_at, marks_at, letters_at)) = held.as_mut() else { return };
            let (Some(reader), false) = (reader.as_mut(), control.failed()) else {
                held = None;
                return;
            };
            // The first poll announces the partitions: they are all known before the first epoch begins.
            let now = ticker.epoch();
            let mut end_epoch = |records_at: &mut _, marks_at: &mut _, letters_at: &mut _, intake: &mut Intake<T>| {
                end_epoch(now, workers, &mut marks, ticker.now_ms(), [records_at, marks_at, letters_at], intake);
            };
            if !first && now > *records_at.time() {
                end_epoch(records_at, marks_at, letters_at, &mut intake);
                in_epoch = 0;
            }
            intake.epoch = if first { now } else { *records_at.time() };

            let committed = sinks.with_frontier(|f| f.first().copied().unwrap_or(Epoch::MAX));
            while in_flight.front().is_some_and(|epoch| *epoch < committed) {
                in_flight.pop_front();
            }
            let throttled =
                in_flight.len() > flow_control.epochs_in_flight_max || in_epoch >= flow_control.records_per_epoch_max;
            let polled = if control.stopping() {
                Ok(Polled::Finished)
            } else if throttled || intake.holds_back() {
                Ok(Polled::Wait(BACKPRESSURE_WAIT))
            } else {
                reader.poll(if first { 0 } else { POLL_BYTES }, &mut intake)
            };
            if throttled {
                intake.not_fetched();
                intake.metrics.backpressured(BACKPRESSURE_WAIT);
            }
            intake.metrics.epochs_in_flight(in_flight.len());
            let polled = match polled {
                Ok(polled) => polled,
                Err(error) => {
                    control.fail(error);
                    held = None;
                    return;
                }
            };

            if std::mem::take(&mut first) && now > *records_at.time() {
                end_epoch(records_at, marks_at, letters_at, &mut intake);
            }

            intake.count();
            in_epoch += intake.admitted();
            if in_flight.back() != Some(records_at.time()) && (intake.admitted() > 0 || !intake.letters.is_empty()) {
                in_flight.push_back(*records_at.time());
            }
            if !intake.batches.is_empty() {
                records.activate().session(&*records_at).give_containers(intake.batches.iter_mut());
                intake.batches.clear();
            }
            if !intake.letters.is_empty() {
                letters.activate().session(&*letters_at).give_container(&mut intake.letters);
            }
            match polled {
                Polled::Finished if control.stopping() || !intake.holds_back() => {
                    let mut output = marks.activate();
                    let mut session = output.session(&*marks_at);
                    intake.marks(ticker.now_ms(), |mark| (0..workers).for_each(|worker| session.give((worker, mark))));
                    drop(session);
                    held = None;
                }
                Polled::More => activator.activate(),
                Polled::Finished => activator.activate_after(BACKPRESSURE_WAIT),
                Polled::Wait(wait) => activator.activate_after(wait.min(ticker.until_next())),
            }
        }
    });
    (records_stream, marks_stream, letters_stream)
}

/// Announces what became of the partitions in the epoch that ends, and moves on to `next`.
fn end_epoch<T: Decode>(
    next: Epoch,
    workers: u64,
    marks: &mut Output<(u64, Mark)>,
    now_ms: u64,
    capabilities: [&mut timely::dataflow::operators::Capability<Epoch>; 3],
    intake: &mut Intake<T>,
) {
    let mut output = marks.activate();
    let mut session = output.session(&*capabilities[1]);
    intake.marks(now_ms, |mark| (0..workers).for_each(|worker| session.give((worker, mark))));
    drop(session);
    drop(output);
    capabilities.into_iter().for_each(|capability| capability.downgrade(&next));
}
