//! The source operator: drives a connector's reader, decodes what it hands over, and decides what is on time.
//!
//! Its capability is the clock of the dataflow: on every worker it follows the same rule, now rounded up to the tick,
//! also where there is nothing to read. At the end of an epoch the operator broadcasts how its partitions contribute to
//! the watermark ([`WatermarkUpdate`](crate::operators::watermark::WatermarkUpdate)s) to every worker; at that point
//! the epoch is bound to what was read in it.
//!
//! Records travel in chunks, always on one path: `decode` decodes them, on the worker that read them or, where there
//! are fewer partitions than workers, on all workers; the owner of a partition decides what is on time in them (`gate`,
//! and `admit` for chunks that were decoded elsewhere); `emit` releases the records that had to wait for that decision.
//!
//! Back-pressure is the distance between this clock and the sinks: with too many epochs in flight the operator does not
//! read.

mod admit;
mod batch;
mod bound;
mod chunk;
mod decode;
mod emit;
mod follow;
mod gate;
mod intake;
pub(crate) mod letter;
mod partition;
mod read;
mod replay;
mod spread;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::operators::Concatenate;
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use self::admit::{AdmissionWaker, admit};
use self::chunk::SpareMemory;
use self::decode::{DecodeStage, decode};
use self::emit::emit;
use self::gate::AdmissionGate;
use self::letter::Letters;
use self::read::{ReaderStreams, read};
use self::spread::{Load, Packer};
use super::control::Control;
use super::durability::Durability;
use super::release::Reads;
use crate::connectors::source::{SourceConnector, SourceContext};
use crate::operators::admission::TimeRules;
use crate::operators::watermark::{WatermarkTracker, WatermarkView, watermark};
use crate::record::{DeadLetter, Decode};
use crate::state::snapshot::Slot;
use crate::telemetry::SourceMetrics;
use crate::time::{Epoch, EventTime, Ticker};

/// A check of the dataflow's own on each decoded record; the error says why the record is refused.
pub type Validation<T> = Box<dyn Fn(&T) -> Result<(), String>>;

/// Checks that are added while the dataflow is built, after the source.
pub type Validations<T> = Rc<RefCell<Vec<Validation<T>>>>;

/// How much may be in flight between the sources and the sinks.
#[derive(Clone, Copy, Debug)]
pub struct FlowControl {
    /// The most epochs in which something was read that is not committed yet.
    pub epochs_in_flight_max: usize,
    /// The most records that one worker reads in one epoch.
    pub records_per_epoch_max: u64,
}

/// The parts of a source operator.
pub struct SourceStage<T: Decode> {
    /// How many workers this process has.
    pub threads: usize,
    /// Whether all processes are on this machine, and see the same files.
    pub one_machine: bool,
    /// The worker, the process and the names that the reader is opened with.
    pub context: SourceContext,
    /// The external system that it reads from.
    pub connector: Arc<dyn SourceConnector>,
    /// How records are decoded.
    pub options: T::Options,
    /// The rules of admission.
    pub rules: TimeRules,
    /// The dataflow's own checks.
    pub validations: Validations<T>,
    /// The state directory, if there is one.
    pub durability: Option<Durability>,
    /// Stops the run.
    pub control: Control,
    /// The clock.
    pub ticker: Ticker,
    /// The progress of the sinks.
    pub sinks: ProbeHandle<Epoch>,
    /// How far reading may be ahead of the sinks.
    pub flow_control: FlowControl,
    /// Whether something consumes all dead letters.
    pub letters_wanted: bool,
    /// The source's metrics.
    pub metrics: SourceMetrics,
    /// What was read and is not released yet.
    pub reads: Reads,
    /// The slot of the partitions' positions.
    pub positions: Slot,
    /// The slot of the partitions' admission states.
    pub admitted: Slot,
    /// The slot of the fold of their watermark updates.
    pub watermark: Slot,
}

/// The streams of a source: records, the watermark, and dead letters.
pub type Sourced<'s, T> = (StreamVec<'s, Epoch, T>, StreamVec<'s, Epoch, EventTime>, StreamVec<'s, Epoch, DeadLetter>);

/// Builds the operators of a source: the same on every worker, whether it reads, decodes for others, or both.
pub fn source<'s, T: Decode>(scope: Scope<'s, Epoch>, mut stage: SourceStage<T>) -> Sourced<'s, T> {
    let (context, rules, view) = (stage.context.clone(), stage.rules, Rc::new(WatermarkView::default()));
    let (metrics, spare, waker) = (stage.metrics.clone(), SpareMemory::default(), AdmissionWaker::default());
    let name = format!("{}.watermark", context.name);
    let history = stage.durability.as_ref().and_then(|durability| durability.history.sources.get(&context.name));
    let base = history.map(|history| history.base.clone()).unwrap_or_default();
    let watermark_slot = std::mem::replace(&mut stage.watermark, Slot::off());
    let admitted_slot = std::mem::replace(&mut stage.admitted, Slot::off());
    let gate = AdmissionGate::new(stage.options.clone(), rules, admitted_slot, base.admitted);
    let load = Load::new(context.worker, context.workers);
    let decoding = DecodeStage {
        context: context.clone(),
        options: stage.options.clone(),
        clock_field: rules.clocks.map(|clocks| clocks.field),
        validations: Rc::clone(&stage.validations),
        metrics: metrics.clone(),
        letters_wanted: stage.letters_wanted,
        control: stage.control.clone(),
        connector: Arc::clone(&stage.connector),
        spare: spare.clone(),
        gate: gate.clone(),
        load: load.clone(),
        waker: waker.clone(),
    };
    let wanted = stage.letters_wanted;
    let ReaderStreams { updates, chunks, letters } =
        read(scope, stage, Rc::clone(&view), gate.clone(), Packer::new(load.clone(), spare.clone()));
    let decoded = decode(chunks, decoding);
    let (decisions, admitted_updates) = admit(decoded.requests, &context, gate, load, waker);
    let (emitted, late) =
        emit(decoded.undecided, decisions, &context.name, Letters::new(&context.name, metrics, wanted), spare);
    let updates = scope.concatenate([updates, decoded.updates, admitted_updates]);
    let watermark = watermark(&name, updates, WatermarkTracker::new(base.watermark), view, watermark_slot);
    let records = scope.concatenate([decoded.records, emitted]);
    (records, watermark, scope.concatenate([letters, decoded.letters, late]))
}
