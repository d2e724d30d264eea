//! Decodes chunks, and tells every worker the greatest event time in each: what is late is decided by the next operator.

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

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// Builds the operator that decodes the chunks given to this worker.
pub(super) fn decode<'s, T: Decode>(chunks: Stream<'s, Epoch, Chunk>, stage: DecodeStage<T>) -> Decoding<'s, T> {
    let mut builder = OperatorBuilder::new(format!("{}.decode", stage.source), chunks.scope());
    let mut chunks = builder.new_input(chunks, DistributorPact(|_| ByTarget));
    let (decoded, decoded_stream) = builder.new_output::<Vec<Decoded<T>>>();
    let (marks, marks_stream) = builder.new_output::<Vec<(u64, Mark)>>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let (mut decoded, mut marks, mut letters): (Output<_>, Output<_>, Output<_>) =
        (OutputBuilder::from(decoded), OutputBuilder::from(marks), OutputBuilder::from(letters));
    let name = StageName::of(&stage.source);
    builder.build(move |capabilities| {
        drop(capabilities);
        let worker = u32::try_from(stage.worker).expect("few workers");
        let workers = stage.workers as u64;
        let control = stage.control.clone();
        let mut decoding = ChunkDecoder::new(stage);
        move |_frontiers| {
            let _stage = name.enter();
            let (mut decoded, mut marks, mut letters) = (decoded.activate(), marks.activate(), letters.activate());
            chunks.for_each(|capability, chunk| {
                let Some(epoch) = capability.least().copied() else { return };
                let at = |port| capability.retain_least(port).expect("a message with a least time can be retained");
                let done = match decoding.decode(std::mem::take(chunk), epoch) {
                    Ok(done) => done,
                    Err(error) => return control.fail(error),
                };
                let (partition, number) = (done.chunk.head.partition, done.chunk.head.number);
                let mark = Mark::Chunk { partition, number, greatest: done.greatest, worker };
                marks.session(&at(1)).give_iterator((0..workers).map(|to| (to, mark)));
                decoded.session(&at(0)).give(done);
                if !decoding.letters.ready.is_empty() {
                    letters.session(&at(2)).give_container(&mut decoding.letters.ready);
                }
            });
        }
    });
    (decoded_stream, marks_stream, letters_stream)
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
        let admission = Admission::new(&self.rules);
        let mut records = Batches::default();
        let mut places = Vec::with_capacity(chunk.len());
        let (mut least, mut greatest) = (EventTime::MAX, EventTime::MIN);
        let (mut read, mut size, mut decoded) = (0, 0, 0);
        for i in 0..chunk.len() {
            let bytes = chunk.record(i);
            if chunk.head.lines && lines::is_empty(bytes) {
                continue;
            }
            read += 1;
            size += bytes.len() as u64;
            let taken = self.fits(bytes).and_then(|()| self.decoder.decode(bytes, epoch)).and_then(|record| {
                decoded += 1;
                check(&self.validations, &record)?;
                if let Some(time) = record.time() {
                    if admission.is_future(time, epoch) {
                        return Err(admission.refuse(Reason::Future, time, epoch));
                    }
                    least = least.min(time);
                    if time >= chunk.head.floor {
                        greatest = greatest.max(time);
                    }
                }
                Ok(record)
            });
            match taken {
                Ok(record) => {
                    records.push(record);
                    places.push(u32::try_from(i).expect("a chunk has few records"));
                }
                Err(rejection) => {
                    self.letters.refuse(&chunk.label, chunk.offset(i), bytes.len() as u64, bytes, rejection);
                }
            }
        }
        self.metrics.decoded(decoded);
        self.metrics.partition(&chunk.label).read(read, size);
        Ok(Decoded { chunk, records, places, least, greatest })
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
