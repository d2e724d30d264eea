//! Everything around a dataflow that is not its code: configuration, clock, limits, metrics. The same on all workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::PartKind;
use super::dead_letters::DEAD_LETTERS;
use crate::connectors::sink::SinkConnector;
use crate::connectors::source::SourceConnector;
use crate::runtime::control::Control;
use crate::runtime::durability::Durability;
use crate::runtime::source::FlowControl;
use crate::settings::{Node, Value};
use crate::telemetry::Metrics;
use crate::time::{Clock, SystemClock, Ticker};

/// Makes the connector of a sink from the sink's name.
pub type SinkByName = Arc<dyn Fn(&str) -> Arc<dyn SinkConnector> + Send + Sync>;

/// The surroundings of a dataflow. The defaults are those of a run without configuration.
#[derive(Clone)]
pub struct Environment {
    /// The dataflow's name.
    pub dataflow: String,
    /// The merged configuration.
    pub settings: Node,
    /// Sources wired in code; they win over the configuration.
    pub sources: BTreeMap<String, Arc<dyn SourceConnector>>,
    /// Sinks wired in code; they win over the configuration.
    pub sinks: BTreeMap<String, Arc<dyn SinkConnector>>,
    /// The sources that were made from the configuration: the workers of a process share them.
    pub(crate) configured: Arc<Mutex<BTreeMap<String, Arc<dyn SourceConnector>>>>,
    /// Makes every sink that `sinks` does not name, by its name, in place of the configured one.
    pub sinks_by_default: Option<SinkByName>,
    /// Whether a source that `sources` does not name is a fault, rather than read as configured.
    pub sources_wired_only: bool,
    /// Stops the run.
    pub control: Control,
    /// The clock and the tick.
    pub ticker: Ticker,
    /// All metrics.
    pub metrics: Metrics,
    /// How far sources may be ahead of sinks.
    pub flow_control: FlowControl,
    /// The most entries of keyed state per stage and worker.
    pub keys_max: usize,
    /// When the run started, in milliseconds since the Unix epoch.
    pub run_ms: u64,
    /// The state directory, if there is one.
    pub durability: Option<Durability>,
    /// Whether there will be a state directory.
    pub(crate) is_durable: bool,
    /// How many workers this process has.
    pub(crate) threads: usize,
    /// Whether all processes are on this machine, and see the same files.
    pub(crate) one_machine: bool,
    /// Whether the dataflow is only built to be checked: nothing is opened.
    pub(crate) planning: bool,
}

/// Entries of keyed state that a stage holds on one worker, unless configured otherwise.
pub const KEYS_MAX_DEFAULT: usize = 10_000_000;

impl Environment {
    /// An environment for `dataflow` with the configuration `settings`.
    pub fn new(dataflow: &str, settings: Node) -> Self {
        Self::with_clock(dataflow, settings, Arc::new(SystemClock), Duration::from_millis(100))
    }

    /// Like [`new`](Self::new), with the given clock and tick.
    pub fn with_clock(dataflow: &str, settings: Node, clock: Arc<dyn Clock>, tick: Duration) -> Self {
        let run_ms = clock.now_ms();
        Environment {
            dataflow: dataflow.to_owned(),
            settings,
            sources: BTreeMap::new(),
            sinks: BTreeMap::new(),
            configured: Arc::default(),
            sinks_by_default: None,
            sources_wired_only: false,
            control: Control::default(),
            metrics: Metrics::with_clock(dataflow, Arc::clone(&clock)),
            ticker: Ticker::new(clock, tick),
            flow_control: FlowControl { epochs_in_flight_max: 8, records_per_epoch_max: 1_000_000 },
            keys_max: KEYS_MAX_DEFAULT,
            run_ms,
            durability: None,
            is_durable: false,
            threads: 1,
            one_machine: false,
            planning: false,
        }
    }

    /// The names of the parts that are wired in code.
    pub(super) fn wired_in_code(&self, part: PartKind) -> impl Iterator<Item = &str> {
        let names: Vec<&str> = match part {
            PartKind::Source => self.sources.keys().map(String::as_str).collect(),
            PartKind::Sink => self.sinks.keys().map(String::as_str).filter(|name| *name != DEAD_LETTERS).collect(),
            PartKind::Stage => Vec::new(),
        };
        names.into_iter()
    }

    /// The configured source `name`: `made`, unless another worker has made it.
    pub(super) fn share(&self, name: &str, made: Arc<dyn SourceConnector>) -> Arc<dyn SourceConnector> {
        let mut configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(configured.entry(name.to_owned()).or_insert(made))
    }

    /// The configured node under a path of keys.
    pub(crate) fn node(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.settings, |node, key| match &node.value {
            Value::Table(entries) => entries.get(*key),
            _ => None,
        })
    }
}
