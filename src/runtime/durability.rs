//! What a run with a state directory recovers from earlier runs, and what it writes for later ones.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::control::Control;
use crate::checkpoint::bindings::{Admitted, Base, BindingLog, BindingWriter, History, LogObserver, Position, recover};
use crate::checkpoint::directory::{Purpose, StateDirectory};
use crate::checkpoint::journal::Journals;
use crate::checkpoint::manifest::CheckpointName;
use crate::checkpoint::restore::{Restored, restore};
use crate::checkpoint::snapshots::{SnapshotPlan, Snapshots, admitted_of, positions_of, watermark_of};
use crate::checkpoint::store::CheckpointStore;
use crate::checkpoint::writer::{CheckpointObserver, CheckpointWriter, CheckpointWriterHandle, CheckpointWriterPlan};
use crate::connectors::sink::Generation;
use crate::error::{Error, Result};
use crate::operators::watermark::WatermarkState;
use crate::state::snapshot::Schedule;
use crate::telemetry::{BindingMetrics, CheckpointMetrics, Metrics};
use crate::time::{Epoch, Ticker};

/// Where checkpoints are stored.
#[derive(Clone, Default)]
pub enum CheckpointPlace {
    /// In the folder `checkpoints` of the state directory.
    #[default]
    StateDirectory,
    /// In this folder, or at this URL: see [`CheckpointStore::at`].
    At(String),
    /// In a store of the caller's own.
    Store(CheckpointStore),
}

/// How checkpoints are taken and kept.
#[derive(Clone)]
pub struct CheckpointRules {
    /// Where they are stored.
    pub place: CheckpointPlace,
    /// The time between two.
    pub interval: Duration,
    /// How many are kept.
    pub keep: usize,
}

/// What a run resumes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// The newest checkpoint that can be read.
    #[default]
    Newest,
    /// This one.
    Checkpoint(CheckpointName),
    /// No checkpoint: all epochs that were bound are replayed.
    Bindings,
}

/// The share of this process in the run.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The process's number, from 0.
    pub process: usize,
    /// Workers in it.
    pub threads: usize,
    /// Workers in all processes.
    pub workers: usize,
    /// Sources that each worker has.
    pub sources: usize,
}

/// What all workers of a process share about durability; clones are handles to it. Dropping the last one releases the
/// state directory.
#[derive(Clone)]
pub struct Durability {
    /// The generation of this run.
    pub generation: Generation,
    /// How many shards every sink has.
    pub sink_shards: usize,
    /// When the state directory was created, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The checkpoint that the run resumes from, if there is one.
    pub checkpoint: Option<CheckpointName>,
    /// What earlier runs bound after that checkpoint.
    pub history: Arc<History>,
    /// The log to which this run binds epochs.
    pub log: BindingLog,
    /// The journals of sources that cannot be read again.
    pub journals: Journals,
    schedule: Schedule,
    writer: CheckpointWriterHandle,
    /// The checkpoint that the run resumes from, once for each worker that has not fetched it.
    restored: Arc<Mutex<Vec<Arc<Restored>>>>,
    _directory: Arc<StateDirectory>,
}

/// The writers to the state directory.
pub struct Writers {
    /// Bindings.
    pub bindings: BindingWriter,
    /// Checkpoints.
    pub checkpoints: CheckpointWriter,
}

impl CheckpointRules {
    /// The checkpoint store for the state directory at `state`.
    ///
    /// # Errors
    /// Of kind `State`, if their folder cannot be created or read.
    pub fn store(&self, state: &Path) -> Result<CheckpointStore> {
        match &self.place {
            CheckpointPlace::StateDirectory => CheckpointStore::folder(&state.join("checkpoints")),
            CheckpointPlace::At(place) => CheckpointStore::at(place),
            CheckpointPlace::Store(store) => Ok(store.clone()),
        }
    }

    /// Reads the checkpoint that a run in `directory` resumes from, if there is one.
    ///
    /// # Errors
    /// Of kind `State`: see [`restore`].
    pub fn restore(&self, directory: &StateDirectory, purpose: &Purpose, from: From) -> Result<Option<Arc<Restored>>> {
        let chosen = match from {
            From::Bindings => return Ok(None),
            From::Checkpoint(name) => Some(name),
            From::Newest => None,
        };
        restore(&self.store(directory.path())?, &directory.identity().id, &purpose.fingerprint, chosen)
    }
}

impl Durability {
    /// Recovers what earlier generations left in `directory`, and starts the writers of bindings and checkpoints.
    ///
    /// # Errors
    /// Of kind `State`, if the directory cannot be read or written or is damaged.
    pub fn begin(
        directory: StateDirectory,
        share: Share,
        rules: &CheckpointRules,
        purpose: &Purpose,
        from: From,
        surroundings: (&Control, &Metrics, &Ticker),
    ) -> Result<Self> {
        let (durability, writers) = Self::by_hand(directory, share, rules, purpose, from, surroundings)?;
        writers.bindings.start()?;
        writers.checkpoints.start()?;
        Ok(durability)
    }

