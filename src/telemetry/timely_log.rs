//! Metrics per operator and worker, from timely's and differential's own logs.
//!
//! The logs cost per message batch, activation and frontier change, never per record: their events are summed as they
//! come, and turned into series and a graph about once a second, by [`WorkerLog::tick`] in the worker's loop. Nothing
//! here wakes a worker, so a worker that sleeps publishes when it next runs.
//!
//! Measured with 19 operators, on a busy machine, medians of five: 100 records per epoch, 19 µs an epoch without logs,
//! 32 µs with those of messages and activations, 33 µs with that of frontiers, too; 1 000 records, 128, 149 and 182 µs;
//! from 5 000 records on, the difference is below the noise.

mod collect;
mod frontiers;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use differential_dataflow::logging::DifferentialEventBuilder;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::implementations::ValSpine;
use prometheus::{Counter, IntCounter};
use timely::logging::TimelyEventBuilder;
use timely::progress::reachability::logging::TrackerEventBuilder;
use timely::worker::Worker;

use self::collect::Collected;
use super::graph::{Arrangement, WorkerGraph};
use super::metrics::{Metrics, lock};
use super::table::Metric;
use crate::time::Epoch;

/// How often [`WorkerLog::tick`] publishes.
pub const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// The log of one worker, on that worker's thread.
pub struct WorkerLog {
    metrics: Metrics,
    worker: usize,
    collected: Rc<RefCell<Collected>>,
    shared: Arc<Mutex<WorkerGraph>>,
    measures: Vec<(String, Measure)>,
    series: BTreeMap<String, OperatorSeries>,
    parked: Counter,
    published: Instant,
}

/// Measures the heap bytes of an operator's state.
type Measure = Box<dyn FnMut() -> u64>;

impl WorkerLog {
    /// Starts to collect. Call it before any dataflow is built: operators look for a log when they are built.
    ///
    /// A worker made without a timer does not log; its graph stays empty.
    pub fn register(worker: &Worker, metrics: &Metrics) -> Self {
        let collected = Rc::new(RefCell::new(Collected::default()));
        if let Some(mut logs) = worker.log_register() {
            let to = collected.clone();
            logs.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
                if let Some(events) = events {
                    let mut to = to.borrow_mut();
                    events.drain(..).for_each(|(at, event)| to.timely(at, event));
                }
            });
            let to = collected.clone();
            logs.insert::<DifferentialEventBuilder, _>("differential/arrange", move |_, events| {
                if let Some(events) = events {
                    let mut to = to.borrow_mut();
                    events.drain(..).for_each(|(_, event)| to.differential(event));
                }
            });
            let to = collected.clone();
            let name = format!("timely/reachability/{}", std::any::type_name::<Epoch>());
            logs.insert::<TrackerEventBuilder<Epoch>, _>(&name, move |_, events| {
                if let Some(events) = events {
                    let mut to = to.borrow_mut();
                    events.drain(..).for_each(|(_, event)| to.pointstamps.add(event));
                }
            });
        }
        let index = worker.index();
        let shared = metrics.worker_graph(index);
        *lock(&shared) = WorkerGraph { worker: index, ..WorkerGraph::default() };
        WorkerLog {
            worker: index,
            collected,
            shared,
            measures: Vec::new(),
            series: BTreeMap::new(),
            parked: metrics.families().seconds(Metric::WorkerParked, &[&index.to_string()]),
            metrics: metrics.clone(),
            published: Instant::now(),
        }
    }

    /// From now on `bytes` is called, at every publication, for the heap bytes of `operator`'s state. Several may be
    /// given for one name; they add up.
    pub fn measure_bytes(&mut self, operator: &str, bytes: impl FnMut() -> u64 + 'static) {
        self.measures.push((operator.to_owned(), Box::new(bytes)));
    }

    /// Publishes if [`PUBLISH_INTERVAL`] has passed since the last time. Call it after every step.
    pub fn tick(&mut self) {
        if self.published.elapsed() >= PUBLISH_INTERVAL {
            self.publish();
        }
    }

    /// Publishes now, such as after a dataflow's last step.
    pub fn publish(&mut self) {
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        for (name, measure) in &mut self.measures {
            *bytes.entry(name.clone()).or_default() += measure();
        }
        let mut graph = self.collected.borrow_mut().graph(self.worker, self.metrics.now_ms());
        for (name, bytes) in bytes {
            if let Some(operator) = graph.operators.iter_mut().find(|o| o.name == name && !o.scope) {
                operator.arrangement.get_or_insert_default().bytes = Some(bytes);
            }
        }
        self.export(&graph);
        *lock(&self.shared) = graph;
        self.published = Instant::now();
    }

    /// Updates the series from `graph`.
    fn export(&mut self, graph: &WorkerGraph) {
        let mut sums: BTreeMap<&str, Sums> = BTreeMap::new();
        for operator in graph.operators.iter().filter(|o| !o.scope) {
            let sum = sums.entry(&operator.name).or_default();
            sum.records_in += operator.records_in;
            sum.records_out += operator.records_out;
            sum.activations += operator.activations;
            sum.busy_seconds += operator.busy_seconds;
            if let Some(arrangement) = operator.arrangement {
                sum.add(arrangement);
            }
        }
        let worker = self.worker.to_string();
        for (name, sum) in sums {
            if !self.series.contains_key(name) {
                self.series.insert(name.to_owned(), OperatorSeries::new(&self.metrics, name, &worker));
            }
            self.series.get_mut(name).expect("inserted above").update(&self.metrics, &[name, &worker], sum);
        }
        self.parked.inc_by((graph.parked_seconds - self.parked.get()).max(0.0));
    }
}

