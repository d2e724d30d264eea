//! What a run with a state directory knows of those before it, and what it leaves for those after it.

use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use crate::checkpoint::bindings::{BindingLog, History, LogObserver, recover};
use crate::checkpoint::directory::StateDirectory;
use crate::checkpoint::journal::Journals;
use crate::connectors::sink::Generation;
use crate::error::{Error, Result};
use crate::telemetry::{BindingMetrics, Metrics};

/// The same for all workers of a process; clones share it. The last one to go lets other runs into the state directory.
#[derive(Clone)]
pub struct Durability {
    /// This run.
    pub generation: Generation,
    /// How many shards every sink has.
    pub sink_shards: usize,
    /// When the state directory was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// What earlier runs bound.
    pub history: Arc<History>,
    /// Where this one binds.
    pub log: BindingLog,
    /// Where sources keep what cannot be read again.
    pub journals: Journals,
    _directory: Arc<StateDirectory>,
}

impl Durability {
    /// Reads what earlier generations left in `directory`, and begins the log of process `process`. All processes together have
    /// `openings` pairs of a worker and a source.
    ///
    /// # Errors
    /// Of kind `State`, if the directory cannot be read or written or is damaged.
    pub fn begin(
        directory: StateDirectory,
        process: usize,
        openings: usize,
        control: &Control,
        metrics: &Metrics,
    ) -> Result<Self> {
        let identity = directory.identity();
        let history = recover(directory.path(), &identity.id)?;
        let observer = Observer { control: control.clone(), metrics: metrics.bindings() };
        let log = BindingLog::begin(&directory, process, openings, observer)?;
        let generation = Generation { state: identity.id.clone(), number: directory.generation() };
        let (sink_shards, created_ms) = (identity.sink_shards, identity.created_ms);
        tracing::info!(
            state_dir = %directory.path().display(),
            generation = generation.number,
            last_epoch = history.last,
            "state directory"
        );
        let journals = Journals::new(directory.path(), &identity.id);
        let (history, directory) = (Arc::new(history), Arc::new(directory));
        Ok(Durability { generation, sink_shards, created_ms, history, log, journals, _directory: directory })
    }
}

struct Observer {
    control: Control,
    metrics: BindingMetrics,
}

impl LogObserver for Observer {
    fn flushed(&self, took: Duration, bytes: usize) {
        self.metrics.flushed(took, bytes);
    }

    fn failed(&self, error: Error) {
        self.control.fail(error);
    }
}
