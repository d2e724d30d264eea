//! Decides on chunks that other workers decoded, and on those of this worker that had to wait for them.
//!
//! A chunk waits until all earlier chunks of its partition are decided on. They are numbered in the order of their
//! epochs, so none waits for a later epoch.

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

use super::chunk::ChunkHead;
use super::emit::AdmissionDecision;
use super::gate::{AdmissionGate, ChunkInfo};
use super::spread::Load;
use crate::connectors::source::SourceContext;
use crate::error::stage::StageName;
use crate::operators::admission::Times;
use crate::operators::watermark::WatermarkUpdate;
use crate::record::Decode;
use crate::time::Epoch;

/// A decoded chunk without its records: what the owner of its partition needs to decide on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AdmissionRequest {
    pub(super) owner: u64,
    /// The worker that decoded it.
    pub(super) worker: u32,
    pub(super) info: ChunkInfo,
    pub(super) times: Times,
}

impl ChunkInfo {
    pub(super) fn of(head: &ChunkHead) -> Self {
        let ChunkHead { partition, number, floor, live, .. } = *head;
        ChunkInfo { partition, number, floor, live }
    }
}

/// A chunk: its partition, and its number among the partition's chunks.
pub(super) type ChunkId = (u32, u64);

/// Wakes the operator when a chunk that waits there may be next. Clones wake the same one.
#[derive(Clone, Default)]
pub(super) struct AdmissionWaker(Rc<RefCell<WaitingChunks>>);

#[derive(Default)]
struct WaitingChunks {
    activator: Option<Activator>,
    chunks: usize,
}

impl AdmissionWaker {
    /// A chunk was decided on elsewhere.
    pub(super) fn wake(&self) {
        let waiting = self.0.borrow();
        if let Some(activator) = waiting.activator.as_ref().filter(|_| waiting.chunks > 0) {
            activator.activate();
        }
    }
}

/// The operator's outputs: decisions addressed to workers, and watermark updates addressed to workers.
type Admitting<'s> = (StreamVec<'s, Epoch, AdmissionDecision>, StreamVec<'s, Epoch, (u64, WatermarkUpdate)>);

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// Builds the operator.
pub(super) fn admit<'s, T: Decode>(
    requests: StreamVec<'s, Epoch, AdmissionRequest>,
    context: &SourceContext,
    gate: AdmissionGate<T>,
    load: Load,
    waker: AdmissionWaker,
) -> Admitting<'s> {
    let scope = requests.scope();
    let mut builder = OperatorBuilder::new(format!("{}.admit", context.name), scope);
    let mut input = builder.new_input(requests, Exchange::new(|chunk: &AdmissionRequest| chunk.owner));
    let (decisions, decisions_stream) = builder.new_output::<Vec<AdmissionDecision>>();
    let (updates, updates_stream) = builder.new_output::<Vec<(u64, WatermarkUpdate)>>();
    let (mut decisions, mut updates): (Output<_>, Output<_>) =
        (OutputBuilder::from(decisions), OutputBuilder::from(updates));
    waker.0.borrow_mut().activator = Some(scope.activator_for(builder.operator_info().address));
    let (name, workers) = (StageName::of(&context.name), context.workers as u64);
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut waiting: BTreeMap<ChunkId, ([Capability<Epoch>; 2], AdmissionRequest)> = BTreeMap::new();
        move |frontiers| {
            let _stage = name.enter();
            let (mut decisions, mut updates) = (decisions.activate(), updates.activate());
            input.for_each(|capability, chunks| {
                for chunk in chunks.drain(..) {
                    let at = |port| capability.retain_least(port).expect("a message with a least time can be retained");
                    load.done(chunk.worker as usize);
                    waiting.insert((chunk.info.partition, chunk.info.number), ([at(0), at(1)], chunk));
                }
            });
            let ready = |(partition, number): &(u32, u64)| gate.is_next(*partition, *number);
            while let Some(next) = waiting.keys().copied().find(ready) {
                let (at, AdmissionRequest { worker, info, times, .. }) =
                    waiting.remove(&next).expect("it was just found");
                let (refused, update) = gate.decide(&info, &times, *at[0].time());
                let ChunkInfo { partition, number, .. } = info;
                decisions.session(&at[0]).give(AdmissionDecision { worker, partition, number, refused });
                if let Some(update) = update {
                    updates.session(&at[1]).give_iterator((0..workers).map(|to| (to, update)));
                }
            }
            waker.0.borrow_mut().chunks = waiting.len();
            // Chunks that wait belong to incomplete epochs, whatever the input's frontier is.
            let open = frontiers[0].frontier().first().copied();
            let first = waiting.values().map(|(at, _)| *at[0].time()).min();
            gate.complete_before(open.into_iter().chain(first).min());
        }
    });
    (decisions_stream, updates_stream)
}
