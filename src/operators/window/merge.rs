//! Merges the workers' partial aggregates of closed windows, each key's on the worker that owns the key.

use std::borrow::Cow;
use std::rc::Rc;

use timely::container::DrainContainer;
use timely::dataflow::channels::pact::ExchangeCore;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::{Stream, StreamVec};

use super::{Batch, Builder, PartialAggregate, PartialAggregates};
use crate::error::stage::StageName;
use crate::operators::aggregate::Aggregate;
use crate::operators::interval::{Intervals, Window};
use crate::operators::pending::Pending;
use crate::state::key::{Key, key_group};
use crate::telemetry::StageMetrics;
use crate::time::Epoch;

/// One row per key and window from the partial aggregates of all workers, in the order of window and key within an
/// epoch.
pub(super) fn merge<'s, T, K, A>(
    stage: &str,
    intervals: Intervals,
    metrics: StageMetrics,
    parts: Stream<'s, Epoch, Batch<PartialAggregates<K, A::State>>>,
    aggregate: Rc<A>,
) -> StreamVec<'s, Epoch, Window<K, A::Output>>
where
    T: 'static,
    K: Key,
    A: Aggregate<T>,
{
    let name = StageName::of(stage);
    let route = ExchangeCore::new(|part: &Cow<'_, PartialAggregate<K, A::State>>| key_group(&part.key));
    parts.unary_frontier::<Builder<Window<K, A::Output>>, _, _, _>(
        route,
        &format!("{stage}.merge"),
        move |initial, _| {
            drop(initial);
            let mut pending: Pending<Vec<PartialAggregate<K, A::State>>> = Pending::new(0);
            move |(input, frontier), output| {
                let _stage = name.enter();
                input.for_each(|capability, batch| {
                    let Some(pending) = pending.at(&capability) else { return };
                    pending.extend(batch.drain().map(Cow::into_owned));
                });
                let open = frontier.frontier().first().copied();
                while let Some((capability, mut parts)) = pending.take_complete(open) {
                    // Each worker's come sorted; those of one worker alone are sorted already.
                    parts.sort_by(|a, b| (a.start, &a.key).cmp(&(b.start, &b.key)));
                    let mut session = output.session(&capability);
                    let mut parts = parts.into_iter().peekable();
                    let mut rows = 0;
                    while let Some(PartialAggregate { start, key, mut state }) = parts.next() {
                        while let Some(more) = parts.next_if(|next| next.start == start && next.key == key) {
                            aggregate.merge(&mut state, more.state);
                        }
                        rows += 1;
                        session.give(Window { key, start, end: intervals.end(start), value: aggregate.result(state) });
                    }
                    metrics.records_out(rows);
                    metrics.windows_closed(rows);
                }
            }
        },
    )
}
