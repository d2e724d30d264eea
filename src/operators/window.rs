//! Windowed aggregation by key: one row per key and window, once, when the watermark has passed the window's end.
//!
//! Two operators. `local` adds each record to its windows on the worker that has the record; when a window closes,
//! `merge` combines the workers' partial aggregates of a key on the worker that owns the key. So a record never crosses
//! between workers, only one partial aggregate per key, window and worker, and workers share the work on a frequent
//! key.
//!
//! The invariant: what is emitted at epoch *e* is a function of the records and watermarks up to *e*. So records of an
//! epoch are applied once every earlier epoch is complete, and windows close only when their own epoch is. The order of
//! records within an epoch does not matter, nor does how they are spread over workers, since aggregates do not depend
//! on either.

mod local;
mod merge;
mod snapshots;

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;

use super::aggregate::Aggregate;
use super::exchange::{Batch, BatchBuilder, Columns, KeyedRow};
use super::interval::{Intervals, Window};
use crate::error::Error;
use crate::record::{DeadLetter, Event, Record};
use crate::state::key::Key;
use crate::state::snapshot::Slot;
use crate::telemetry::StageMetrics;
use crate::time::{Epoch, EventTime};

/// The parts of a window stage besides its records.
pub struct WindowStage {
    /// The stage's name.
    pub name: String,
    /// The windows.
    pub intervals: Intervals,
    /// The most entries (keys times open windows) that one worker holds.
    pub keys_max: usize,
    /// Called once when `keys_max` is exceeded.
    pub fail: Box<dyn Fn(Error)>,
    /// The stage's metrics.
    pub metrics: StageMetrics,
    /// The slot of its state.
    pub slot: Slot,
}

/// The rows of closed windows, and records behind the watermark.
pub type Windowed<'s, K, V> = (StreamVec<'s, Epoch, Window<K, V>>, StreamVec<'s, Epoch, DeadLetter>);

/// The aggregate of one worker's records of a key in a window that has closed.
#[derive(Clone, Debug)]
struct PartialAggregate<K, S> {
    start: EventTime,
    key: K,
    state: S,
}

impl<K: Record, S: Record> KeyedRow for PartialAggregate<K, S> {
    type Key = K;
    type Value = S;

    fn columns(&self) -> (EventTime, &K, &S) {
        (self.start, &self.key, &self.state)
    }

    fn of_columns(start: EventTime, key: K, state: S) -> Self {
        PartialAggregate { start, key, state }
    }
}

/// Partial aggregates on their way to the owners of their keys.
type PartialAggregates<K, S> = Columns<PartialAggregate<K, S>>;

type Builder<D> = CapacityContainerBuilder<Vec<D>>;

/// Aggregates `records` by `key` and window.
pub fn window<'s, T, K, A>(
    stage: WindowStage,
    records: StreamVec<'s, Epoch, T>,
    watermark: StreamVec<'s, Epoch, EventTime>,
    key: impl Fn(&T) -> K + 'static,
    aggregate: A,
) -> Windowed<'s, K, A::Output>
where
    T: Event,
    K: Key,
    A: Aggregate<T>,
{
    let aggregate = Rc::new(aggregate);
    let (name, intervals, metrics) = (stage.name.clone(), stage.intervals, stage.metrics.clone());
    let (parts, late) = local::local(stage, records, watermark, key, Rc::clone(&aggregate));
    (merge::merge(&name, intervals, metrics, parts, aggregate), late)
}
