//! The registry of one process and run, which creates all handles.
//!
//! Handles are fetched once, when a dataflow is built, and updated per batch: an update is one or two atomic additions.
//! Asking again for the same source, stage or sink and worker returns the same series. Never the global registry, so
//! that runs in one process (tests, above all) do not see each other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, MetricVec};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricType;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};
use serde_json::json;

use super::bindings::BindingMetrics;
use super::checkpoints::CheckpointMetrics;
use super::distribution::{Distribution, Durations, NewDurations};
use super::graph::{Frontier, WorkerGraph};
use super::sinks::SinkMetrics;
use super::sources::SourceMetrics;
use super::stages::StageMetrics;
use super::table::{Definition, Metric, MetricKind};
use super::totals::Totals;
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, SystemClock};

/// Buckets of every histogram, in seconds: 1 ms to a minute, and finer around the default tick of 100 ms, near which
/// most latencies are.
const BUCKETS: [f64; 20] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.11, 0.12, 0.15, 0.2, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// The metrics of one process and run. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    dataflow: String,
    clock: Arc<dyn Clock>,
    registry: Registry,
    families: Families,
    sources: Mutex<BTreeMap<(String, usize), SourceMetrics>>,
    stages: Mutex<BTreeMap<(String, usize), StageMetrics>>,
    sinks: Mutex<BTreeMap<(String, usize), SinkMetrics>>,
    workers: Mutex<BTreeMap<usize, Arc<Mutex<WorkerGraph>>>>,
}

impl Metrics {
    /// An empty registry for a run of `dataflow`.
    pub fn new(dataflow: &str) -> Self {
        Self::with_clock(dataflow, Arc::new(SystemClock))
    }

    /// As [`new`](Self::new), with the clock that lags are measured by.
    pub fn with_clock(dataflow: &str, clock: Arc<dyn Clock>) -> Self {
        let labels = HashMap::from([("dataflow".to_owned(), dataflow.to_owned())]);
        let registry = Registry::new_custom(None, Some(labels)).expect("without a prefix there is nothing to refuse");
        registry.register(Box::new(ProcessCollector::for_self())).expect("a new registry is empty");
        let families = Families::register(&registry);
        let inner = Inner {
            dataflow: dataflow.to_owned(),
            clock,
            registry,
            families,
            sources: Mutex::default(),
            stages: Mutex::default(),
            sinks: Mutex::default(),
            workers: Mutex::default(),
        };
        Metrics { inner: Arc::new(inner) }
    }

    /// The handles of `source` on `worker`.
    pub fn source(&self, source: &str, worker: usize) -> SourceMetrics {
        let mut sources = lock(&self.inner.sources);
        let new = || SourceMetrics::new(&self.inner.families, source, worker);
        sources.entry((source.to_owned(), worker)).or_insert_with(new).clone()
    }

    /// The handles of `stage` on `worker`.
    pub fn stage(&self, stage: &str, worker: usize) -> StageMetrics {
        let mut stages = lock(&self.inner.stages);
        let new = || StageMetrics::new(&self.inner.families, stage, worker);
        stages.entry((stage.to_owned(), worker)).or_insert_with(new).clone()
    }

    /// The handles of `sink` on `worker`.
    pub fn sink(&self, sink: &str, worker: usize) -> SinkMetrics {
        let mut sinks = lock(&self.inner.sinks);
        let new = || SinkMetrics::new(&self.inner.families, sink, worker);
        sinks.entry((sink.to_owned(), worker)).or_insert_with(new).clone()
    }

    /// The handles of the binding log; its series exist from now on.
    pub fn bindings(&self) -> BindingMetrics {
        BindingMetrics::new(&self.inner.families)
    }

    /// The handles of the checkpoints of this process; their series exist from now on.
    pub fn checkpoints(&self) -> CheckpointMetrics {
        CheckpointMetrics::new(&self.inner.families)
    }

