//! Decodes the chunks that this worker was given.
//!
//! What is on time in a chunk is for the owner of its partition to say. Where that is this worker, and the chunk's turn has come, it
//! is said at once, and the records go on from here; else the owner is sent their event times, and the records wait in `emit`.

use std::collections::VecDeque;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{Stream, StreamVec};

use super::Validations;
use super::admit::{ToDecide, Turn};
use super::batch::Batches;
use super::chunk::{ByTarget, Chunk, Spare};
use super::emit::apply;
use super::gate::{Decidable, Gate};
use super::letter::Letters;
use super::spread::Load;
use crate::connectors::lines;
use crate::connectors::source::{Partition, SourceConnector, SourceContext};
use crate::error::Result;
use crate::error::stage::StageName;
use crate::operators::admission::Times;
use crate::operators::watermark::Mark;
use crate::record::{DeadLetter, Decode, Decoder, Reason, Rejection};
use crate::runtime::control::Control;
use crate::telemetry::SourceMetrics;
use crate::time::Epoch;

/// What decoding needs to know.
pub(super) struct DecodeStage<T: Decode> {
    pub(super) context: SourceContext,
    pub(super) options: T::Options,
    /// The number of the field that names a record's clock.
    pub(super) clock_field: Option<usize>,
    pub(super) validations: Validations<T>,
    pub(super) metrics: SourceMetrics,
    pub(super) letters_wanted: bool,
    pub(super) control: Control,
    /// Reads blocks that another process of this machine found.
    pub(super) connector: Arc<dyn SourceConnector>,
    /// The memory of chunks that are done.
    pub(super) spare: Spare,
    pub(super) gate: Gate<T>,
    /// Learns which of the chunks that this worker read are decoded.
    pub(super) load: Load,
    /// Wakes whoever decides on chunks that were decoded elsewhere.
    pub(super) turn: Turn,
}

/// A decoded chunk.
#[derive(Clone)]
pub(super) struct Decoded<T> {
    /// The bytes, for dead letters.
    pub(super) chunk: Chunk,
    /// The records that decoded and that the dataflow does not refuse.
    pub(super) records: Batches<T>,
    /// Which records of the chunk, by their place in it, are none of these: empty lines, and what did not decode.
    pub(super) left_out: Vec<u32>,
}

/// Records that are on time, decoded chunks of which that is not known yet, what their owners have to decide on, marks addressed to
/// workers, and dead letters.
pub(super) struct Decoding<'s, T> {
    pub(super) records: StreamVec<'s, Epoch, T>,
    pub(super) undecided: StreamVec<'s, Epoch, Decoded<T>>,
    pub(super) to_decide: StreamVec<'s, Epoch, ToDecide>,
    pub(super) marks: StreamVec<'s, Epoch, (u64, Mark)>,
    pub(super) letters: StreamVec<'s, Epoch, DeadLetter>,
}

/// How many bytes one activation decodes at most; a chunk may run over. What comes behind takes the records while they are in the
/// cache, and whoever reads learns in time that there is room for more chunks. More of it means fewer messages between processes.
const DECODE_BYTES: usize = 1024 * 1024;

