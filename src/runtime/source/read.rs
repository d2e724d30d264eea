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

use super::bound::Bound;
use super::chunk::{Chunk, Spare};
use super::follow::Follow;
use super::gate::Gate;
use super::intake::Intake;
use super::letter::Letters;
use super::replay::Replay;
use super::spread::Packer;
use super::{FlowControl, SourceStage};
use crate::checkpoint::bindings::SourceHistory;
use crate::connectors::source::{Partition, Polled, SourceConnector, SourceReader};
use crate::error::stage::StageName;
use crate::error::{Error, Result};
use crate::operators::watermark::{Mark, NO_PARTITION, Standing, WatermarkView};
use crate::record::{DeadLetter, Decode, Decoder};
use crate::runtime::control::Control;
use crate::runtime::release::Reads;
use crate::state::snapshot::Slot;
use crate::time::{Epoch, Ticker};

/// How many bytes one activation reads at most: enough to amortise scheduling, little enough to stay in the cache.
const POLL_BYTES: usize = 512 * 1024;

/// How long a source waits before it looks again whether the sinks have caught up.
const BACKPRESSURE_WAIT: Duration = Duration::from_millis(1);

/// How long a source waits for workers to decode what they have, if nobody wakes it.
const DECODING_WAIT: Duration = Duration::from_millis(10);

/// How many checkpoints there may be, as `checkpoints_kept` says.
const KEPT_MAX: usize = 1_000;

/// How long a source waits for its last bindings to be durable, if nobody wakes it.
const DURABLE_WAIT: Duration = Duration::from_millis(10);

/// The outputs in their order.
const MARKS: usize = 0;
const CHUNKS: usize = 1;
const LETTERS: usize = 2;

type Output<D> = OutputBuilder<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// What a source's reading gives.
pub(super) struct Read<'s> {
    /// News of the partitions, addressed to workers.
    pub(super) marks: StreamVec<'s, Epoch, (u64, Mark)>,
    /// Records to be decoded by whoever they are addressed to.
    pub(super) chunks: Stream<'s, Epoch, Chunk>,
    /// Records that were refused here.
    pub(super) letters: StreamVec<'s, Epoch, DeadLetter>,
}

/// Builds the operator. A connector that cannot be opened fails the run.
pub(super) fn read<'s, T: Decode>(
    scope: Scope<'s, Epoch>,
    stage: SourceStage<T>,
    view: Rc<WatermarkView>,
    gate: Gate<T>,
    packer: Packer,
) -> Read<'s> {
    let mut builder = OperatorBuilder::new(stage.context.name.clone(), scope);
    let (marks, marks_stream) = builder.new_output::<Vec<(u64, Mark)>>();
    let (chunks, chunks_stream) = builder.new_output::<Chunk>();
    let (letters, letters_stream) = builder.new_output::<Vec<DeadLetter>>();
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let woken = scope.worker().sync_activator_for(address.to_vec());
    packer.load.wakes(scope.activator_for(address));
    let name = StageName::of(&stage.context.name);
    let outputs = Outputs {
        marks: OutputBuilder::from(marks),
        chunks: OutputBuilder::from(chunks),
        letters: OutputBuilder::from(letters),
    };

    let bound = stage.durability.as_ref().map(|durability| {
        // A worker that is gone needs no waking.
        let wake = move || {
            let _ = woken.activate();
        };
        Bound::new(durability.log.binder(&stage.context.name, wake))
    });

    builder.build(move |capabilities| {
        let control = stage.control.clone();
        // Capabilities are kept where the source cannot be opened: what nobody read must not look complete.
        let (mut reading, unopened) = match Reading::open(stage, view, (packer, gate), bound, outputs, capabilities) {
            Ok(reading) => (Some(reading), Vec::new()),
            Err((error, capabilities)) => {
                control.fail(error);
                (None, capabilities)
            }
        };
        move |_frontiers| {
            let (_stage, _kept) = (name.enter(), &unopened);
            match reading.as_mut().map(Reading::activate) {
                Some(Next::Again(None)) => activator.activate(),
                Some(Next::Again(Some(wait))) => activator.activate_after(wait),
                // Dropping the capabilities is what ends the source.
                Some(Next::Over) => reading = None,
                // Not after a failure: nobody may take an epoch for complete that is not.
                Some(Next::Failed) | None => {}
            }
        }
    });
    Read { marks: marks_stream, chunks: chunks_stream, letters: letters_stream }
}

struct Outputs {
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
    /// The run has failed.
    Failed,
}

/// The operator while it has something to read.
struct Reading<T: Decode> {
    reader: Box<dyn SourceReader>,
    intake: Intake<T>,
    /// Where the positions of the partitions are kept.
    slot: Slot,
    /// Where the partitions were at checkpoints, of which some run may still go on from the first.
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
    /// How many partitions are known to begin where.
    placed: usize,
    opened: Instant,
    /// Epochs of earlier generations that are to be made again.
    replay: Option<Replay>,
    /// Epochs before this one belong to earlier generations.
    live_from: Epoch,
    /// Binds epochs, if there is a state directory.
    bound: Option<Bound>,
    /// The reader has said that nothing will come any more: it is not asked again.
    finished: bool,
    /// Everything is read, and only waits for its bindings to be durable.
    ending: bool,
    /// Records read in this epoch.
    in_epoch: u64,
    /// Epochs in which this worker read something that is not committed yet. Counted rather than measured by the clock, so that
    /// a host whose clock is ahead is not throttled for it.
    in_flight: VecDeque<Epoch>,
    reads: Reads,
}

