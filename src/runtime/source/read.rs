//! The operator that drives a connector's reader. Its capability is the clock of the dataflow.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{ProbeHandle, Scope, Stream, StreamVec};

use super::chunk::{Chunk, Spare};
use super::direct::Direct;
use super::intake::{Intake, Work};
use super::spread::{Load, Packer};
use super::{FlowControl, SourceStage};
use crate::connectors::source::{Polled, SourceConnector, SourceReader};
use crate::error::Result;
use crate::error::stage::StageName;
use crate::operators::watermark::{Mark, WatermarkView};
use crate::record::{DeadLetter, Decode, Decoder};
use crate::runtime::control::Control;
use crate::runtime::release::Reads;
use crate::time::{Epoch, Ticker};

/// How many bytes one activation reads at most: enough to amortise scheduling, little enough to stay in the cache.
const POLL_BYTES: usize = 512 * 1024;

/// How long a source waits before it looks again whether the sinks have caught up.
const BACKPRESSURE_WAIT: Duration = Duration::from_millis(1);

/// How long a source waits for workers to decode what they have, if nobody wakes it.
const DECODING_WAIT: Duration = Duration::from_millis(10);

/// The outputs in their order.
const RECORDS: usize = 0;
const MARKS: usize = 1;
const CHUNKS: usize = 2;
const LETTERS: usize = 3;

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// What a source's reading gives.
pub(super) struct Read<'s, T> {
    /// Records that were decoded here.
    pub(super) records: StreamVec<'s, Epoch, T>,
    /// News of the partitions, addressed to workers.
    pub(super) marks: StreamVec<'s, Epoch, (u64, Mark)>,
    /// Records to be decoded by whoever they are addressed to.
    pub(super) chunks: Stream<'s, Epoch, Chunk>,
    /// Records that were refused here.
    pub(super) letters: StreamVec<'s, Epoch, DeadLetter>,
    /// Must be told when a chunk is done.
    pub(super) load: Load,
}

/// Builds the operator. A connector that cannot be opened fails the run.
pub(super) fn read<'s, T: Decode>(
    scope: Scope<'s, Epoch>,
    stage: SourceStage<T>,
    view: Rc<WatermarkView>,
) -> Read<'s, T> {
    let mut builder = OperatorBuilder::new(stage.context.name.clone(), scope);
    let (records, records_stream) = builder.new_output::<Vec<T>>();
    let (marks, marks_stream) = builder.new_output::<Vec<(u64, Mark)>>();
    let (chunks, chunks_stream) = builder.new_output::<Chunk>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let load = Load::new(stage.context.worker, stage.context.workers, scope.activator_for(address));
    let name = StageName::of(&stage.context.name);
    let outputs = Outputs {
        records: OutputBuilder::from(records),
        marks: OutputBuilder::from(marks),
        chunks: OutputBuilder::from(chunks),
        letters: OutputBuilder::from(letters),
    };

    let shared = load.clone();
    builder.build(move |capabilities| {
        let mut reading = Reading::open(stage, view, shared, outputs, capabilities);
        move |_frontiers| {
            let _stage = name.enter();
            match reading.as_mut().map(Reading::activate) {
                Some(Next::Again(None)) => activator.activate(),
                Some(Next::Again(Some(wait))) => activator.activate_after(wait),
                // Dropping the capabilities is what ends the source.
                Some(Next::Over) => reading = None,
                None => {}
            }
        }
    });
    Read { records: records_stream, marks: marks_stream, chunks: chunks_stream, letters: letters_stream, load }
}

struct Outputs<T: Decode> {
    records: Output<T>,
    marks: Output<(u64, Mark)>,
    chunks: OutputBuilder<Epoch, NoopBuilder<Chunk>>,
    letters: Output<DeadLetter>,
}

/// What becomes of the operator after an activation.
enum Next {
    /// It runs again, at once or after a while.
    Again(Option<Duration>),
    /// It has nothing more to say.
    Over,
}

/// The operator while it has something to read.
struct Reading<T: Decode> {
    reader: Box<dyn SourceReader>,
    intake: Intake<T>,
    outputs: Outputs<T>,
    /// One per output, all at the epoch in which records are read now.
    capabilities: Vec<Capability<Epoch>>,
    workers: u64,
    /// The workers of this process.
    process: Range<usize>,
    one_machine: bool,
    connector: Arc<dyn SourceConnector>,
    name: String,
    control: Control,
    ticker: Ticker,
    sinks: ProbeHandle<Epoch>,
    flow_control: FlowControl,
    /// Whether partitions were announced.
    announced: bool,
    /// Records read in this epoch.
    in_epoch: u64,
    /// Epochs in which this worker read something that is not committed yet. Counted rather than measured by the clock, so that
    /// a host whose clock is ahead is not throttled for it.
    in_flight: VecDeque<Epoch>,
    reads: Reads,
}

impl<T: Decode> Reading<T> {
    fn open(
        stage: SourceStage<T>,
        view: Rc<WatermarkView>,
        load: Load,
        outputs: Outputs<T>,
        capabilities: Vec<Capability<Epoch>>,
    ) -> Option<Self> {
        let SourceStage { context, connector, options, rules, validations, control, ticker, .. } = stage;
        let reader = connector.open(&context).map_err(|error| control.fail(error)).ok()?;
        let few = reader.partitions().is_some_and(|partitions| partitions < context.workers);
        let work = if few && T::Decoder::STATELESS {
            Work::Spread(Packer::new(load))
        } else {
            Work::Here(Direct::new(options, rules, validations))
        };
        let first = context.worker / stage.threads * stage.threads;
        Some(Reading {
            reader,
            process: first..first + stage.threads,
            one_machine: stage.one_machine,
            connector,
            name: context.name.clone(),
            workers: context.workers as u64,
            intake: Intake::new(&context.name, rules.idle_after, view, stage.metrics, work),
            outputs,
            capabilities,
            control,
            ticker,
            sinks: stage.sinks,
            flow_control: stage.flow_control,
            announced: false,
            in_epoch: 0,
            in_flight: VecDeque::new(),
            reads: stage.reads,
        })
    }