    /// Like [`begin`](Self::begin), but the writers only write when they are given a turn: for tests that control the
    /// timing.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    #[doc(hidden)]
    pub fn by_hand(
        directory: StateDirectory,
        share: Share,
        rules: &CheckpointRules,
        purpose: &Purpose,
        from: From,
        (control, metrics, ticker): (&Control, &Metrics, &Ticker),
    ) -> Result<(Self, Writers)> {
        let Share { process, threads, workers, sources } = share;
        let identity = directory.identity();
        let restored = rules.restore(&directory, purpose, from)?;
        let base = restored.as_deref().map_or_else(|| Ok(Base::default()), base)?;
        let history = recover(directory.path(), &identity.id, base)?;
        let every_ms = u64::try_from(rules.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let schedule = Schedule { every_ms, from: history.last.map_or(0, |last| last + 1) };
        let observer =
            Observer { control: control.clone(), bindings: metrics.bindings(), checkpoints: metrics.checkpoints() };
        let (log, bindings) = BindingLog::begin(&directory, process, workers * sources, schedule, observer.clone())?;
        let lasting = restored.iter().flat_map(|restored| restored.lasting.iter().cloned());
        // Spread over all workers; each process takes those of its own.
        let lasting = (0..).map(|i: usize| i % workers).zip(lasting).filter(|(worker, _)| worker / threads == process);
        let plan = CheckpointWriterPlan {
            store: rules.store(directory.path())?,
            directory: directory.path().to_owned(),
            state: identity.id.clone(),
            generation: directory.generation(),
            fingerprint: purpose.fingerprint.clone(),
            workers,
            completes: process == 0,
            keep: rules.keep,
            ticker: ticker.clone(),
            lasting: lasting.collect(),
        };
        let (writer, checkpoints) = CheckpointWriterHandle::new(plan, observer);
        let generation = Generation { state: identity.id.clone(), number: directory.generation() };
        let (sink_shards, created_ms) = (identity.sink_shards, identity.created_ms);
        tracing::info!(
            state_dir = %directory.path().display(),
            generation = generation.number,
            from = restored.as_ref().map(|restored| tracing::field::display(restored.name)),
            last_epoch = history.last,
            "state directory"
        );
        let checkpoint = restored.as_ref().map(|restored| restored.name);
        let restored = restored.map(|restored| vec![restored; threads]).unwrap_or_default();
        let journals = Journals::new(directory.path(), &identity.id);
        let durability = Durability {
            generation,
            sink_shards,
            created_ms,
            checkpoint,
            history: Arc::new(history),
            log,
            journals,
            schedule,
            writer,
            restored: Arc::new(Mutex::new(restored)),
            _directory: Arc::new(directory),
        };
        Ok((durability, Writers { bindings, checkpoints }))
    }

    /// The snapshots of one worker. To be called once per worker.
    pub fn snapshots(&self, worker: usize, workers: usize, control: &Control, metrics: &Metrics) -> Snapshots {
        let (control, checkpoints) = (control.clone(), metrics.checkpoints());
        Snapshots::new(SnapshotPlan {
            worker,
            workers,
            schedule: self.schedule,
            writer: self.writer.clone(),
            restored: self.restored.lock().unwrap_or_else(PoisonError::into_inner).pop(),
            paused: Box::new(move |took| checkpoints.paused(took)),
            fail: Box::new(move |error| control.fail(error)),
        })
    }
}

/// The positions of the sources at a checkpoint.
fn base(restored: &Restored) -> Result<Base> {
    let mut base = Base { checkpoint: Some(restored.name), ..Base::default() };
    let sources = restored.slots.iter().filter_map(|slot| {
        let (name, _) = slot.rsplit_once('.')?;
        (*slot == positions_of(name)).then(|| name.to_owned())
    });
    for name in sources {
        let source = base.sources.entry(name.clone()).or_default();
        restored.each(&positions_of(&name), |position: Position| {
            source.positions.insert(position.partition, position);
        })?;
        restored.each(&admitted_of(&name), |admitted: Admitted| {
            source.admitted.insert(admitted.partition, admitted);
        })?;
        restored.each(&watermark_of(&name), |watermark: WatermarkState| source.watermark = watermark)?;
    }
    Ok(base)
}

#[derive(Clone)]
struct Observer {
    control: Control,
    bindings: BindingMetrics,
    checkpoints: CheckpointMetrics,
}

impl LogObserver for Observer {
    fn flushed(&self, took: Duration, bytes: usize) {
        self.bindings.flushed(took, bytes);
    }

    fn failed(&self, error: Error) {
        self.control.fail(error);
    }
}

impl CheckpointObserver for Observer {
    fn completed(&self, epoch: Epoch, bytes: u64, took: Duration) {
        self.checkpoints.completed(epoch, bytes, took);
    }

    fn failed(&self, error: Error) {
        tracing::error!(%error, "this checkpoint is not taken; the run continues, and recovery uses the one before");
        self.checkpoints.failed();
    }
}
