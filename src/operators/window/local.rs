//! Adds records to windows on the worker that has the records.

use std::borrow::Cow;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{Stream, StreamVec};

use super::snapshots::WindowSnapshots;
use super::{Batch, BatchBuilder, Builder, PartialAggregate, PartialAggregates, WindowStage};
use crate::error::stage::StageName;
use crate::error::{Error, ErrorKind};
use crate::operators::aggregate::Aggregate;
use crate::operators::pending::Pending;
use crate::record::{DEAD_LETTER_BYTES_MAX, DeadLetter, Event, Reason};
use crate::state::key::Key;
use crate::state::snapshot::{SLICE_WAIT, Slot};
use crate::state::windows::{Hashed, WindowStore};
use crate::time::{Epoch, EventTime};

/// The partial aggregates of windows that have closed, and records behind the watermark.
type Closed<'s, K, S> = (Stream<'s, Epoch, Batch<PartialAggregates<K, S>>>, StreamVec<'s, Epoch, DeadLetter>);

/// Aggregates this worker's `records`; partial aggregates are sent when the watermark has passed the window's end.
pub(super) fn local<'s, T, K, A>(
    mut stage: WindowStage,
    records: StreamVec<'s, Epoch, T>,
    watermark: StreamVec<'s, Epoch, EventTime>,
    key: impl Fn(&T) -> K + 'static,
    aggregate: Rc<A>,
) -> Closed<'s, K, A::State>
where
    T: Event,
    K: Key,
    A: Aggregate<T>,
{
    let (scope, slot) = (records.scope(), std::mem::replace(&mut stage.slot, Slot::off()));
    let mut builder = OperatorBuilder::new(stage.name.clone(), scope);
    let name = StageName::of(&stage.name);
    let mut records = builder.new_input(records, Pipeline);
    let mut watermarks = builder.new_input(watermark, Pipeline);
    let (parts, parts_stream) = builder.new_output::<Batch<PartialAggregates<K, A::State>>>();
    let (late, late_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut parts = OutputBuilder::<_, BatchBuilder<_>>::from(parts);
    let mut late = OutputBuilder::<_, Builder<_>>::from(late);

    let activator = scope.activator_for(builder.operator_info().address);
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut store = WindowStore::default();
        let mut snapshots = WindowSnapshots::new(slot);
        let closed = snapshots.restore(&mut store, &*aggregate);
        let mut state =
            LocalWindows { stage, key, aggregate, store, snapshots, closed, failed: false, ahead: Vec::new() };
        let mut waiting: Pending<Vec<Vec<T>>> = Pending::new(1);
        let mut closing: Pending<Option<EventTime>> = Pending::new(0);
        let mut open: Epoch = 0;
        move |frontiers| {
            let _stage = name.enter();
            let (mut parts, mut late) = (parts.activate(), late.activate());
            watermarks.for_each(|capability, values| {
                let Some(closing) = closing.at(&capability) else { return };
                *closing = (*closing).max(values.drain(..).max());
            });
            records.for_each(|capability, batch| {
                let Some(epoch) = capability.least().copied() else { return };
                state.stage.metrics.records_in(batch.len() as u64);
                // Records of the open epoch are applied as they come; only those of a faster worker are ahead of it.
                if epoch <= open {
                    let behind = state.apply(batch);
                    if !behind.is_empty() {
                        let retained = capability.retain_least(1).expect("a message with a least time can be retained");
                        late.session(&retained).give_iterator(behind.into_iter());
                    }
                } else if let Some(waiting) = waiting.at(&capability) {
                    waiting.push(std::mem::take(batch));
                }
            });
            let frontier = |i: usize| frontiers[i].frontier().first().copied().unwrap_or(Epoch::MAX);
            let upper = frontier(0).min(frontier(1));
            while open < upper {
                if let Some((capability, Some(watermark))) = closing.take(open) {
                    // One session for all of them: a session sends what it holds when it ends.
                    let mut session = parts.session(&capability);
                    state.close(watermark, |part| session.give(Cow::Owned(part)));
                }
                let next = [waiting.first(), closing.first()].into_iter().flatten().min();
                let next = next.unwrap_or(upper).min(upper);
                state.snapshots.before(next, &mut state.store, state.closed);
                open = next;
                if let Some((capability, batches)) = waiting.take(open) {
                    for batch in batches {
                        late.session(&capability).give_iterator(state.apply(&batch).into_iter());
                    }
                }
            }
            if state.snapshots.slice(&mut state.store, &*state.aggregate) {
                activator.activate_after(SLICE_WAIT);
            }
            if upper == Epoch::MAX {
                state.snapshots.settle(state.closed);
            }
            state.stage.metrics.windows_open(state.store.entries());
        }
    });
    (parts_stream, late_stream)
}

