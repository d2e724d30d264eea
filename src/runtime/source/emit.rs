//! Releases records once the owner of their partition has decided on them.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};

use super::admit::ChunkId;
use super::batch::Batches;
use super::chunk::SpareMemory;
use super::decode::DecodedChunk;
use super::gate::Refused;
use super::letter::Letters;
use crate::error::stage::StageName;
use crate::record::{DeadLetter, Decode};
use crate::time::Epoch;

/// What the owner of a partition has decided on a chunk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AdmissionDecision {
    /// The worker that holds the chunk.
    pub(super) worker: u32,
    pub(super) partition: u32,
    pub(super) number: u64,
    pub(super) refused: Refused,
}

/// Records that are on time, and dead letters.
type Emitted<'s, T> = (StreamVec<'s, Epoch, T>, StreamVec<'s, Epoch, DeadLetter>);

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// Builds the operator.
pub(super) fn emit<'s, T: Decode>(
    undecided: StreamVec<'s, Epoch, DecodedChunk<T>>,
    decisions: StreamVec<'s, Epoch, AdmissionDecision>,
    source: &str,
    mut refused: Letters,
    spare: SpareMemory,
) -> Emitted<'s, T> {
    let mut builder = OperatorBuilder::new(format!("{source}.emit"), undecided.scope());
    let mut undecided = builder.new_input(undecided, Pipeline);
    let mut decisions =
        builder.new_input(decisions, Exchange::new(|decision: &AdmissionDecision| decision.worker.into()));
    let (records, records_stream) = builder.new_output::<Vec<T>>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let (mut records, mut letters): (Output<_>, Output<_>) =
        (OutputBuilder::from(records), OutputBuilder::from(letters));
    let name = StageName::of(source);
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut waiting: HashMap<ChunkId, ([Capability<Epoch>; 2], DecodedChunk<T>)> = HashMap::new();
        // A decision may arrive before the records, which come another way.
        let mut decided: HashMap<ChunkId, Refused> = HashMap::new();
        move |_frontiers| {
            let _stage = name.enter();
            let (mut records, mut letters) = (records.activate(), letters.activate());
            let mut ready = Vec::new();
            undecided.for_each(|capability, chunks| {
                for decoded in chunks.drain(..) {
                    let at = |port| capability.retain_least(port).expect("a message with a least time can be retained");
                    let chunk = (decoded.chunk.head.partition, decoded.chunk.head.number);
                    ready.extend(decided.contains_key(&chunk).then_some(chunk));
                    waiting.insert(chunk, ([at(0), at(1)], decoded));
                }
            });
            decisions.for_each(|_, batch| {
                for AdmissionDecision { partition, number, refused, .. } in batch.drain(..) {
                    ready.push((partition, number));
                    decided.insert((partition, number), refused);
                }
            });
            for chunk in ready {
                let Some((at, mut decoded)) = waiting.remove(&chunk) else { continue };
                let decision = decided.remove(&chunk).unwrap_or_default();
                apply(&mut decoded, decision, &mut refused);
                for mut batch in decoded.records.take() {
                    records.session(&at[0]).give_container(&mut batch);
                }
                decoded.chunk.recycle(&spare);
                if !refused.ready.is_empty() {
                    letters.session(&at[1]).give_container(&mut refused.ready);
                }
            }
        }
    });
    (records_stream, letters_stream)
}

/// Removes the refused records from a chunk.
pub(super) fn apply<T>(decoded: &mut DecodedChunk<T>, refused: Refused, letters: &mut Letters) {
    if refused.is_empty() {
        return;
    }
    let DecodedChunk { chunk, records, left_out } = decoded;
    chunk.split();
    let (mut left_out, mut place) = (left_out.iter().peekable(), 0);
    let mut refused = refused.into_iter().peekable();
    let mut kept = Batches::default();
    for (n, record) in std::mem::take(records).into_records().enumerate() {
        while left_out.next_if(|left_out| **left_out as usize == place).is_some() {
            place += 1;
        }
        match refused.next_if(|(refused, _)| *refused as usize == n) {
            None => kept.push(record),
            Some((_, rejection)) => {
                let bytes = chunk.record(place);
                letters.refuse(&chunk.label, chunk.offset(place), bytes.len() as u64, bytes, rejection);
            }
        }
        place += 1;
    }
    *records = kept;
}