    /// The current counts, summed over this process's workers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for ((name, _), source) in lock(&self.inner.sources).iter() {
            source.add_to(totals.sources.entry(name.clone()).or_default());
        }
        for ((name, _), stage) in lock(&self.inner.stages).iter() {
            stage.add_to(totals.stages.entry(name.clone()).or_default());
        }
        for ((name, _), sink) in lock(&self.inner.sinks).iter() {
            sink.add_to(totals.sinks.entry(name.clone()).or_default());
        }
        totals
    }

    /// How long records took from being read to being released, per source, over this process's workers.
    pub fn latency(&self) -> BTreeMap<String, Distribution> {
        let mut latency: BTreeMap<String, Distribution> = BTreeMap::new();
        for ((name, _), source) in lock(&self.inner.sources).iter() {
            latency.entry(name.clone()).or_default().merge(&source.latency());
        }
        latency
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// Of kind `Internal`, if a series cannot be written.
    pub fn render(&self) -> Result<String> {
        self.update_frontier_lag();
        TextEncoder::new()
            .encode_to_string(&self.inner.registry.gather())
            .map_err(|e| Error::new(ErrorKind::Internal, "cannot render the metrics").because(e))
    }

    /// The operators and channels of every worker of this process, with what has passed through them.
    pub fn graph(&self) -> Vec<WorkerGraph> {
        lock(&self.inner.workers).values().map(|graph| lock(graph).clone()).collect()
    }

    /// The content of `/dataflow`.
    pub(super) fn dataflow_json(&self) -> serde_json::Value {
        json!({ "dataflow": self.inner.dataflow, "workers": self.graph(), "totals": self.totals() })
    }

    pub(super) fn families(&self) -> &Families {
        &self.inner.families
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    /// The cell that `worker` publishes its graph in.
    pub(super) fn worker_graph(&self, worker: usize) -> Arc<Mutex<WorkerGraph>> {
        lock(&self.inner.workers).entry(worker).or_default().clone()
    }

    /// Lag is computed when it is read, so that it grows for as long as a worker does not publish.
    fn update_frontier_lag(&self) {
        let now_ms = self.now_ms();
        for graph in self.graph() {
            let mut lag_ms: BTreeMap<&str, u64> = BTreeMap::new();
            for operator in graph.operators.iter().filter(|o| !o.scope) {
                let lag = match operator.frontier {
                    Frontier::Unknown => continue,
                    Frontier::At(epoch) => now_ms.saturating_sub(epoch),
                    Frontier::Closed => 0,
                };
                let greatest = lag_ms.entry(&operator.name).or_default();
                *greatest = lag.max(*greatest);
            }
            for (name, lag) in lag_ms {
                let labels = [name, &graph.worker.to_string()];
                self.families().gauge(Metric::OperatorFrontierLag, &labels).set(seconds(lag));
            }
        }
    }
}

/// Milliseconds as the seconds that metrics are in.
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Takes a lock whose data is sound even if a thread died holding it: it protects counters and handles only.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The families of the table, by [`Metric`]; clones share their series.
#[derive(Clone)]
pub(super) struct Families(Arc<[Family]>);

enum Family {
    Count(IntCounterVec),
    Seconds(CounterVec),
    Gauge(GaugeVec),
    Histogram(MetricVec<NewDurations>),
}

impl Families {
    fn register(registry: &Registry) -> Self {
        Families(Metric::TABLE.iter().map(|d| Family::register(d, registry)).collect())
    }

    pub(super) fn counter(&self, metric: Metric, labels: &[&str]) -> IntCounter {
        match &self.0[metric as usize] {
            Family::Count(family) => family.with_label_values(labels),
            _ => unreachable!("{metric:?} does not count whole things"),
        }
    }

    pub(super) fn seconds(&self, metric: Metric, labels: &[&str]) -> Counter {
        match &self.0[metric as usize] {
            Family::Seconds(family) => family.with_label_values(labels),
            _ => unreachable!("{metric:?} does not count seconds"),
        }
    }

    pub(super) fn gauge(&self, metric: Metric, labels: &[&str]) -> Gauge {
        match &self.0[metric as usize] {
            Family::Gauge(family) => family.with_label_values(labels),
            _ => unreachable!("{metric:?} is no gauge"),
        }
    }

    pub(super) fn histogram(&self, metric: Metric, labels: &[&str]) -> Durations {
        match &self.0[metric as usize] {
            Family::Histogram(family) => family.with_label_values(labels),
            _ => unreachable!("{metric:?} is no histogram"),
        }
    }
}

impl Family {
    fn register(d: &Definition, registry: &Registry) -> Self {
        let valid = "the table's names are valid and unique, as its test says";
        let opts = Opts::new(d.name, d.help);
        let add = |c: Box<dyn Collector>| registry.register(c).expect(valid);
        match d.kind {
            MetricKind::Counter if d.unit == "seconds" => {
                let family = CounterVec::new(opts, d.labels).expect(valid);
                add(Box::new(family.clone()));
                Family::Seconds(family)
            }
            MetricKind::Counter => {
                let family = IntCounterVec::new(opts, d.labels).expect(valid);
                add(Box::new(family.clone()));
                Family::Count(family)
            }
            MetricKind::Gauge => {
                let family = GaugeVec::new(opts, d.labels).expect(valid);
                add(Box::new(family.clone()));
                Family::Gauge(family)
            }
            MetricKind::Histogram => {
                let opts = opts.variable_labels(d.labels.iter().map(ToString::to_string).collect());
                let opts = HistogramOpts { common_opts: opts, buckets: BUCKETS.to_vec() };
                let family = MetricVec::create(MetricType::HISTOGRAM, NewDurations, opts).expect(valid);
                add(Box::new(family.clone()));
                Family::Histogram(family)
            }
        }
    }
}

#[cfg(test)]
mod tests;
