//! One run on the state directory: processes with a clock and a log each, and all of their workers under one scheduler.

use std::sync::Arc;
use std::time::Duration;

use tidewatch::checkpoint::directory::{Purpose, StateDirectory};
use tidewatch::checkpoint::identity::Fingerprint;
use tidewatch::checkpoint::store::CheckpointStore;
use tidewatch::config::Layers;
use tidewatch::error::{Error, ErrorKind};
use tidewatch::flow::{Environment, launch};
use tidewatch::runtime::control::Control;
use tidewatch::runtime::durability::{CheckpointPlace, CheckpointRules, Durability, From, Share, Writers};
use tidewatch::runtime::source::FlowControl;
use tidewatch::testing::ManualClock;
use tidewatch::time::{Clock, EventTime};

use super::baton::{Build, Crew, Outcome};
use super::broker::Broker;
use super::chance::Chance;
use super::disk;
use super::flow::{SOURCE, peaks_and_minutes};
use super::input::{OUT_OF_ORDER_MS, RECORD_BYTES_MAX};
use super::store::Store;

const TICK: Duration = Duration::from_millis(100);

/// Why a flush fails.
pub(crate) const DISK_SAYS: &str = "the disk is full";

/// What outlives a generation.
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) broker: Broker,
    pub(crate) store: Store,
    pub(crate) state: tempfile::TempDir,
    pub(crate) checkpoints: CheckpointStore,
    pub(crate) idle_after_ms: u64,
    pub(crate) live: bool,
    pub(crate) jump_max_ms: i64,
    /// What the clock of whoever is the furthest has shown.
    pub(crate) now_ms: u64,
}

/// How a generation comes to its end, unless it is done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Finish,
    /// Every process, or one and soon the others, die at this turn.
    Crash(u64),
    /// It is asked to stop at this turn.
    Stop(u64),
    /// The broker fails for good, once in so many polls.
    Fail(u64),
    /// The first flush from this turn on fails.
    FullDisk(u64),
}

/// How it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Stopped,
    Crashed,
    Failed(String),
    /// It does not come to an end.
    Stuck,
}

struct Process {
    clock: ManualClock,
    control: Control,
    writers: Writers,
}

impl Process {
    /// A turn of whoever writes bindings. On a disk that is full a flush does what it does when the system says so.
    fn write(&mut self, full: bool) {
        if full && self.writers.bindings.unflushed().1 > 0 {
            self.control.fail(Error::new(ErrorKind::State, DISK_SAYS));
        } else {
            self.writers.bindings.turn();
        }
    }
}

pub(crate) struct Generation {
    crew: Crew,
    processes: Vec<Process>,
    /// How often each of the workers comes to its turn.
    pace: Vec<u64>,
    /// How often anything else does: see [`Generation::turn`].
    weights: [u64; 6],
    /// From which turn on no log can be flushed.
    full_from: u64,
    pub(crate) turns: u64,
    /// Whether it went on from a checkpoint.
    pub(crate) restored: bool,
}

/// Turns after which a generation should have ended.
const TURNS_MAX: u64 = 60_000;

impl Generation {
    /// Begins on `processes` processes of `threads` workers each.
    pub(crate) fn begin(world: &World, processes: usize, threads: usize) -> Self {
        let chance = &world.chance;
        let workers = processes * threads;
        let mut all = Vec::new();
        let mut builds: Vec<Build> = Vec::new();
        let (rules, mut restored) = (rules(world), false);
        for (process, directory) in directories(world, processes, workers).into_iter().enumerate() {
            let (mut environment, clock) = environment(world);
            let control = environment.control.clone();
            let share = Share { process, threads, workers, sources: 1 };
            let (durability, writers) = begin(world, directory, share, &rules, &environment);
            restored = durability.checkpoint.is_some();
            environment.durability = Some(durability);
            let build = Arc::new(launch::builder(&peaks_and_minutes(), environment, threads));
            builds.extend((0..threads).map(|_| {
                let build = Arc::clone(&build);
                Box::new(move |worker: &mut _| build(worker)) as Build
            }));
            all.push(Process { clock, control, writers });
        }
        let crew = Crew::new(builds, processes > 1);
        let pace = (0..workers).map(|_| 1 << chance.below(4)).collect();
        let other = || 1 << chance.below(6);
        let weights = [20 * workers as u64, other(), other(), other(), other(), other()];
        Generation { crew, processes: all, pace, weights, full_from: u64::MAX, turns: 0, restored }
    }