    fn activate(&mut self) -> Next {
        if self.control.failed() {
            return Next::Over;
        }
        let now = self.ticker.epoch();
        if self.announced {
            self.end_epoch(now);
        }
        let began = Instant::now();
        let polled = match self.poll(now) {
            Ok(polled) => polled,
            Err(error) => {
                self.control.fail(error);
                return Next::Over;
            }
        };
        if !std::mem::replace(&mut self.announced, true) {
            // The first poll announced the partitions: all are known, on every worker, before the first epoch begins.
            self.end_epoch(now);
        }
        if let Err(error) = self.send(began.checked_sub(self.reader.waited()).unwrap_or(began)) {
            self.control.fail(error);
            return Next::Over;
        }
        match polled {
            Polled::Finished if self.control.stopping() || !self.intake.holds() => {
                self.mark();
                Next::Over
            }
            Polled::More => Next::Again(None),
            Polled::Finished => Next::Again(Some(BACKPRESSURE_WAIT)),
            Polled::Wait(wait) => Next::Again(Some(wait.min(self.ticker.until_next()))),
        }
    }

    fn epoch(&self) -> Epoch {
        *self.capabilities[RECORDS].time()
    }

    /// Moves on to the epoch `now`, if that is a later one.
    fn end_epoch(&mut self, now: Epoch) {
        if now > self.epoch() {
            self.mark();
            self.capabilities.iter_mut().for_each(|capability| capability.downgrade(&now));
            self.in_epoch = 0;
        }
    }

    /// Tells every worker what became of the partitions in this epoch.
    fn mark(&mut self) {
        let (now_ms, workers) = (self.ticker.now_ms(), self.workers);
        let mut output = self.outputs.marks.activate();
        let mut session = output.session(&self.capabilities[MARKS]);
        self.intake.marks(now_ms, |mark| (0..workers).for_each(|worker| session.give((worker, mark))));
    }

    /// Reads, unless there is a reason not to.
    fn poll(&mut self, now: Epoch) -> Result<Polled> {
        self.intake.epoch = if self.announced { self.epoch() } else { now };
        let committed = self.sinks.with_frontier(|f| f.first().copied().unwrap_or(Epoch::MAX));
        while self.in_flight.front().is_some_and(|epoch| *epoch < committed) {
            self.in_flight.pop_front();
        }
        self.intake.metrics.epochs_in_flight(self.in_flight.len());
        let FlowControl { epochs_in_flight_max, records_per_epoch_max } = self.flow_control;
        if self.control.stopping() {
            Ok(Polled::Finished)
        } else if self.in_flight.len() > epochs_in_flight_max || self.in_epoch >= records_per_epoch_max {
            self.intake.not_fetched();
            self.intake.metrics.backpressured(BACKPRESSURE_WAIT);
            Ok(Polled::Wait(BACKPRESSURE_WAIT))
        } else if matches!(&self.intake.work, Work::Spread(packer) if packer.load.is_full()) {
            // Woken as soon as a worker is done with a chunk.
            self.intake.not_fetched();
            Ok(Polled::Wait(DECODING_WAIT))
        } else if self.intake.release() {
            Ok(Polled::Wait(BACKPRESSURE_WAIT))
        } else {
            self.reader.poll(if self.announced { POLL_BYTES } else { 0 }, &mut self.intake)
        }
    }

    /// Sends what was read, of which the first was there at `read_at`.
    fn send(&mut self, read_at: Instant) -> Result<()> {
        self.intake.count();
        let read = match &mut self.intake.work {
            Work::Here(direct) => {
                let mut output = self.outputs.records.activate();
                let mut session = output.session(&self.capabilities[RECORDS]);
                let records = direct.batches.len();
                direct.batches.take().iter_mut().for_each(|batch| session.give_container(batch));
                records
            }
            Work::Spread(packer) => {
                let mut output = self.outputs.chunks.activate();
                let mut session = output.session_with_builder(&self.capabilities[CHUNKS]);
                let mut records = 0;
                for mut chunk in packer.ready.drain(..) {
                    records += chunk.len();
                    let target = packer.load.give();
                    chunk.head.target = target as u64;
                    let readable = self.process.contains(&target) || (self.one_machine && chunk.has_place());
                    if !readable {
                        chunk.read(&*self.connector, &self.name, &Spare::default())?;
                    }
                    session.give_container(&mut chunk);
                }
                records
            }
        };
        self.in_epoch += read as u64;
        let letters = &mut self.intake.letters.ready;
        let epoch = *self.capabilities[RECORDS].time();
        self.reads.read(epoch, read_at, (read + letters.len()) as u64);
        if (read > 0 || !letters.is_empty()) && self.in_flight.back() != Some(&epoch) {
            self.in_flight.push_back(epoch);
        }
        if !letters.is_empty() {
            self.outputs.letters.activate().session(&self.capabilities[LETTERS]).give_container(letters);
        }
        Ok(())
    }
}