/// The outputs in their order.
const RECORDS: usize = 0;
const UNDECIDED: usize = 1;
const TO_DECIDE: usize = 2;
const MARKS: usize = 3;
const LETTERS: usize = 4;

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// Builds the operator.
pub(super) fn decode<'s, T: Decode>(chunks: Stream<'s, Epoch, Chunk>, stage: DecodeStage<T>) -> Decoding<'s, T> {
    let scope = chunks.scope();
    let mut builder = OperatorBuilder::new(format!("{}.decode", stage.context.name), scope);
    let mut chunks = builder.new_input(chunks, DistributorPact(|_| ByTarget));
    let (records, records_stream) = builder.new_output::<Vec<T>>();
    let (undecided, undecided_stream) = builder.new_output::<Vec<Decoded<T>>>();
    let (to_decide, to_decide_stream) = builder.new_output::<Vec<ToDecide>>();
    let (marks, marks_stream) = builder.new_output::<Vec<(u64, Mark)>>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let (mut records, mut undecided): (Output<_>, Output<_>) =
        (OutputBuilder::from(records), OutputBuilder::from(undecided));
    let (mut to_decide, mut marks, mut letters): (Output<_>, Output<_>, Output<_>) =
        (OutputBuilder::from(to_decide), OutputBuilder::from(marks), OutputBuilder::from(letters));
    let name = StageName::of(&stage.context.name);
    let activator = scope.activator_for(builder.operator_info().address);
    builder.build(move |capabilities| {
        drop(capabilities);
        let (context, control, gate) = (stage.context.clone(), stage.control.clone(), stage.gate.clone());
        let (load, turn, spare) = (stage.load.clone(), stage.turn.clone(), stage.spare.clone());
        let (worker, workers) = (u32::try_from(context.worker).expect("few workers"), context.workers as u64);
        let mut decoding = ChunkDecoder::new(stage);
        let mut waiting = VecDeque::new();
        move |_frontiers| {
            let _stage = name.enter();
            let (mut records, mut undecided, mut to_decide) =
                (records.activate(), undecided.activate(), to_decide.activate());
            let (mut marks, mut letters) = (marks.activate(), letters.activate());
            chunks.for_each(|capability, chunk| {
                let at = |port| capability.retain_least(port).expect("a message with a least time can be retained");
                let capabilities = [RECORDS, UNDECIDED, TO_DECIDE, MARKS, LETTERS].map(at);
                waiting.push_back((capabilities, std::mem::take(chunk)));
            });
            let mut bytes = 0;
            while bytes < DECODE_BYTES
                && let Some((at, chunk)) = waiting.pop_front()
            {
                bytes += chunk.bytes();
                let epoch = *at[RECORDS].time();
                let own = context.owns(Partition(chunk.head.partition));
                let (mut decoded, times) = match decoding.decode(chunk, epoch, own) {
                    Ok(done) => done,
                    Err(error) => return control.fail(error),
                };
                let decidable = Decidable::of(&decoded.chunk.head);
                if own && gate.is_next(decidable.partition, decidable.number) {
                    let (refused, mark) = gate.decide(&decidable, &times, epoch);
                    load.done(context.worker);
                    apply(&mut decoded, refused, &mut decoding.letters);
                    for mut batch in decoded.records.take() {
                        records.session(&at[RECORDS]).give_container(&mut batch);
                    }
                    decoded.chunk.recycle(&spare);
                    if let Some(mark) = mark {
                        marks.session(&at[MARKS]).give_iterator((0..workers).map(|to| (to, mark)));
                    }
                    turn.has_come();
                } else {
                    let owner = u64::from(decidable.partition) % workers;
                    to_decide.session(&at[TO_DECIDE]).give(ToDecide { owner, worker, decidable, times });
                    undecided.session(&at[UNDECIDED]).give(decoded);
                }
                if !decoding.letters.ready.is_empty() {
                    letters.session(&at[LETTERS]).give_container(&mut decoding.letters.ready);
                }
            }
            if !waiting.is_empty() {
                activator.activate();
            }
        }
    });
    Decoding {
        records: records_stream,
        undecided: undecided_stream,
        to_decide: to_decide_stream,
        marks: marks_stream,
        letters: letters_stream,
    }
}

/// What was taken of a chunk so far; the fields are those of [`Decoded`].
struct Taken<T> {
    records: Batches<T>,
    /// How many these are.
    taken: usize,
    left_out: Vec<u32>,
    times: Times,
    refused: Vec<(usize, Rejection)>,
    /// How many records there are, and how many bytes they have.
    read: (u64, u64),
    /// How many records decoded, refused or not.
    decoded: u64,
}

struct ChunkDecoder<T: Decode> {
    /// Decodes records for which those before do not matter, of any partition. Lent while it does.
    decoder: Option<T::Decoder>,
    gate: Gate<T>,
    clock_field: Option<usize>,
    validations: Validations<T>,
    metrics: SourceMetrics,
    letters: Letters,
    record_bytes_max: usize,
    source: String,
    connector: Arc<dyn SourceConnector>,
    spare: Spare,
}