    /// Takes turns until it has ended.
    pub(crate) fn run(&mut self, world: &World, fate: Fate) -> End {
        // Workers are built one after the other, in any order.
        let mut waiting: Vec<usize> = (0..self.crew.len()).collect();
        while !waiting.is_empty() {
            let worker = waiting.swap_remove(world.chance.below(waiting.len() as u64) as usize);
            if let Outcome::Failed(why) = self.crew.build(worker) {
                return End::Failed(why);
            }
        }
        if let Fate::FullDisk(turn) = fate {
            self.full_from = turn;
        }
        let mut done = vec![false; self.crew.len()];
        while done.contains(&false) {
            self.turns += 1;
            if let Some(why) = self.failure() {
                return self.fail(world, why);
            }
            match fate {
                _ if self.turns > TURNS_MAX => return End::Stuck,
                Fate::Crash(turn) if turn == self.turns => return self.crash(world),
                // The signal does not reach all processes at once.
                Fate::Stop(turn) if self.turns >= turn => {
                    let late = (self.turns - turn) as usize / 10;
                    self.processes.iter().take(late + 1).for_each(|process| process.control.stop());
                }
                _ => {}
            }
            if let Err(why) = self.turn(world, &mut done, |_| true) {
                return End::Failed(why);
            }
        }
        match fate {
            Fate::Stop(turn) if self.turns >= turn => End::Stopped,
            _ => End::Finished,
        }
    }

    /// One turn of somebody in a process that `lives`.
    fn turn(&mut self, world: &World, done: &mut [bool], lives: impl Fn(usize) -> bool) -> Result<(), String> {
        let chance = &world.chance;
        let process = chance.below(self.processes.len() as u64) as usize;
        match chance.weighted(&self.weights) {
            0 => {
                let worker = chance.weighted(&self.pace);
                if lives(worker / (self.crew.len() / self.processes.len())) {
                    match self.crew.step(worker) {
                        Outcome::Works => {}
                        Outcome::Done => done[worker] = true,
                        Outcome::Failed(why) => return Err(format!("worker {worker}: {why}")),
                    }
                }
            }
            1 if lives(process) => self.processes[process].write(self.turns >= self.full_from),
            2 => drop(world.store.turn()),
            3 => {
                let ms = chance.between(1, if chance.one_in(8) { 2_000 } else { 150 });
                self.processes[process].clock.advance(Duration::from_millis(ms));
            }
            4 => drop(world.broker.turn()),
            5 if lives(process) => self.processes[process].writers.checkpoints.turn(),
            _ => {}
        }
        Ok(())
    }

    /// All die at once; or one does, and the others go on until they notice.
    fn crash(&mut self, world: &World) -> End {
        let chance = &world.chance;
        if self.processes.len() > 1 && chance.one_in(2) {
            let dead = chance.below(self.processes.len() as u64) as usize;
            let mut done = vec![false; self.crew.len()];
            for _ in 0..chance.below(200) {
                if let Err(why) = self.turn(world, &mut done, |process| process != dead) {
                    return End::Failed(why);
                }
            }
        }
        End::Crashed
    }

    /// Workers see a failure after the step that they are in.
    fn fail(&mut self, world: &World, why: String) -> End {
        for worker in 0..self.crew.len() {
            if world.chance.one_in(2)
                && let Outcome::Failed(why) = self.crew.step(worker)
            {
                return End::Failed(why);
            }
        }
        End::Failed(why)
    }

    fn failure(&self) -> Option<String> {
        let failed = self.processes.iter().find(|process| process.control.failed());
        failed.and_then(|process| process.control.take_failure()).map(|error| error.to_string())
    }

