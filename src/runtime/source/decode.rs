//! Decodes the chunks that this worker was given.
//!
//! The owner of a chunk's partition decides what is on time in it. If that is this worker and the chunk is next, it is
//! decided at once, and the records are sent on from here; otherwise the owner is sent their event times, and the
//! records wait in `emit`.

use std::collections::VecDeque;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{Stream, StreamVec};

use super::Validations;
use super::admit::{AdmissionRequest, AdmissionWaker};
use super::batch::Batches;
use super::chunk::{ByTarget, Chunk, SpareMemory};
use super::emit::apply;
use super::gate::{AdmissionGate, ChunkInfo};
use super::letter::Letters;
use super::spread::Load;
use crate::connectors::lines;
use crate::connectors::source::{Partition, SourceConnector, SourceContext};
use crate::error::Result;
use crate::error::stage::StageName;
use crate::operators::admission::Times;
use crate::operators::watermark::WatermarkUpdate;
use crate::record::{DeadLetter, Decode, Decoder, Reason, Rejection};
use crate::runtime::control::Control;
use crate::telemetry::SourceMetrics;
use crate::time::Epoch;

/// The parts of the operator.
pub(super) struct DecodeStage<T: Decode> {
    pub(super) context: SourceContext,
    pub(super) options: T::Options,
    /// The index of the field that names a record's clock.
    pub(super) clock_field: Option<usize>,
    pub(super) validations: Validations<T>,
    pub(super) metrics: SourceMetrics,
    pub(super) letters_wanted: bool,
    pub(super) control: Control,
    /// Reads blocks that another process of this machine found.
    pub(super) connector: Arc<dyn SourceConnector>,
    /// Memory for reuse.
    pub(super) spare: SpareMemory,
    pub(super) gate: AdmissionGate<T>,
    /// Counts the chunks that this worker read and that are not decoded yet.
    pub(super) load: Load,
    /// Wakes the operator that decides on chunks that were decoded elsewhere.
    pub(super) waker: AdmissionWaker,
}

/// A decoded chunk.
#[derive(Clone)]
pub(super) struct DecodedChunk<T> {
    /// The bytes, for dead letters.
    pub(super) chunk: Chunk,
    /// The records that decoded and that the dataflow's checks accept.
    pub(super) records: Batches<T>,
    /// The indexes of the other records of the chunk: empty lines, and records that did not decode.
    pub(super) left_out: Vec<u32>,
}

/// Records that are on time, decoded chunks that wait for a decision, requests to their owners, watermark updates
/// addressed to workers, and dead letters.
pub(super) struct Decoding<'s, T> {
    pub(super) records: StreamVec<'s, Epoch, T>,
    pub(super) undecided: StreamVec<'s, Epoch, DecodedChunk<T>>,
    pub(super) requests: StreamVec<'s, Epoch, AdmissionRequest>,
    pub(super) updates: StreamVec<'s, Epoch, (u64, WatermarkUpdate)>,
    pub(super) letters: StreamVec<'s, Epoch, DeadLetter>,
}

/// How many bytes one activation decodes at most; a chunk may run over. Operators downstream take the records while
/// they are in the cache, and the reader learns in time that there is room for more chunks. A larger value means fewer
/// messages between processes.
const DECODE_BYTES: usize = 1024 * 1024;