impl<T: Decode> ChunkDecoder<T> {
    fn new(stage: DecodeStage<T>) -> Self {
        ChunkDecoder {
            decoder: Some(T::decoder(&stage.options)),
            gate: stage.gate,
            clock_field: stage.clock_field,
            validations: stage.validations,
            letters: Letters::new(&stage.context.name, stage.metrics.clone(), stage.letters_wanted),
            metrics: stage.metrics,
            record_bytes_max: stage.context.record_bytes_max,
            source: stage.context.name,
            connector: stage.connector,
            spare: stage.spare,
        }
    }

    /// Decodes a chunk of a partition that is this worker's `own`, or another's.
    fn decode(&mut self, mut chunk: Chunk, epoch: Epoch, own: bool) -> Result<(Decoded<T>, Times)> {
        chunk.read(&*self.connector, &self.source, &self.spare)?;
        let taken = if own && !T::Decoder::STATELESS {
            let gate = self.gate.clone();
            gate.decode(chunk.head.partition, epoch, |decoder| self.take_all(decoder, &chunk, epoch))
        } else {
            let mut decoder = self.decoder.take().expect("it is put back below");
            let taken = self.take_all(&mut decoder, &chunk, epoch);
            self.decoder = Some(decoder);
            taken
        };
        let Taken { records, left_out, times, refused, read: (read, size), decoded, .. } = taken;
        if !refused.is_empty() {
            chunk.split();
        }
        for (i, rejection) in refused {
            let bytes = chunk.record(i);
            self.letters.refuse(&chunk.label, chunk.offset(i), bytes.len() as u64, bytes, rejection);
        }
        self.metrics.decoded(decoded);
        self.metrics.partition(&chunk.label).read(read, size);
        Ok((Decoded { chunk, records, left_out }, times))
    }

    fn take_all(&self, decoder: &mut T::Decoder, chunk: &Chunk, epoch: Epoch) -> Taken<T> {
        let mut taken = Taken {
            records: Batches::default(),
            taken: 0,
            left_out: Vec::new(),
            times: Times::with_room(chunk.len()),
            refused: Vec::new(),
            read: (0, 0),
            decoded: 0,
        };
        for (i, bytes) in chunk.records().enumerate() {
            let place = || u32::try_from(i).expect("a chunk has few records");
            if chunk.head.lines && lines::is_empty(bytes) {
                taken.left_out.push(place());
                continue;
            }
            taken.read = (taken.read.0 + 1, taken.read.1 + bytes.len() as u64);
            match self.take(decoder, bytes, epoch, &mut taken) {
                Ok(()) => taken.taken += 1,
                Err(rejection) => {
                    taken.left_out.push(place());
                    taken.refused.push((i, rejection));
                }
            }
        }
        taken
    }

    /// Takes a record, or says why not.
    // A record is built where it is kept.
    #[inline(always)]
    fn take(
        &self,
        decoder: &mut T::Decoder,
        bytes: &[u8],
        epoch: Epoch,
        taken: &mut Taken<T>,
    ) -> Result<(), Rejection> {
        self.fits(bytes)?;
        let record = decoder.decode(bytes, epoch)?;
        taken.decoded += 1;
        check(&self.validations, &record)?;
        if let Some(time) = record.time() {
            taken.times.push(taken.taken, time);
            if let Some(field) = self.clock_field {
                taken.times.push_clock(taken.taken, record.clock(field));
            }
        }
        taken.records.push(record);
        Ok(())
    }

    /// A block's lines may be too long; others were looked at when they were read.
    #[inline]
    fn fits(&self, line: &[u8]) -> Result<(), Rejection> {
        if line.len() <= self.record_bytes_max {
            return Ok(());
        }
        Err(Rejection::new(Reason::TooLarge, lines::too_large(line.len() as u64, self.record_bytes_max)))
    }
}

/// What the dataflow itself refuses.
#[inline]
fn check<T>(validations: &Validations<T>, record: &T) -> Result<(), Rejection> {
    match validations.borrow().iter().find_map(|valid| valid(record).err()) {
        Some(detail) => Err(Rejection::new(Reason::Invalid, detail)),
        None => Ok(()),
    }
}