/// The windows of one worker.
struct LocalWindows<T, K, A: Aggregate<T>, F> {
    stage: WindowStage,
    key: F,
    aggregate: Rc<A>,
    store: WindowStore<K, A::State>,
    snapshots: WindowSnapshots,
    /// Windows that start at or before it are closed.
    closed: Option<EventTime>,
    failed: bool,
    /// Records whose states are being prefetched: their windows and keys.
    ahead: Vec<(EventTime, Hashed<K>)>,
}

/// How many records' states are prefetched at once.
const AHEAD: usize = 16;

impl<T: Event, K: Key, A: Aggregate<T>, F: Fn(&T) -> K> LocalWindows<T, K, A, F> {
    /// Adds records to their windows and returns those that are late for all of them.
    fn apply(&mut self, batch: &[T]) -> Vec<DeadLetter> {
        let mut behind = Vec::new();
        let intervals = self.stage.intervals;
        for records in batch.chunks(AHEAD) {
            let place = |record| (intervals.newest(T::event_time(record)), self.store.hashed((self.key)(record)));
            self.ahead.extend(records.iter().map(place));
            self.ahead.iter().for_each(|(start, key)| self.store.fetch(*start, key));
            for (record, (mut start, key)) in records.iter().zip(self.ahead.drain(..)) {
                if self.closed.is_some_and(|closed| start <= closed) {
                    behind.push(self.stage.late(record));
                    continue;
                }
                let time = record.event_time();
                loop {
                    self.aggregate.add(self.store.state(start, &key), record);
                    match intervals.before(start, time).filter(|s| self.closed.is_none_or(|c| *s > c)) {
                        Some(earlier) => start = earlier,
                        None => break,
                    }
                }
            }
        }
        if self.store.entries() > self.stage.keys_max && !self.failed {
            self.failed = true;
            (self.stage.fail)(self.stage.overflow());
        }
        behind
    }

    /// Closes the windows that `watermark` has passed.
    fn close(&mut self, watermark: EventTime, mut emit: impl FnMut(PartialAggregate<K, A::State>)) {
        let closed = self.stage.intervals.closed_by(watermark);
        self.snapshots.write_through(&mut self.store, &*self.aggregate, closed);
        self.store.close_through(closed, |start, key, state| emit(PartialAggregate { start, key, state }));
        self.closed = Some(closed);
    }
}

impl WindowStage {
    #[cold]
    fn late(&self, record: &impl Event) -> DeadLetter {
        self.metrics.late(1);
        let mut text = serde_json::to_string(record).unwrap_or_default();
        let size = text.len() as u64;
        text.truncate(text.floor_char_boundary(DEAD_LETTER_BYTES_MAX));
        DeadLetter {
            reason: Reason::Late,
            detail: format!("event time {} is behind the watermark of stage {:?}", record.event_time(), self.name),
            source: self.name.clone(),
            partition: String::new(),
            offset: 0,
            size,
            text: Some(text),
            base64: None,
        }
    }

    #[cold]
    fn overflow(&self) -> Error {
        let message = format!(
            "stage {:?} holds more than {} entries (keys times open windows) on one worker",
            self.name, self.keys_max
        );
        Error::new(ErrorKind::State, message)
            .hint("raise engine.keys_max, add workers, use smaller windows, or key by something with fewer values")
    }
}