/// The sums over all operators of one name.
#[derive(Clone, Copy, Default)]
struct Sums {
    records_in: u64,
    records_out: u64,
    activations: u64,
    busy_seconds: f64,
    arrangement: Option<Arrangement>,
}

impl Sums {
    fn add(&mut self, more: Arrangement) {
        let sum = self.arrangement.get_or_insert_default();
        sum.records += more.records;
        sum.batches += more.batches;
        if let Some(bytes) = more.bytes {
            *sum.bytes.get_or_insert_default() += bytes;
        }
    }
}

/// The series of one operator name.
struct OperatorSeries {
    records_in: IntCounter,
    records_out: IntCounter,
    activations: IntCounter,
    busy: Counter,
}

impl OperatorSeries {
    fn new(metrics: &Metrics, operator: &str, worker: &str) -> Self {
        let labels = [operator, worker];
        let families = metrics.families();
        OperatorSeries {
            records_in: families.counter(Metric::OperatorIn, &labels),
            records_out: families.counter(Metric::OperatorOut, &labels),
            activations: families.counter(Metric::OperatorActivations, &labels),
            busy: families.seconds(Metric::OperatorBusy, &labels),
        }
    }

    /// Counters belong to one worker of one process, so that they remember what was published.
    fn update(&mut self, metrics: &Metrics, labels: &[&str], sum: Sums) {
        let raise = |counter: &IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        raise(&self.records_in, sum.records_in);
        raise(&self.records_out, sum.records_out);
        raise(&self.activations, sum.activations);
        self.busy.inc_by((sum.busy_seconds - self.busy.get()).max(0.0));
        let Some(arrangement) = sum.arrangement else { return };
        let set = |metric, value: u64| metrics.families().gauge(metric, labels).set(value as f64);
        set(Metric::ArrangementRecords, arrangement.records);
        set(Metric::ArrangementBatches, arrangement.batches);
        if let Some(bytes) = arrangement.bytes {
            set(Metric::ArrangementBytes, bytes);
        }
    }
}

/// The heap bytes of an arrangement by key and value, without what keys and values own on the heap themselves.
///
/// For [`WorkerLog::measure_bytes`]: give it a clone of the trace whose compaction frontiers, logical and physical, are
/// set to empty, or the clone holds compaction back.
pub fn arrangement_bytes<K, V, T, R>(trace: &TraceAgent<ValSpine<K, V, T, R>>) -> u64
where
    K: Ord + Clone + 'static,
    V: Ord + Clone + 'static,
    T: differential_dataflow::lattice::Lattice + timely::progress::Timestamp,
    R: Ord + differential_dataflow::difference::Semigroup + 'static,
{
    let mut bytes = 0;
    trace.map_spans(|span| {
        let Some(batch) = &span.inner else { return };
        let (keys, vals, updates) = (&batch.storage.keys, &batch.storage.vals, &batch.storage.upds);
        bytes += keys.capacity() * size_of::<K>() + vals.vals.capacity() * size_of::<V>();
        bytes += updates.times.capacity() * size_of::<T>() + updates.diffs.capacity() * size_of::<R>();
        for offsets in [&vals.offs, &updates.offs] {
            bytes += offsets.smol.capacity() * size_of::<u32>() + offsets.chonk.capacity() * size_of::<u64>();
        }
    });
    bytes as u64
}

#[cfg(test)]
mod tests;
