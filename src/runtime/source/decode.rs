//! Decodes chunks, and tells every worker the greatest event time in each: what is late is decided by the next operator.

use std::collections::VecDeque;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{Stream, StreamVec};

use super::Validations;
use super::batch::Batches;
use super::chunk::{ByTarget, Chunk, Spare};
use super::direct::check;
use super::letter::Letters;
use crate::connectors::lines;
use crate::connectors::source::SourceConnector;
use crate::error::Result;
use crate::error::stage::StageName;
use crate::operators::admission::{Admission, TimeRules};
use crate::operators::watermark::Mark;
use crate::record::{DeadLetter, Decode, Decoder, Reason, Rejection};
use crate::runtime::control::Control;
use crate::telemetry::SourceMetrics;
use crate::time::{Epoch, EventTime};

/// What decoding needs to know.
pub(super) struct DecodeStage<T: Decode> {
    /// The source's name.
    pub(super) source: String,
    pub(super) worker: usize,
    pub(super) workers: usize,
    pub(super) options: T::Options,
    pub(super) rules: TimeRules,
    pub(super) validations: Validations<T>,
    pub(super) metrics: SourceMetrics,
    pub(super) record_bytes_max: usize,
    pub(super) control: Control,
    /// Reads blocks that another process of this machine found.
    pub(super) connector: Arc<dyn SourceConnector>,
    /// Where `order` leaves memory.
    pub(super) spare: Spare,
}

/// A decoded chunk.
#[derive(Clone)]
pub(super) struct Decoded<T> {
    /// The bytes, for dead letters.
    pub(super) chunk: Chunk,
    /// The records that decoded and that the dataflow does not refuse.
    pub(super) records: Batches<T>,
    /// Where in the chunk each of them is.
    pub(super) places: Vec<u32>,
    /// The least of their event times; the greatest there is if none has one.
    pub(super) least: EventTime,
    /// The greatest event time that may move the watermark.
    pub(super) greatest: EventTime,
}

/// Decoded chunks on the same worker, marks addressed to workers, and dead letters.
type Decoding<'s, T> =
    (StreamVec<'s, Epoch, Decoded<T>>, StreamVec<'s, Epoch, (u64, Mark)>, StreamVec<'s, Epoch, DeadLetter>);

/// How many bytes one activation decodes at most; a chunk may run over. What comes behind takes the records while they are in the
/// cache, and whoever reads learns in time that there is room for more chunks. More of it means fewer messages between processes.
const DECODE_BYTES: usize = 1024 * 1024;

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// Builds the operator that decodes the chunks given to this worker.
pub(super) fn decode<'s, T: Decode>(chunks: Stream<'s, Epoch, Chunk>, stage: DecodeStage<T>) -> Decoding<'s, T> {
    let scope = chunks.scope();
    let mut builder = OperatorBuilder::new(format!("{}.decode", stage.source), scope);
    let mut chunks = builder.new_input(chunks, DistributorPact(|_| ByTarget));
    let (decoded, decoded_stream) = builder.new_output::<Vec<Decoded<T>>>();
    let (marks, marks_stream) = builder.new_output::<Vec<(u64, Mark)>>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let (mut decoded, mut marks, mut letters): (Output<_>, Output<_>, Output<_>) =
        (OutputBuilder::from(decoded), OutputBuilder::from(marks), OutputBuilder::from(letters));
    let name = StageName::of(&stage.source);
    let activator = scope.activator_for(builder.operator_info().address);
    builder.build(move |capabilities| {
        drop(capabilities);
        let worker = u32::try_from(stage.worker).expect("few workers");
        let workers = stage.workers as u64;
        let control = stage.control.clone();
        let mut decoding = ChunkDecoder::new(stage);
        let mut waiting = VecDeque::new();
        move |_frontiers| {
            let _stage = name.enter();
            let (mut decoded, mut marks, mut letters) = (decoded.activate(), marks.activate(), letters.activate());
            chunks.for_each(|capability, chunk| {
                let at = |port| capability.retain_least(port).expect("a message with a least time can be retained");
                waiting.push_back(([at(0), at(1), at(2)], std::mem::take(chunk)));
            });
            let mut bytes = 0;
            while bytes < DECODE_BYTES
                && let Some((at, chunk)) = waiting.pop_front()
            {
                bytes += chunk.bytes();
                let done = match decoding.decode(chunk, *at[0].time()) {
                    Ok(done) => done,
                    Err(error) => return control.fail(error),
                };
                let (partition, number) = (done.chunk.head.partition, done.chunk.head.number);
                let mark = Mark::Chunk { partition, number, greatest: done.greatest, worker };
                marks.session(&at[1]).give_iterator((0..workers).map(|to| (to, mark)));
                decoded.session(&at[0]).give(done);
                if !decoding.letters.ready.is_empty() {
                    letters.session(&at[2]).give_container(&mut decoding.letters.ready);
                }
            }
            if !waiting.is_empty() {
                activator.activate();
            }
        }
    });
    (decoded_stream, marks_stream, letters_stream)
}

