//! Decides what is on time in chunks that were decoded in any order, as if they had been decoded one after the other.
//!
//! A chunk waits until the marks of all chunks before it are here: they say how far its partition was when it began. Chunks
//! of a partition are numbered in the order of their epochs, so nothing waits for a later epoch.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};

use super::batch::Batches;
use super::chunk::Spare;
use super::decode::Decoded;
use super::letter::Letters;
use super::spread::Load;
use crate::checkpoint::bindings::SourceBase;
use crate::connectors::source::{Partition, SourceContext};
use crate::error::stage::StageName;
use crate::operators::admission::{Admission, TimeRules};
use crate::operators::watermark::Mark;
use crate::record::{DeadLetter, Decode};
use crate::telemetry::SourceMetrics;
use crate::time::{Epoch, EventTime};

/// Records that are on time, every worker's marks, and dead letters.
type Ordered<'s, T> = (StreamVec<'s, Epoch, T>, StreamVec<'s, Epoch, Mark>, StreamVec<'s, Epoch, DeadLetter>);

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// What ordering needs to know.
pub(super) struct OrderStage {
    pub(super) context: SourceContext,
    pub(super) rules: TimeRules,
    pub(super) metrics: SourceMetrics,
    /// Learns which of the chunks that this worker gave away are done.
    pub(super) load: Load,
    /// Gets the memory of those that it decoded.
    pub(super) spare: Spare,
    /// Where the partitions are when the run begins.
    pub(super) base: SourceBase,
}

/// Builds the operator.
pub(super) fn order<'s, T: Decode>(
    decoded: StreamVec<'s, Epoch, Decoded<T>>,
    marks: StreamVec<'s, Epoch, (u64, Mark)>,
    stage: OrderStage,
) -> Ordered<'s, T> {
    let OrderStage { context, rules, metrics, load, spare, base } = stage;
    let mut builder = OperatorBuilder::new(format!("{}.order", context.name), decoded.scope());
    let mut decoded = builder.new_input(decoded, Pipeline);
    let mut marks = builder.new_input(marks, Exchange::new(|(worker, _): &(u64, Mark)| *worker));
    let (records, records_stream) = builder.new_output::<Vec<T>>();
    let (told, told_stream) = builder.new_output::<Vec<Mark>>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let (mut records, mut told, mut letters): (Output<_>, Output<_>, Output<_>) =
        (OutputBuilder::from(records), OutputBuilder::from(told), OutputBuilder::from(letters));
    let name = StageName::of(&context.name);
    builder.build(move |capabilities| {
        drop(capabilities);
        let at_checkpoint = base.positions.values();
        let at_checkpoint = at_checkpoint.map(|at| (at.partition, Progress::after(at.greatest)));
        let mut partitions: HashMap<u32, Progress<T>> = at_checkpoint.collect();
        let mut refused = Letters::new(&context.name, metrics);
        move |_frontiers| {
            let _stage = name.enter();
            let (mut records, mut told, mut letters) = (records.activate(), told.activate(), letters.activate());
            let mut touched = Vec::new();
            decoded.for_each(|capability, chunks| {
                for decoded in chunks.drain(..) {
                    let at = |port| capability.retain_least(port).expect("a message with a least time can be retained");
                    let head = decoded.chunk.head;
                    touched.push(head.partition);
                    let waiting = &mut partitions.entry(head.partition).or_default().waiting;
                    waiting.insert(head.number, Waiting { records: at(0), letters: at(2), decoded });
                }
            });
            marks.for_each(|capability, batch| {
                let at = capability.retain_least(1).expect("a message with a least time can be retained");
                let mut session = told.session(&at);
                for (_, mark) in batch.drain(..) {
                    session.give(mark);
                    let Mark::Chunk { partition, number, greatest, worker } = mark else { continue };
                    let ours = worker as usize == context.worker;
                    partitions.entry(partition).or_default().marked.insert(number, (greatest, ours));
                    touched.push(partition);
                    if context.owns(Partition(partition)) {
                        load.done(worker as usize);
                    }
                }
            });
            touched.sort_unstable();
            touched.dedup();
            for partition in touched {
                let progress = partitions.get_mut(&partition).expect("it was just touched");
                while let Some((prior, ready)) = progress.next() {
                    let Some(Waiting { records: at, letters: letters_at, mut decoded }) = ready else { continue };
                    let admission = Admission::resume(&rules, prior, decoded.chunk.head.floor);
                    admit(admission, &mut decoded, *at.time(), &mut refused);
                    for mut batch in decoded.records.take() {
                        records.session(&at).give_container(&mut batch);
                    }
                    decoded.chunk.recycle(&spare);
                    if !refused.ready.is_empty() {
                        letters.session(&letters_at).give_container(&mut refused.ready);
                    }
                }
            }
        }
    });
    (records_stream, told_stream, letters_stream)
}

/// How far a partition is.
struct Progress<T> {
    /// The chunk whose turn it is.
    next: u64,
    /// The greatest event time in the chunks before it.
    greatest: EventTime,
    /// The greatest event time of later chunks, and whether it is this worker that decodes them.
    marked: BTreeMap<u64, (EventTime, bool)>,
    /// This worker's chunks whose turn it is not.
    waiting: BTreeMap<u64, Waiting<T>>,
}

struct Waiting<T> {
    records: Capability<Epoch>,
    letters: Capability<Epoch>,
    decoded: Decoded<T>,
}

impl<T> Default for Progress<T> {
    fn default() -> Self {
        Progress::after(EventTime::MIN)
    }
}

impl<T> Progress<T> {
    /// The first chunk comes after events of which `greatest` was the greatest time.
    fn after(greatest: EventTime) -> Self {
        Progress { next: 0, greatest, marked: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    /// Moves past the next chunk if all that is needed for it is here: the greatest event time before it, and the chunk if it
    /// is this worker's.
    fn next(&mut self) -> Option<(EventTime, Option<Waiting<T>>)> {
        let (number, &(greatest, ours)) = self.marked.first_key_value()?;
        if *number != self.next || (ours && !self.waiting.contains_key(number)) {
            return None;
        }
        let (prior, ready) = (self.greatest, self.waiting.remove(&self.next));
        self.marked.pop_first();
        self.next += 1;
        self.greatest = prior.max(greatest);
        Some((prior, ready))
    }
}

/// Takes the records out of a chunk that come too late.
fn admit<T: Decode>(mut admission: Admission, decoded: &mut Decoded<T>, epoch: Epoch, refused: &mut Letters) {
    let Decoded { chunk, records, places, least, greatest } = decoded;
    // Most often nothing is late even if the greatest had come first.
    if *least >= admission.watermark_after(*greatest).max(chunk.head.floor) {
        return;
    }
    // The records that are refused, by their place among those that decoded.
    let mut late = Vec::new();
    for (n, record) in records.iter().enumerate() {
        if let Some(Err(rejection)) = record.time().map(|time| admission.admit(time, epoch)) {
            late.push((n, rejection));
        }
    }
    if late.is_empty() {
        return;
    }
    let mut late = late.into_iter().peekable();
    let mut kept = Batches::default();
    for (n, record) in std::mem::take(records).into_records().enumerate() {
        match late.next_if(|(late, _)| *late == n) {
            None => kept.push(record),
            Some((_, rejection)) => {
                let i = places[n] as usize;
                let bytes = chunk.record(i);
                refused.refuse(&chunk.label, chunk.offset(i), bytes.len() as u64, bytes, rejection);
            }
        }
    }
    *records = kept;
}
