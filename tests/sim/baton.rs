//! Workers that wait for their turn: each has a thread, since timely's workers wait for each other while they are
//! created, and only the one that was given the turn runs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewatch::error::Result;
use tidewatch::flow::timely::communication::{WorkerGuards, initialize_from};
use tidewatch::flow::timely::dataflow::ProbeHandle;
use tidewatch::flow::timely::worker::Worker;
use tidewatch::flow::timely::{CommunicationConfig, WorkerConfig};
use tidewatch::time::Epoch;

/// How long a turn may take: a worker that takes longer hangs.
const TURN_MAX: Duration = Duration::from_secs(60);

/// What a worker does in its turn.
enum Turn {
    Build,
    Step,
    Die,
}

/// The result of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Works,
    Done,
    /// It cannot continue.
    Failed(String),
}

/// Builds the dataflow on one worker.
pub(crate) type Build = Box<dyn Fn(&mut Worker) -> Result<ProbeHandle<Epoch>> + Send + Sync>;

/// All workers of a generation.
pub(crate) struct Crew {
    hands: Vec<(Sender<Turn>, Receiver<Outcome>)>,
    guards: WorkerGuards<()>,
}

impl Crew {
    /// As many workers as there are functions to build with. They exchange bytes, as processes do, if `binary`.
    pub(crate) fn new(builds: Vec<Build>, binary: bool) -> Self {
        let workers = builds.len();
        let config = match (workers, binary) {
            (1, _) => CommunicationConfig::Thread,
            (_, false) => CommunicationConfig::Process(workers),
            (_, true) => CommunicationConfig::ProcessBinary(workers),
        };
        let (allocators, others) = config.try_build().unwrap();
        let (mut hands, mut seats) = (Vec::new(), Vec::new());
        for build in builds {
            let (turns, told) = channel();
            let (outcomes, heard) = channel();
            hands.push((turns, heard));
            seats.push(Some((build, told, outcomes)));
        }
        let seats = Arc::new(Mutex::new(seats));
        let guards = initialize_from(allocators, others, move |allocator| {
            let (build, turns, outcomes) = seats.lock().unwrap()[allocator.index()].take().unwrap();
            // Without a timer: a worker that asks to be woken after a while is woken by its next turn.
            let worker = Worker::new(WorkerConfig::default(), allocator, None);
            sit(worker, &build, &turns, &outcomes);
        });
        Crew { hands, guards: guards.unwrap() }
    }

    pub(crate) fn len(&self) -> usize {
        self.hands.len()
    }

    pub(crate) fn build(&self, worker: usize) -> Outcome {
        self.give(worker, Turn::Build)
    }

    pub(crate) fn step(&self, worker: usize) -> Outcome {
        self.give(worker, Turn::Step)
    }

    fn give(&self, worker: usize, turn: Turn) -> Outcome {
        let (turns, outcomes) = &self.hands[worker];
        let ended = turns.send(turn).is_ok().then(|| outcomes.recv_timeout(TURN_MAX));
        ended.and_then(Result::ok).unwrap_or_else(|| Outcome::Failed("its turn does not end".to_owned()))
    }

    /// Ends them wherever they are: nothing more of the dataflow runs, except that its state is dropped, by one worker
    /// after the other.
    pub(crate) fn die(self) {
        for worker in 0..self.len() {
            self.give(worker, Turn::Die);
        }
        self.guards.join();
    }
}

fn sit(mut worker: Worker, build: &Build, turns: &Receiver<Turn>, outcomes: &Sender<Outcome>) {
    let mut probe = None;
    while let Ok(turn) = turns.recv() {
        let work = || match &turn {
            Turn::Build => match build(&mut worker) {
                Ok(built) => {
                    probe = Some(built);
                    Outcome::Works
                }
                Err(why) => Outcome::Failed(why.to_string()),
            },
            Turn::Step => {
                worker.step();
                let done = probe.as_ref().is_none_or(ProbeHandle::done);
                if done { Outcome::Done } else { Outcome::Works }
            }
            Turn::Die => Outcome::Done,
        };
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|said| Outcome::Failed(message(&*said)));
        if matches!(turn, Turn::Die) {
            break;
        }
        outcomes.send(outcome).unwrap();
    }
    // A thread that waits for this turn waits until nothing is left.
    drop((probe, worker));
    let _ = outcomes.send(Outcome::Done);
}

/// The message of a panic.
pub(crate) fn message(said: &(dyn Any + Send)) -> String {
    let text = said.downcast_ref::<String>().map(String::as_str).or(said.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").to_owned()
}
