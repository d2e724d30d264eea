//! Keeps the readers of a test run in step: in each round every reader takes its steps, and then the clock advances by
//! a tick.
//!
//! The invariant: what is read at an epoch is a function of the scripts alone, however many workers share the
//! partitions and however fast they are. A reader takes the steps of a round only after it has been polled once since
//! the clock advanced, since a source looks at the clock *before* it polls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::ManualClock;
use crate::connectors::script::Script;
use crate::connectors::source::{Collector, Polled, SourceConnector, SourceContext, SourceReader};
use crate::error::Result;
use crate::runtime::control::Control;

/// Fruitless polls after which a reader waits for a while.
const POLLS_MAX: u32 = 8;

/// How long it waits then.
const WAIT: Duration = Duration::from_micros(100);

/// The rounds of one run; clones share them.
#[derive(Clone)]
pub(super) struct Pace(Arc<Shared>);

struct Shared {
    clock: ManualClock,
    tick: Duration,
    /// The round at whose end the run is stopped.
    stop_after: Option<u64>,
    control: Control,
    rounds: Mutex<Rounds>,
}

struct Rounds {
    round: u64,
    /// Readers that have not finished.
    readers: usize,
    /// Those of them that have taken their steps of this round.
    done: usize,
}

impl Pace {
    /// A pace for `readers` readers, each of which will be opened.
    pub(super) fn new(
        clock: ManualClock,
        tick: Duration,
        readers: usize,
        stop_after: Option<u64>,
        control: Control,
    ) -> Self {
        let rounds = Mutex::new(Rounds { round: 0, readers, done: 0 });
        Pace(Arc::new(Shared { clock, tick, stop_after, control, rounds }))
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.0.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader has taken its steps of this round; `finished`: it has no more.
    fn done(&self, finished: bool) {
        let mut rounds = self.rounds();
        if finished {
            rounds.readers -= 1;
        } else {
            rounds.done += 1;
        }
        if rounds.done == rounds.readers {
            if self.0.stop_after == Some(rounds.round) {
                self.0.control.stop();
            }
            rounds.done = 0;
            self.0.clock.advance(self.0.tick);
            rounds.round += 1;
        }
    }
}

/// A script whose readers keep pace.
pub(super) struct PacedScript {
    pub(super) script: Script,
    pub(super) pace: Pace,
}

impl SourceConnector for PacedScript {
    fn is_trusted(&self) -> bool {
        self.script.is_trusted()
    }

    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        let inner = self.script.open(context)?;
        Ok(Box::new(PacedScriptReader { inner, pace: self.pace.clone(), seen: None, taken: None, polls: 0 }))
    }
}

struct PacedScriptReader {
    inner: Box<dyn SourceReader>,
    pace: Pace,
    /// The current round at the last poll.
    seen: Option<u64>,
    /// The round whose steps were taken last.
    taken: Option<u64>,
    /// Fruitless polls since then.
    polls: u32,
}

impl SourceReader for PacedScriptReader {
    fn poll(&mut self, budget_bytes: usize, collector: &mut dyn Collector) -> Result<Polled> {
        if budget_bytes > 0 {
            let round = self.pace.rounds().round;
            if self.taken == Some(round) {
                // Another reader's turn, perhaps on this core: a machine may have fewer cores than the test has
                // workers.
                self.polls += 1;
                std::thread::yield_now();
                return Ok(if self.polls < POLLS_MAX { Polled::More } else { Polled::Wait(WAIT) });
            }
            if self.seen.replace(round) != Some(round) {
                return Ok(Polled::More);
            }
            (self.taken, self.polls) = (Some(round), 0);
        }
        let finished = self.inner.poll(budget_bytes, collector)? == Polled::Finished;
        if finished || budget_bytes > 0 {
            self.pace.done(finished);
        }
        Ok(if finished { Polled::Finished } else { Polled::More })
    }

    fn partitions(&self) -> Option<usize> {
        self.inner.partitions()
    }
}
