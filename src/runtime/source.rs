//! The source operator: drives a connector's reader, decodes what it hands over, and decides what is on time.
//!
//! Its capability is the clock of the dataflow: on every worker it follows the same rule, now rounded up to the tick, also
//! where there is nothing to read. At the end of an epoch the operator tells every worker what became of its partitions
//! (its `Mark`s); that is the point at which an epoch is bound to what was read in it.
//!
//! What is read goes on in chunks, in one way: `decode` decodes them, where they were read or, where there are fewer partitions than
//! workers, on all workers; the owner of a partition decides what is on time in them (`gate`, and `admit` for those that were decoded
//! elsewhere); `emit` lets those go on that had to wait for that.
//!
//! Back-pressure is the distance between this clock and the sinks: with too many epochs in flight the operator does not read.

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

use self::admit::{Turn, admit};
use self::chunk::Spare;
use self::decode::{DecodeStage, decode};
use self::emit::emit;
use self::gate::Gate;
use self::letter::Letters;
use self::read::{Read, read};
use self::spread::{Load, Packer};
use super::control::Control;
use super::durability::Durability;
use super::release::Reads;
use crate::connectors::source::{SourceConnector, SourceContext};
use crate::operators::admission::TimeRules;
use crate::operators::watermark::{Tracker, WatermarkView, watermark};
use crate::record::{DeadLetter, Decode};
use crate::state::snapshot::Slot;
use crate::telemetry::SourceMetrics;
use crate::time::{Epoch, EventTime, Ticker};

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
    /// How many workers this process has.
    pub threads: usize,
    /// Whether all processes are on this machine, and see the same files.
    pub one_machine: bool,
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
    /// The state directory, if there is one.
    pub durability: Option<Durability>,
    /// Whether to stop.
    pub control: Control,
    /// The clock.
    pub ticker: Ticker,
    /// How far the sinks are.
    pub sinks: ProbeHandle<Epoch>,
    /// How far ahead of the sinks reading may be.
    pub flow_control: FlowControl,
    /// Whether anybody takes all dead letters.
    pub letters_wanted: bool,
    /// Where the source counts.
    pub metrics: SourceMetrics,
    /// What was read and is not released.
    pub reads: Reads,
    /// Where the positions of the partitions are kept.
    pub positions: Slot,
    /// Where it is kept what is decoded and decided on of them.
    pub admitted: Slot,
    /// Where what their marks came to is kept.
    pub marked: Slot,
}

/// The streams of a source: records, the watermark, and dead letters.
pub type Sourced<'s, T> = (StreamVec<'s, Epoch, T>, StreamVec<'s, Epoch, EventTime>, StreamVec<'s, Epoch, DeadLetter>);

/// Builds the operators of a source: the same on every worker, whether it reads, decodes for others, or both.
pub fn source<'s, T: Decode>(scope: Scope<'s, Epoch>, mut stage: SourceStage<T>) -> Sourced<'s, T> {
    let (context, rules, view) = (stage.context.clone(), stage.rules, Rc::new(WatermarkView::default()));
    let (metrics, spare, turn) = (stage.metrics.clone(), Spare::default(), Turn::default());
    let name = format!("{}.watermark", context.name);
    let history = stage.durability.as_ref().and_then(|durability| durability.history.sources.get(&context.name));
    let base = history.map(|history| history.base.clone()).unwrap_or_default();
    let marked_slot = std::mem::replace(&mut stage.marked, Slot::off());
    let admitted_slot = std::mem::replace(&mut stage.admitted, Slot::off());
    let gate = Gate::new(stage.options.clone(), rules, admitted_slot, base.admitted);
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
        turn: turn.clone(),
    };
    let wanted = stage.letters_wanted;
    let Read { marks, chunks, letters } =
        read(scope, stage, Rc::clone(&view), gate.clone(), Packer::new(load.clone(), spare.clone()));
    let decoded = decode(chunks, decoding);
    let (verdicts, admitted_marks) = admit(decoded.to_decide, &context, gate, load, turn);
    let (emitted, late) =
        emit(decoded.undecided, verdicts, &context.name, Letters::new(&context.name, metrics, wanted), spare);
    let marks = scope.concatenate([marks, decoded.marks, admitted_marks]);
    let watermark = watermark(&name, marks, Tracker::new(base.marked), view, marked_slot);
    let records = scope.concatenate([decoded.records, emitted]);
    (records, watermark, scope.concatenate([letters, decoded.letters, late]))
}
