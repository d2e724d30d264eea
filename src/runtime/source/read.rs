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

use super::bound::EpochBinder;
use super::chunk::{Chunk, SpareMemory};
use super::follow::Follow;
use super::gate::AdmissionGate;
use super::intake::Intake;
use super::letter::Letters;
use super::replay::EpochReplay;
use super::spread::Packer;
use super::{FlowControl, SourceStage};
use crate::checkpoint::bindings::SourceHistory;
use crate::connectors::source::{Partition, Polled, SourceConnector, SourceReader};
use crate::error::stage::StageName;
use crate::error::{Error, Result};
use crate::operators::watermark::{NO_PARTITION, Participation, WatermarkUpdate, WatermarkView};
use crate::record::{DeadLetter, Decode, Decoder};
use crate::runtime::control::Control;
use crate::runtime::release::Reads;
use crate::state::snapshot::Slot;
use crate::time::{Epoch, Ticker};

/// How many bytes one activation reads at most: enough to amortise scheduling, few enough to stay in the cache.
const POLL_BYTES: usize = 512 * 1024;

/// How long a source waits before it checks again whether the sinks have caught up.
const BACKPRESSURE_WAIT: Duration = Duration::from_millis(1);

/// How long a source waits for workers to decode their chunks, if nothing wakes it.
const DECODING_WAIT: Duration = Duration::from_millis(10);

/// How many checkpoints there may be, as `checkpoints_kept` says.
const KEPT_MAX: usize = 1_000;

/// How long a source waits for its last bindings to be durable, if nothing wakes it.
const DURABLE_WAIT: Duration = Duration::from_millis(10);

/// The outputs in their order.
const UPDATES: usize = 0;
const CHUNKS: usize = 1;
const LETTERS: usize = 2;

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// The output streams of the operator.
pub(super) struct ReaderStreams<'s> {
    /// Watermark updates, addressed to workers.
    pub(super) updates: StreamVec<'s, Epoch, (u64, WatermarkUpdate)>,
    /// Records to be decoded by the worker that they are addressed to.
    pub(super) chunks: Stream<'s, Epoch, Chunk>,
    /// Records that were refused here.
    pub(super) letters: StreamVec<'s, Epoch, DeadLetter>,
}

/// Builds the operator. A connector that cannot be opened fails the run.
pub(super) fn read<'s, T: Decode>(
    scope: Scope<'s, Epoch>,
    stage: SourceStage<T>,
    view: Rc<WatermarkView>,
    gate: AdmissionGate<T>,
    packer: Packer,
) -> ReaderStreams<'s> {
    let mut builder = OperatorBuilder::new(stage.context.name.clone(), scope);
    let (updates, updates_stream) = builder.new_output::<Vec<(u64, WatermarkUpdate)>>();
    let (chunks, chunks_stream) = builder.new_output::<Chunk>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let woken = scope.worker().sync_activator_for(address.to_vec());
    packer.load.wakes(scope.activator_for(address));
    let name = StageName::of(&stage.context.name);
    let outputs = Outputs {
        updates: OutputBuilder::from(updates),
        chunks: OutputBuilder::from(chunks),
        letters: OutputBuilder::from(letters),
    };

    let bound = stage.durability.as_ref().map(|durability| {
        // A worker that has exited needs no waking.
        let wake = move || {
            let _ = woken.activate();
        };
        EpochBinder::new(durability.log.binder(&stage.context.name, wake))
    });

    builder.build(move |capabilities| {
        let control = stage.control.clone();
        // If the source cannot be opened the capabilities are kept: what was not read must not look complete.
        let (mut reading, unopened) =
            match SourceOperator::open(stage, view, (packer, gate), bound, outputs, capabilities) {
                Ok(reading) => (Some(reading), Vec::new()),
                Err((error, capabilities)) => {
                    control.fail(error);
                    (None, capabilities)
                }
            };
        move |_frontiers| {
            let (_stage, _kept) = (name.enter(), &unopened);
            match reading.as_mut().map(SourceOperator::activate) {
                Some(NextActivation::Again(None)) => activator.activate(),
                Some(NextActivation::Again(Some(wait))) => activator.activate_after(wait),
                // Dropping the capabilities is what ends the source.
                Some(NextActivation::Over) => reading = None,
                // Not after a failure: an epoch must not look complete when it is not.
                Some(NextActivation::Failed) | None => {}
            }
        }
    });
    ReaderStreams { updates: updates_stream, chunks: chunks_stream, letters: letters_stream }
}