/// What was taken of a chunk so far; the fields are those of [`Decoded`].
struct Taken<T> {
    records: Batches<T>,
    places: Vec<u32>,
    least: EventTime,
    greatest: EventTime,
    /// How many records decoded, refused or not.
    decoded: u64,
}

impl<T> Taken<T> {
    fn new(records: usize) -> Self {
        let (least, greatest) = (EventTime::MAX, EventTime::MIN);
        Taken { records: Batches::default(), places: Vec::with_capacity(records), least, greatest, decoded: 0 }
    }
}

struct ChunkDecoder<T: Decode> {
    decoder: T::Decoder,
    rules: TimeRules,
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
            decoder: T::decoder(&stage.options),
            rules: stage.rules,
            validations: stage.validations,
            letters: Letters::new(&stage.source, stage.metrics.clone()),
            metrics: stage.metrics,
            record_bytes_max: stage.record_bytes_max,
            source: stage.source,
            connector: stage.connector,
            spare: stage.spare,
        }
    }

    fn decode(&mut self, mut chunk: Chunk, epoch: Epoch) -> Result<Decoded<T>> {
        chunk.read(&*self.connector, &self.source, &self.spare)?;
        let (mut taken, rules) = (Taken::new(chunk.len()), Admission::new(&self.rules));
        let (mut read, mut size) = (0, 0);
        let mut refused = Vec::new();
        // What a reader that looks at lines hands over is their text already.
        let lines = chunk.head.lines;
        let text = move |bytes| if lines { lines::text(bytes) } else { bytes };
        for (i, bytes) in chunk.records().map(text).enumerate() {
            if lines && lines::is_empty(bytes) {
                continue;
            }
            read += 1;
            size += bytes.len() as u64;
            match self.take(bytes, epoch, chunk.head.floor, &rules, &mut taken) {
                Ok(()) => taken.places.push(u32::try_from(i).expect("a chunk has few records")),
                Err(rejection) => refused.push((i, rejection)),
            }
        }
        for (i, rejection) in refused {
            let bytes = text(chunk.record(i));
            self.letters.refuse(&chunk.label, chunk.offset(i), bytes.len() as u64, bytes, rejection);
        }
        self.metrics.decoded(taken.decoded);
        self.metrics.partition(&chunk.label).read(read, size);
        let Taken { records, places, least, greatest, .. } = taken;
        Ok(Decoded { chunk, records, places, least, greatest })
    }

    /// Takes a record, or says why not.
    // A record is built where it is kept, as on the way without chunks.
    #[inline(always)]
    fn take(
        &mut self,
        bytes: &[u8],
        epoch: Epoch,
        floor: EventTime,
        admission: &Admission,
        taken: &mut Taken<T>,
    ) -> Result<(), Rejection> {
        self.fits(bytes)?;
        let record = self.decoder.decode(bytes, epoch)?;
        taken.decoded += 1;
        check(&self.validations, &record)?;
        if let Some(time) = record.time() {
            if admission.is_future(time, epoch) {
                return Err(admission.refuse(Reason::Future, time, epoch));
            }
            taken.least = taken.least.min(time);
            if time >= floor {
                taken.greatest = taken.greatest.max(time);
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
