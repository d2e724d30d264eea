//! The source operator: drives a connector's reader, decodes what it hands over, and decides what is on time.
//!
//! Its capability is the clock of the dataflow: on every worker it follows the same rule, now rounded up to the tick, also
//! where there is nothing to read. At the end of an epoch the operator tells every worker what became of its partitions
//! (its `Mark`s); that is the point at which an epoch is bound to what was read in it.
//!
//! Records are decoded where they are read, or, where there are fewer partitions than workers, on all workers: then they are
//! sent on in chunks, which `decode` and `order` turn into the same records and dead letters.
//!
//! Back-pressure is the distance between this clock and the sinks: with too many epochs in flight the operator does not read.

mod batch;
mod bound;
mod chunk;
mod decode;
mod direct;
mod intake;
mod letter;
mod order;
mod read;
mod replay;
mod spread;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::operators::Concatenate;
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use self::chunk::Spare;
use self::decode::{DecodeStage, decode};
use self::order::{OrderStage, order};
use self::read::{Read, read};
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
    /// Where the source counts.
    pub metrics: SourceMetrics,
    /// What was read and is not released.
    pub reads: Reads,
    /// Where the positions of the partitions are kept.
    pub positions: Slot,
    /// Where what their marks came to is kept.
    pub marked: Slot,
}

/// The streams of a source: records, the watermark, and dead letters.
pub type Sourced<'s, T> = (StreamVec<'s, Epoch, T>, StreamVec<'s, Epoch, EventTime>, StreamVec<'s, Epoch, DeadLetter>);

/// Builds the operators of a source: the same on every worker, whether it reads, decodes for others, or both.
pub fn source<'s, T: Decode>(scope: Scope<'s, Epoch>, mut stage: SourceStage<T>) -> Sourced<'s, T> {
    let (context, rules, view) = (stage.context.clone(), stage.rules, Rc::new(WatermarkView::default()));
    let metrics = stage.metrics.clone();
    let spare = Spare::default();
    let decoding = DecodeStage {
        source: context.name.clone(),
        worker: context.worker,
        workers: context.workers,
        options: stage.options.clone(),
        rules,
        validations: Rc::clone(&stage.validations),
        metrics: metrics.clone(),
        record_bytes_max: context.record_bytes_max,
        control: stage.control.clone(),
        connector: Arc::clone(&stage.connector),
        spare: spare.clone(),
    };
    let name = format!("{}.watermark", context.name);
    let history = stage.durability.as_ref().and_then(|durability| durability.history.sources.get(&context.name));
    let base = history.map(|history| history.base.clone()).unwrap_or_default();
    let kept = std::mem::replace(&mut stage.marked, Slot::off());

    let Read { records: here, marks, chunks, letters: unread, load } = read(scope, stage, Rc::clone(&view));
    let (decoded, chunk_marks, undecoded) = decode(chunks, decoding);
    let marks = scope.concatenate([marks, chunk_marks]);
    let (spread, marks, late) =
        order(decoded, marks, OrderStage { context, rules, metrics, load, spare, base: base.clone() });
    let watermark = watermark(&name, marks, Tracker::new(rules.out_of_order, base.marked), view, kept);
    (scope.concatenate([here, spread]), watermark, scope.concatenate([unread, undecoded, late]))
}