    /// Ends it wherever it is. Returns how many logs are torn.
    pub(crate) fn die(self, world: &mut World) -> u64 {
        self.crew.die();
        world.store.crash();
        let mut torn = 0;
        for Process { clock, writers, .. } in self.processes {
            world.now_ms = world.now_ms.max(clock.now_ms());
            let (log, unflushed) = writers.bindings.unflushed();
            torn += u64::from(disk::crash(log, unflushed, &world.chance));
        }
        torn
    }
}

/// A generation that dies before it has done anything.
pub(crate) fn stillborn(world: &World) {
    let processes = world.chance.between(1, 2) as usize;
    for (process, directory) in directories(world, processes, processes).into_iter().enumerate() {
        let (environment, _) = environment(world);
        let share = Share { process, threads: 1, workers: processes, sources: 1 };
        let (_, writers) = begin(world, directory, share, &rules(world), &environment);
        disk::stillborn(world.state.path(), writers.bindings.unflushed().0, &world.chance);
    }
}

/// A process's part of a generation.
fn begin(
    world: &World,
    directory: StateDirectory,
    share: Share,
    rules: &CheckpointRules,
    environment: &Environment,
) -> (Durability, Writers) {
    let surroundings = (&environment.control, &environment.metrics, &environment.ticker);
    Durability::by_hand(directory, share, rules, &purpose(world, share.workers), From::Newest, surroundings).unwrap()
}

/// How often there is a checkpoint, from hardly ever to all the time, and how many are kept.
fn rules(world: &World) -> CheckpointRules {
    let interval = Duration::from_millis(100 << world.chance.below(8));
    CheckpointRules {
        place: CheckpointPlace::Store(world.checkpoints.clone()),
        interval,
        keep: world.chance.between(1, 3) as usize,
    }
}

fn purpose(world: &World, workers: usize) -> Purpose {
    Purpose { fingerprint: Fingerprint::default(), workers, now_ms: world.now_ms }
}

/// The state directory as each process has it.
fn directories(world: &World, processes: usize, workers: usize) -> Vec<StateDirectory> {
    let purpose = purpose(world, workers);
    let first = StateDirectory::begin(world.state.path(), &purpose).unwrap();
    let generation = first.generation();
    let join = |_| StateDirectory::join(world.state.path(), &purpose, generation).unwrap();
    let others: Vec<StateDirectory> = (1..processes).map(join).collect();
    std::iter::once(first).chain(others).collect()
}

fn jump_max(ms: i64) -> String {
    if ms == i64::MAX { "off".to_owned() } else { format!("{ms}ms") }
}

/// What a process runs the dataflow in.
fn environment(world: &World) -> (Environment, ManualClock) {
    let chance = &world.chance;
    let settings = Layers::new("simulated")
        .set(format!("sources.{SOURCE}.out_of_order={OUT_OF_ORDER_MS}ms"))
        .set(format!("sources.{SOURCE}.idle_after={}ms", world.idle_after_ms))
        .set(format!("sources.{SOURCE}.live={}", world.live))
        .set(format!("sources.{SOURCE}.jump_max={}", jump_max(world.jump_max_ms)))
        .set(format!("sources.{SOURCE}.record_bytes_max={RECORD_BYTES_MAX}"))
        .merge()
        .unwrap();
    // Clocks differ between machines, and go back when they are set right.
    let now_ms = world.now_ms + chance.below(2_000) - 500;
    let clock = ManualClock::at(EventTime::from_millis(now_ms as i64));
    let mut environment = Environment::with_clock("simulated", settings, Arc::new(clock.clone()), TICK);
    let records_per_epoch_max = if chance.one_in(2) { chance.between(1, 20) } else { 1_000_000 };
    let epochs_in_flight_max = chance.between(1, 8) as usize;
    environment.flow_control = FlowControl { epochs_in_flight_max, records_per_epoch_max };
    environment.sources.insert(SOURCE.to_owned(), Arc::new(world.broker.clone()));
    let store = world.store.clone();
    environment.sinks_by_default = Some(Arc::new(move |_| Arc::new(store.clone())));
    (environment, clock)
}
