//! Handles of a stage: a named step of a dataflow.

use std::sync::{Arc, OnceLock};

use prometheus::{Gauge, IntCounter};

use super::metrics::Families;
use super::table::Metric;
use super::totals::StageTotals;

/// The handles of one stage on one worker. Cheap to clone.
///
/// Series of keys and windows appear with their first value, so that stages without them do not show zeros.
#[derive(Clone)]
pub struct StageMetrics {
    inner: Arc<Inner>,
}

struct Inner {
    families: Families,
    stage: String,
    worker: String,
    records_in: IntCounter,
    records_out: IntCounter,
    filtered: IntCounter,
    late: IntCounter,
    keys: OnceLock<Gauge>,
    windows_open: OnceLock<Gauge>,
    windows_closed: OnceLock<IntCounter>,
}

impl StageMetrics {
    pub(super) fn new(families: &Families, stage: &str, worker: usize) -> Self {
        let worker = worker.to_string();
        let counter = |metric| families.counter(metric, &[stage, &worker]);
        let inner = Inner {
            families: families.clone(),
            stage: stage.to_owned(),
            records_in: counter(Metric::StageIn),
            records_out: counter(Metric::StageOut),
            filtered: counter(Metric::StageFiltered),
            late: counter(Metric::StageLate),
            keys: OnceLock::new(),
            windows_open: OnceLock::new(),
            windows_closed: OnceLock::new(),
            worker,
        };
        StageMetrics { inner: Arc::new(inner) }
    }

    /// `records` entered.
    pub fn records_in(&self, records: u64) {
        self.inner.records_in.inc_by(records);
    }

    /// `records` left.
    pub fn records_out(&self, records: u64) {
        self.inner.records_out.inc_by(records);
    }

    /// `records` were dropped because the dataflow says so.
    pub fn filtered(&self, records: u64) {
        self.inner.filtered.inc_by(records);
    }

    /// `records` were too late for every window they belong to.
    pub fn late(&self, records: u64) {
        self.inner.late.inc_by(records);
    }

    /// State is held for `keys` keys.
    pub fn keys(&self, keys: usize) {
        self.gauge(&self.inner.keys, Metric::StageKeys).set(keys as f64);
    }

    /// `windows` windows, over all keys, are open.
    pub fn windows_open(&self, windows: usize) {
        self.gauge(&self.inner.windows_open, Metric::StageWindowsOpen).set(windows as f64);
    }

    /// `windows` windows were closed.
    pub fn windows_closed(&self, windows: u64) {
        let new = || self.inner.families.counter(Metric::StageWindowsClosed, &self.labels());
        self.inner.windows_closed.get_or_init(new).inc_by(windows);
    }

    fn gauge<'a>(&self, cell: &'a OnceLock<Gauge>, metric: Metric) -> &'a Gauge {
        cell.get_or_init(|| self.inner.families.gauge(metric, &self.labels()))
    }

    fn labels(&self) -> [&str; 2] {
        [&self.inner.stage, &self.inner.worker]
    }

    pub(super) fn add_to(&self, totals: &mut StageTotals) {
        totals.records_in += self.inner.records_in.get();
        totals.records_out += self.inner.records_out.get();
        totals.filtered += self.inner.filtered.get();
        totals.late += self.inner.late.get();
        totals.windows_closed += self.inner.windows_closed.get().map_or(0, IntCounter::get);
        totals.windows_open += self.inner.windows_open.get().map_or(0, |gauge| gauge.get() as u64);
    }
}