impl<T: Decode> Reading<T> {
    /// Gives the capabilities back if the connector cannot be opened.
    fn open(
        stage: SourceStage<T>,
        view: Rc<WatermarkView>,
        (packer, gate): (Packer, Gate<T>),
        bound: Option<Bound>,
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
        Ok(Reading {
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
            replay: last.map(|_| Replay::new(of_source, &context)),
            live_from: last.map_or(0, |last| last + 1),
            bound,
            finished: false,
            ending: false,
            in_epoch: 0,
            in_flight: VecDeque::new(),
            reads: stage.reads,
        })
    }

    fn activate(&mut self) -> Next {
        if self.control.failed() {
            return Next::Failed;
        }
        let waits = self.bound.as_mut().is_some_and(Bound::release);
        if self.ending {
            // Woken when something is durable.
            return if waits { Next::Again(Some(DURABLE_WAIT)) } else { Next::Over };
        }
        let announced = if self.announced { Ok(()) } else { self.announce() };
        let next = announced.and_then(|()| if self.replay.is_some() { self.replay() } else { self.read() });
        next.unwrap_or_else(|error| {
            self.control.fail(error);
            Next::Failed
        })
    }

    /// Tells of the partitions there are: all are known, on every worker, before the first epoch begins.
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

    /// Reads what there is now.
    fn read(&mut self) -> Result<Next> {
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
                    self.tell(Mark::Stands { partition: NO_PARTITION, standing: Standing::Ended });
                }
                self.close_epoch();
                self.capabilities.clear();
                self.slot.settle(|slot| self.intake.keep(slot));
                self.ending = true;
                Next::Again(None)
            }
            Polled::More => Next::Again(None),
            Polled::Finished => Next::Again(Some(BACKPRESSURE_WAIT)),
            Polled::Wait(wait) => Next::Again(Some(wait.min(self.ticker.until_next()))),
        })
    }

    /// Makes the epochs of earlier generations again, each from the records that were bound to it. A request to stop waits: half
    /// an epoch must not look like a whole one.
    fn replay(&mut self) -> Result<Next> {
        let Some(replay) = &mut self.replay else { return Ok(Next::Again(None)) };
        let Some((epoch, bindings)) = replay.current() else {
            self.replay = None;
            self.go_live()?;
            let seconds = self.opened.elapsed().as_secs_f64();
            self.intake.metrics.replayed(self.opened.elapsed());
            tracing::info!(source = self.name, seconds, "the epochs of earlier runs are made again");
            return Ok(Next::Again(None));
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
            return Ok(Next::Again(wait));
        }
        self.close_epoch();
        self.replay.as_mut().expect("it is being replayed").done();
        Ok(Next::Again(None))
    }

    /// Goes on with what nobody has read before.
    fn go_live(&mut self) -> Result<()> {
        let now = self.now();
        self.begin_epoch(now);
        self.intake.epoch = now;
        self.intake.go_live(self.live_from > 0);
        self.intake.holding(|partition, held| self.reader.hold(partition, held));
        // Now, and not after the next look at the clock: what was held back has moved the partitions' marks of this epoch.
        self.send(Instant::now())
    }

    /// The epoch of this moment.
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

    /// Moves on to the epoch `now`, if that is a later one.
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
            // Where nobody says which of them is the oldest, nobody wants to know.
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

    /// Tells every worker something, in this epoch.
    fn tell(&mut self, mark: Mark) {
        let mut output = self.outputs.marks.activate();
        output.session(&self.capabilities[MARKS]).give_iterator((0..self.workers).map(|worker| (worker, mark)));
    }

    /// Tells every worker what became of the partitions in this epoch, and has it bound.
    fn close_epoch(&mut self) {
        let (now_ms, workers) = (self.ticker.now_ms(), self.workers);
        let mut output = self.outputs.marks.activate();
        let mut session = output.session(&self.capabilities[MARKS]);
        let tell = |mark| (0..workers).for_each(|worker| session.give((worker, mark)));
        let bindings = self.intake.close_epoch(now_ms, tell);
        if let Some(bound) = &mut self.bound
            && self.replay.is_none()
        {
            bound.bind(bindings, &self.capabilities);
        }
    }

    /// How long to wait before reading on, if sinks or decoders are behind.
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
            // Woken as soon as a worker is done with a chunk.
            self.intake.not_fetched();
            Some(DECODING_WAIT)
        } else {
            None
        }
    }

    /// Reads, unless there is a reason not to.
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

    /// Asks the reader for more, unless it has said that there will be none.
    fn poll_again(&mut self) -> Result<Polled> {
        if self.finished {
            return Ok(Polled::Finished);
        }
        let polled = self.reader.poll(POLL_BYTES, &mut self.intake)?;
        self.finished = polled == Polled::Finished;
        Ok(polled)
    }

    /// Sends what was read, of which the first was there at `read_at`.
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
                    chunk.read(&*self.connector, &self.name, &Spare::default())?;
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
