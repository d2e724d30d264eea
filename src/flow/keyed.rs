//! Records grouped by a key, and their windows.

use super::stream::Stream;
use crate::operators::aggregate::Aggregate;
use crate::operators::interval::{Intervals, Window};
use crate::operators::window::{WindowStage, window};
use crate::record::{Event, Record};
use crate::state::key::Key;

/// Records grouped by a key. Each worker aggregates the records of a key that it has; when a window closes, one worker,
/// the owner of the key, merges what all workers have of it.
pub struct Keyed<'s, T, K, F> {
    pub(super) stream: Stream<'s, T>,
    pub(super) key: F,
    of: std::marker::PhantomData<fn() -> K>,
}

impl<'s, T: Record, K: Key, F: Fn(&T) -> K + Clone + 'static> Keyed<'s, T, K, F> {
    pub(super) fn new(stream: Stream<'s, T>, key: F) -> Self {
        Keyed { stream, key, of: std::marker::PhantomData }
    }

    /// Collects each key's events in windows of event time.
    ///
    /// Only events have an event time: a window over other records does not compile.
    ///
    /// ```compile_fail,E0599
    /// # use tidewatch::prelude::*;
    /// # fn build(flow: &Flow, _: &NoParams) -> Result<()> {
    /// let lines = flow.source::<Line>("lines")?; // a line has no event time
    /// lines.key_by(|line| line.text.clone()).window("per-line", Tumbling::of(Duration::from_secs(60)));
    /// # Ok(())
    /// # }
    /// # fn main() {}
    /// ```
    pub fn window(self, name: &str, intervals: Intervals) -> Windows<'s, T, K, F>
    where
        T: Event,
    {
        if let Some(fault) = intervals.fault() {
            self.stream.flow.fault(name, fault);
        }
        Windows { keyed: self, name: name.to_owned(), intervals }
    }
}

/// Windows of each key, to be aggregated.
pub struct Windows<'s, T, K, F> {
    keyed: Keyed<'s, T, K, F>,
    name: String,
    intervals: Intervals,
}

impl<'s, T: Event, K: Key, F: Fn(&T) -> K + Clone + 'static> Windows<'s, T, K, F> {
    /// Aggregates each window; one row per key and window leaves when the watermark has passed the window's end.
    ///
    /// Several aggregates at once are a tuple, and so is their result: `(Count, Distinct::of(|l: &Login| &l.user))`.
    pub fn aggregate<A: Aggregate<T>>(self, aggregate: A) -> Stream<'s, Window<K, A::Output>> {
        let Windows { keyed: Keyed { stream, key, .. }, name, intervals } = self;
        let metrics = stream.stage(&name);
        let environment = &stream.flow.building().environment;
        let control = environment.control.clone();
        let slot = stream.flow.building().snapshots.slot(&name);
        let stage = WindowStage {
            slot,
            name,
            // A faulty interval is reported when the construction ends; until then it must only not divide by zero.
            intervals: if intervals.fault().is_some() { Intervals::PLACEHOLDER } else { intervals },
            keys_max: environment.keys_max,
            fail: Box::new(move |error| control.fail(error)),
            metrics,
        };
        let (rows, late) = window(stage, stream.records.clone(), stream.watermark.clone(), key, aggregate);
        stream.flow.dead_letters(late);
        stream.with(rows)
    }
}