struct Outputs {
    updates: Output<(u64, WatermarkUpdate)>,
    chunks: OutputBuilder<Epoch, NoopBuilder<Chunk>>,
    letters: Output<DeadLetter>,
}

/// What happens after an activation of the operator.
enum NextActivation {
    /// It runs again, at once or after a while.
    Again(Option<Duration>),
    /// The source is done.
    Over,
    /// The run has failed.
    Failed,
}

/// The operator while there is something to read.
struct SourceOperator<T: Decode> {
    reader: Box<dyn SourceReader>,
    intake: Intake<T>,
    /// The slot of the partitions' positions.
    slot: Slot,
    /// Positions at checkpoints, from the oldest one that a run may still resume from.
    kept: VecDeque<(Epoch, Vec<(Partition, u64)>)>,
    outputs: Outputs,
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
    /// How many partitions have their first offset set.
    placed: usize,
    opened: Instant,
    /// Epochs of earlier generations that remain to be replayed.
    replay: Option<EpochReplay>,
    /// Earlier epochs belong to earlier generations.
    live_from: Epoch,
    /// Binds epochs, if there is a state directory.
    bound: Option<EpochBinder>,
    /// The reader has said that it has finished: it is not polled again.
    finished: bool,
    /// Everything is read, and only its bindings are not durable yet.
    ending: bool,
    /// Records read in this epoch.
    in_epoch: u64,
    /// Epochs in which this worker read something that is not committed yet. Counted rather than measured by the clock,
    /// so that a host whose clock is ahead is not throttled for it.
    in_flight: VecDeque<Epoch>,
    reads: Reads,
}

impl<T: Decode> SourceOperator<T> {
    /// Returns the capabilities if the connector cannot be opened.
    fn open(
        stage: SourceStage<T>,
        view: Rc<WatermarkView>,
        (packer, gate): (Packer, AdmissionGate<T>),
        bound: Option<EpochBinder>,
        outputs: Outputs,
        capabilities: Vec<Capability<Epoch>>,
    ) -> Result<Self, (Error, Vec<Capability<Epoch>>)> {
        let SourceStage { context, connector, rules, control, ticker, durability, .. } = stage;
        let slot = stage.positions;
        let history = durability.as_ref().map(|durability| &durability.history);
        let of_source = history.and_then(|history| history.sources.get(&context.name));
        let opened = match durability {
            None => connector.open(&context),
            Some(_) => connector.reopen(&context, &of_source.map(SourceHistory::partitions).unwrap_or_default()),
        };
        let reader = match opened {
            Ok(reader) => reader,
            Err(error) => return Err((error, capabilities)),
        };
        let few = reader.partitions().is_some_and(|partitions| partitions < context.workers);
        if few && T::Decoder::STATELESS {
            packer.load.spread();
        }
        let letters = Letters::new(&context.name, stage.metrics.clone(), stage.letters_wanted);
        let follow = Follow::new(&rules, context.worker == 0);
        let first = context.worker / stage.threads * stage.threads;
        let last = history.and_then(|history| history.last);
        let base = of_source.map(|source| source.base.clone()).unwrap_or_default();
        Ok(SourceOperator {
            reader,
            process: first..first + stage.threads,
            one_machine: stage.one_machine,
            connector,
            name: context.name.clone(),
            workers: context.workers as u64,
            intake: Intake::new(&context.name, follow, view, letters, stage.metrics, (packer, gate), base),
            slot,
            kept: VecDeque::new(),
            outputs,
            capabilities,
            control,
            ticker,
            sinks: stage.sinks,
            flow_control: stage.flow_control,
            announced: false,
            placed: 0,
            opened: Instant::now(),
            replay: last.map(|_| EpochReplay::new(of_source, &context)),
            live_from: last.map_or(0, |last| last + 1),
            bound,
            finished: false,
            ending: false,
            in_epoch: 0,
            in_flight: VecDeque::new(),
            reads: stage.reads,
        })
    }

    fn activate(&mut self) -> NextActivation {
        if self.control.failed() {
            return NextActivation::Failed;
        }
        let waits = self.bound.as_mut().is_some_and(EpochBinder::release);
        if self.ending {
            // The writer wakes it when something is durable.
            return if waits { NextActivation::Again(Some(DURABLE_WAIT)) } else { NextActivation::Over };
        }
        let announced = if self.announced { Ok(()) } else { self.announce() };
        let next = announced.and_then(|()| if self.replay.is_some() { self.replay() } else { self.read() });
        next.unwrap_or_else(|error| {
            self.control.fail(error);
            NextActivation::Failed
        })
    }