/// The outputs in their order.
const RECORDS: usize = 0;
const UNDECIDED: usize = 1;
const REQUESTS: usize = 2;
const UPDATES: usize = 3;
const LETTERS: usize = 4;

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// Builds the operator.
pub(super) fn decode<'s, T: Decode>(chunks: Stream<'s, Epoch, Chunk>, stage: DecodeStage<T>) -> Decoding<'s, T> {
    let scope = chunks.scope();
    let mut builder = OperatorBuilder::new(format!("{}.decode", stage.context.name), scope);
    let mut chunks = builder.new_input(chunks, DistributorPact(|_| ByTarget));
    let (records, records_stream) = builder.new_output::<Vec<T>>();
    let (undecided, undecided_stream) = builder.new_output::<Vec<DecodedChunk<T>>>();
    let (requests, to_decide_stream) = builder.new_output::<Vec<AdmissionRequest>>();
    let (updates, updates_stream) = builder.new_output::<Vec<(u64, WatermarkUpdate)>>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let (mut records, mut undecided): (Output<_>, Output<_>) =
        (OutputBuilder::from(records), OutputBuilder::from(undecided));
    let (mut requests, mut updates, mut letters): (Output<_>, Output<_>, Output<_>) =
        (OutputBuilder::from(requests), OutputBuilder::from(updates), OutputBuilder::from(letters));
    let name = StageName::of(&stage.context.name);
    let activator = scope.activator_for(builder.operator_info().address);
    builder.build(move |capabilities| {
        drop(capabilities);
        let (context, control, gate) = (stage.context.clone(), stage.control.clone(), stage.gate.clone());
        let (load, waker, spare) = (stage.load.clone(), stage.waker.clone(), stage.spare.clone());
        let (worker, workers) = (u32::try_from(context.worker).expect("few workers"), context.workers as u64);
        let mut decoding = ChunkDecoder::new(stage);
        let mut waiting = VecDeque::new();
        move |_frontiers| {
            let _stage = name.enter();
            let (mut records, mut undecided, mut requests) =
                (records.activate(), undecided.activate(), requests.activate());
            let (mut updates, mut letters) = (updates.activate(), letters.activate());
            chunks.for_each(|capability, chunk| {
                let at = |port| capability.retain_least(port).expect("a message with a least time can be retained");
                let capabilities = [RECORDS, UNDECIDED, REQUESTS, UPDATES, LETTERS].map(at);
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
                let info = ChunkInfo::of(&decoded.chunk.head);
                if own && gate.is_next(info.partition, info.number) {
                    let (refused, update) = gate.decide(&info, &times, epoch);
                    load.done(context.worker);
                    apply(&mut decoded, refused, &mut decoding.letters);
                    for mut batch in decoded.records.take() {
                        records.session(&at[RECORDS]).give_container(&mut batch);
                    }
                    decoded.chunk.recycle(&spare);
                    if let Some(update) = update {
                        updates.session(&at[UPDATES]).give_iterator((0..workers).map(|to| (to, update)));
                    }
                    waker.wake();
                } else {
                    let owner = u64::from(info.partition) % workers;
                    requests.session(&at[REQUESTS]).give(AdmissionRequest { owner, worker, info, times });
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
        requests: to_decide_stream,
        updates: updates_stream,
        letters: letters_stream,
    }
}

/// What was decoded of a chunk so far; the fields are those of [`DecodedChunk`].
struct ChunkInProgress<T> {
    records: Batches<T>,
    /// Their number.
    taken: usize,
    left_out: Vec<u32>,
    times: Times,
    refused: Vec<(usize, Rejection)>,
    /// How many records there are, and their size in bytes.
    read: (u64, u64),
    /// How many records decoded, refused by a check or not.
    decoded: u64,
}

struct ChunkDecoder<T: Decode> {
    /// Decodes records of any partition where earlier ones do not matter. Taken out while it does.
    decoder: Option<T::Decoder>,
    gate: AdmissionGate<T>,
    clock_field: Option<usize>,
    validations: Validations<T>,
    metrics: SourceMetrics,
    letters: Letters,
    record_bytes_max: usize,
    source: String,
    connector: Arc<dyn SourceConnector>,
    spare: SpareMemory,
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

    /// Decodes a chunk of a partition that this worker owns (`own`), or another one.
    fn decode(&mut self, mut chunk: Chunk, epoch: Epoch, own: bool) -> Result<(DecodedChunk<T>, Times)> {
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
        let ChunkInProgress { records, left_out, times, refused, read: (read, size), decoded, .. } = taken;
        if !refused.is_empty() {
            chunk.split();
        }
        for (i, rejection) in refused {
            let bytes = chunk.record(i);
            self.letters.refuse(&chunk.label, chunk.offset(i), bytes.len() as u64, bytes, rejection);
        }
        self.metrics.decoded(decoded);
        self.metrics.partition(&chunk.label).read(read, size);
        Ok((DecodedChunk { chunk, records, left_out }, times))
    }

    fn take_all(&self, decoder: &mut T::Decoder, chunk: &Chunk, epoch: Epoch) -> ChunkInProgress<T> {
        let mut taken = ChunkInProgress {
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

    /// Decodes a record, or returns why it is refused.
    // A record is built in place.
    #[inline(always)]
    fn take(
        &self,
        decoder: &mut T::Decoder,
        bytes: &[u8],
        epoch: Epoch,
        taken: &mut ChunkInProgress<T>,
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

    /// A block's lines may be too long; other records were checked when they were read.
    #[inline]
    fn fits(&self, line: &[u8]) -> Result<(), Rejection> {
        if line.len() <= self.record_bytes_max {
            return Ok(());
        }
        Err(Rejection::new(Reason::TooLarge, lines::too_large(line.len() as u64, self.record_bytes_max)))
    }
}

/// The dataflow's own checks.
#[inline]
fn check<T>(validations: &Validations<T>, record: &T) -> Result<(), Rejection> {
    match validations.borrow().iter().find_map(|valid| valid(record).err()) {
        Some(detail) => Err(Rejection::new(Reason::Invalid, detail)),
        None => Ok(()),
    }
}
