//! Decides on the chunks that other workers decoded, and on those of this worker that had to wait for them.
//!
//! A chunk waits until all chunks of its partition before it are decided on. They are numbered in the order of their epochs, so nothing
//! waits for a later epoch.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::scheduling::Activator;

use super::chunk::Head;
use super::emit::Verdict;
use super::gate::{Decidable, Gate};
use super::spread::Load;
use crate::connectors::source::SourceContext;
use crate::error::stage::StageName;
use crate::operators::admission::Times;
use crate::operators::watermark::Mark;
use crate::record::Decode;
use crate::time::Epoch;

/// A decoded chunk without its records: what the owner of its partition has to know to decide on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ToDecide {
    pub(super) owner: u64,
    /// The worker that decoded it.
    pub(super) worker: u32,
    pub(super) decidable: Decidable,
    pub(super) times: Times,
}

impl Decidable {
    pub(super) fn of(head: &Head) -> Self {
        let Head { partition, number, floor, live, .. } = *head;
        Decidable { partition, number, floor, live }
    }
}

/// A chunk: its partition, and its number among the partition's chunks.
pub(super) type ChunkId = (u32, u64);

/// Wakes the operator when the turn of a chunk may have come that waits there. Clones wake the same one.
#[derive(Clone, Default)]
pub(super) struct Turn(Rc<RefCell<Waiting>>);

#[derive(Default)]
struct Waiting {
    activator: Option<Activator>,
    chunks: usize,
}

impl Turn {
    /// A chunk was decided on elsewhere.
    pub(super) fn has_come(&self) {
        let waiting = self.0.borrow();
        if let Some(activator) = waiting.activator.as_ref().filter(|_| waiting.chunks > 0) {
            activator.activate();
        }
    }
}

/// What the operator gives: decisions addressed to workers, and marks addressed to workers.
type Admitting<'s> = (StreamVec<'s, Epoch, Verdict>, StreamVec<'s, Epoch, (u64, Mark)>);

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// Builds the operator.
pub(super) fn admit<'s, T: Decode>(
    to_decide: StreamVec<'s, Epoch, ToDecide>,
    context: &SourceContext,
    gate: Gate<T>,
    load: Load,
    turn: Turn,
) -> Admitting<'s> {
    let scope = to_decide.scope();
    let mut builder = OperatorBuilder::new(format!("{}.admit", context.name), scope);
    let mut input = builder.new_input(to_decide, Exchange::new(|chunk: &ToDecide| chunk.owner));
    let (verdicts, verdicts_stream) = builder.new_output::<Vec<Verdict>>();
    let (marks, marks_stream) = builder.new_output::<Vec<(u64, Mark)>>();
    let (mut verdicts, mut marks): (Output<_>, Output<_>) = (OutputBuilder::from(verdicts), OutputBuilder::from(marks));
    turn.0.borrow_mut().activator = Some(scope.activator_for(builder.operator_info().address));
    let (name, workers) = (StageName::of(&context.name), context.workers as u64);
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut waiting: BTreeMap<ChunkId, ([Capability<Epoch>; 2], ToDecide)> = BTreeMap::new();
        move |frontiers| {
            let _stage = name.enter();
            let (mut verdicts, mut marks) = (verdicts.activate(), marks.activate());
            input.for_each(|capability, chunks| {
                for chunk in chunks.drain(..) {
                    let at = |port| capability.retain_least(port).expect("a message with a least time can be retained");
                    load.done(chunk.worker as usize);
                    waiting.insert((chunk.decidable.partition, chunk.decidable.number), ([at(0), at(1)], chunk));
                }
            });
            let ready = |(partition, number): &(u32, u64)| gate.is_next(*partition, *number);
            while let Some(next) = waiting.keys().copied().find(ready) {
                let (at, ToDecide { worker, decidable, times, .. }) = waiting.remove(&next).expect("it was just found");
                let (refused, mark) = gate.decide(&decidable, &times, *at[0].time());
                let Decidable { partition, number, .. } = decidable;
                verdicts.session(&at[0]).give(Verdict { worker, partition, number, refused });
                if let Some(mark) = mark {
                    marks.session(&at[1]).give_iterator((0..workers).map(|to| (to, mark)));
                }
            }
            turn.0.borrow_mut().chunks = waiting.len();
            // Chunks that wait are of epochs that are not complete, whatever the input says.
            let open = frontiers[0].frontier().first().copied();
            let first = waiting.values().map(|(at, _)| *at[0].time()).min();
            gate.complete_before(open.into_iter().chain(first).min());
        }
    });
    (verdicts_stream, marks_stream)
}