    /// Announces the partitions: every worker knows all of them before the first epoch begins.
    fn announce(&mut self) -> Result<()> {
        self.announced = true;
        self.finished = self.reader.poll(0, &mut self.intake)? == Polled::Finished;
        self.place()?;
        if self.replay.is_none() {
            self.intake.introduce();
            self.close_epoch();
            self.go_live()?;
        }
        Ok(())
    }

    /// Reads what is available.
    fn read(&mut self) -> Result<NextActivation> {
        self.end_epoch(self.now());
        let began = Instant::now();
        let polled = self.poll()?;
        self.place()?;
        self.send(began.checked_sub(self.reader.waited()).unwrap_or(began))?;
        let stopping = self.control.stopping();
        let drain = self.bound.is_none() && (self.control.drains() || self.connector.drains());
        Ok(match polled {
            Polled::Finished if stopping || !self.intake.holds() => {
                // Another run on the same state directory reads again what is held back.
                if stopping && self.bound.is_none() {
                    self.intake.stop(drain);
                    self.send(Instant::now())?;
                }
                if (!stopping || drain) && self.intake.is_empty() {
                    self.tell(WatermarkUpdate::Participates {
                        partition: NO_PARTITION,
                        participation: Participation::Ended,
                    });
                }
                self.close_epoch();
                self.capabilities.clear();
                self.slot.settle(|slot| self.intake.keep(slot));
                self.ending = true;
                NextActivation::Again(None)
            }
            Polled::More => NextActivation::Again(None),
            Polled::Finished => NextActivation::Again(Some(BACKPRESSURE_WAIT)),
            Polled::Wait(wait) => NextActivation::Again(Some(wait.min(self.ticker.until_next()))),
        })
    }

    /// Replays the epochs of earlier generations, each from the records that were bound to it. A request to stop waits:
    /// half an epoch must not look like a whole one.
    fn replay(&mut self) -> Result<NextActivation> {
        let Some(replay) = &mut self.replay else { return Ok(NextActivation::Again(None)) };
        let Some((epoch, bindings)) = replay.current() else {
            self.replay = None;
            self.go_live()?;
            let seconds = self.opened.elapsed().as_secs_f64();
            self.intake.metrics.replayed(self.opened.elapsed());
            tracing::info!(source = self.name, seconds, "the epochs of earlier runs are replayed");
            return Ok(NextActivation::Again(None));
        };
        let begins = replay.begin();
        if begins {
            self.begin_epoch(epoch);
            self.intake.epoch = epoch;
            self.intake.replay(&bindings)?;
        }
        let began = Instant::now();
        let mut wait = self.held_back(u64::MAX);
        if wait.is_none() && !self.intake.is_replayed(&bindings)? {
            match self.poll_again()? {
                Polled::Wait(more) => wait = Some(more),
                Polled::More | Polled::Finished => {}
            }
            self.place()?;
            self.intake.holding(|partition, held| self.reader.hold(partition, held));
        }
        self.send(began)?;
        if !self.intake.is_replayed(&bindings)? {
            return Ok(NextActivation::Again(wait));
        }
        self.close_epoch();
        self.replay.as_mut().expect("it is being replayed").done();
        Ok(NextActivation::Again(None))
    }

    /// Continues with what no run has read before.
    fn go_live(&mut self) -> Result<()> {
        let now = self.now();
        self.begin_epoch(now);
        self.intake.epoch = now;
        self.intake.go_live(self.live_from > 0);
        self.intake.holding(|partition, held| self.reader.hold(partition, held));
        // Sent now, and not after the next look at the clock: what was held back has changed the partitions' watermarks
        // in this epoch.
        self.send(Instant::now())
    }

    /// The current epoch.
    fn now(&self) -> Epoch {
        self.ticker.epoch().max(self.live_from)
    }

    fn place(&mut self) -> Result<()> {
        let reader = &self.reader;
        self.intake.place(&mut self.placed, |partition| (reader.begins_at(partition), reader.identity(partition)))
    }

    fn epoch(&self) -> Epoch {
        *self.capabilities[CHUNKS].time()
    }

    /// Moves to the epoch `now`, if that is later.
    fn end_epoch(&mut self, now: Epoch) {
        if now > self.epoch() {
            self.close_epoch();
            self.begin_epoch(now);
        }
    }

    fn begin_epoch(&mut self, epoch: Epoch) {
        if let Some(due) = self.slot.due(epoch) {
            self.slot.take(due, |slot| self.intake.keep(slot));
            self.kept.push_back((due, self.intake.next_offsets()));
            // Where it is not known which one is the oldest, nothing needs the positions.
            if self.kept.len() > KEPT_MAX {
                self.kept.pop_front();
            }
        }
        let oldest = self.slot.oldest();
        while let Some((_, offsets)) = self.kept.pop_front_if(|(kept, _)| *kept <= oldest) {
            offsets.into_iter().for_each(|(partition, next)| self.reader.checkpointed(partition, next));
        }
        self.capabilities.iter_mut().for_each(|capability| capability.downgrade(&epoch));
        self.in_epoch = 0;
    }

    /// Broadcasts an update to every worker, in this epoch.
    fn tell(&mut self, update: WatermarkUpdate) {
        let mut output = self.outputs.updates.activate();
        output.session(&self.capabilities[UPDATES]).give_iterator((0..self.workers).map(|worker| (worker, update)));
    }

    /// Announces the changes of the partitions in this epoch to every worker, and binds the epoch.
    fn close_epoch(&mut self) {
        let (now_ms, workers) = (self.ticker.now_ms(), self.workers);
        let mut output = self.outputs.updates.activate();
        let mut session = output.session(&self.capabilities[UPDATES]);
        let tell = |update| (0..workers).for_each(|worker| session.give((worker, update)));
        let bindings = self.intake.close_epoch(now_ms, tell);
        if let Some(bound) = &mut self.bound
            && self.replay.is_none()
        {
            bound.bind(bindings, &self.capabilities);
        }
    }

    /// How long to wait before reading more, if sinks or decoders are behind.
    fn held_back(&mut self, records_per_epoch_max: u64) -> Option<Duration> {
        let committed = self.sinks.with_frontier(|f| f.first().copied().unwrap_or(Epoch::MAX));
        while self.in_flight.front().is_some_and(|epoch| *epoch < committed) {
            self.in_flight.pop_front();
        }
        self.intake.metrics.epochs_in_flight(self.in_flight.len());
        if self.in_flight.len() > self.flow_control.epochs_in_flight_max || self.in_epoch >= records_per_epoch_max {
            self.intake.not_fetched();
            self.intake.metrics.backpressured(BACKPRESSURE_WAIT);
            Some(BACKPRESSURE_WAIT)
        } else if self.intake.packer.load.is_full() {
            // The operator is woken when a worker is done with a chunk.
            self.intake.not_fetched();
            Some(DECODING_WAIT)
        } else {
            None
        }
    }

    /// Polls the reader, unless there is a reason not to.
    fn poll(&mut self) -> Result<Polled> {
        self.intake.epoch = self.epoch();
        if self.control.stopping() {
            Ok(Polled::Finished)
        } else if let Some(wait) = self.held_back(self.flow_control.records_per_epoch_max) {
            Ok(Polled::Wait(wait))
        } else if self.intake.release() {
            Ok(Polled::Wait(BACKPRESSURE_WAIT))
        } else {
            self.poll_again()
        }
    }

    /// Polls the reader, unless it has finished.
    fn poll_again(&mut self) -> Result<Polled> {
        if self.finished {
            return Ok(Polled::Finished);
        }
        let polled = self.reader.poll(POLL_BYTES, &mut self.intake)?;
        self.finished = polled == Polled::Finished;
        Ok(polled)
    }

    /// Sends what was read; the first record was available at `read_at`.
    fn send(&mut self, read_at: Instant) -> Result<()> {
        self.intake.count();
        let mut read = 0;
        {
            let packer = &mut self.intake.packer;
            let mut output = self.outputs.chunks.activate();
            let mut session = output.session_with_builder(&self.capabilities[CHUNKS]);
            for mut chunk in packer.ready.drain(..) {
                read += chunk.len();
                let target = packer.load.give();
                chunk.head.target = target as u64;
                let readable = self.process.contains(&target) || (self.one_machine && chunk.has_place());
                if !readable {
                    chunk.read(&*self.connector, &self.name, &SpareMemory::default())?;
                    chunk.split();
                }
                session.give_container(&mut chunk);
            }
        }
        self.in_epoch += read as u64;
        let epoch = self.epoch();
        let letters = &mut self.intake.letters.ready;
        if self.replay.is_none() {
            self.reads.read(epoch, read_at, (read + letters.len()) as u64);
        }
        if (read > 0 || !letters.is_empty()) && self.in_flight.back() != Some(&epoch) {
            self.in_flight.push_back(epoch);
        }
        if !letters.is_empty() {
            self.outputs.letters.activate().session(&self.capabilities[LETTERS]).give_container(letters);
        }
        Ok(())
    }
}
