//! Detectors as stages of a stream of windows.

use super::stream::Stream;
use crate::detect::baseline::{self, Baseline, BaselineStage, Scored};
use crate::operators::interval::Window;
use crate::record::Record;
use crate::state::key::Key;

impl<'s, K: Key, V: Record> Stream<'s, Window<K, V>> {
    /// Keeps the windows whose measure is at least `least`; the others are counted as filtered by `name`.
    ///
    /// ```
    /// # use tidewatch::prelude::*;
    /// # fn build(counts: &Stream<Window<String, u64>>) {
    /// let many = counts.threshold("many", |window| window.value, 10);
    /// # }
    /// # fn main() {}
    /// ```
    pub fn threshold<M: PartialOrd + 'static>(
        &self,
        name: &str,
        measure: impl Fn(&Window<K, V>) -> M + 'static,
        least: M,
    ) -> Stream<'s, Window<K, V>> {
        self.filter(name, move |window| measure(window) >= least)
    }

    /// Scores each window by how unusual its measure is for its key, in standard deviations: see [`Baseline`].
    ///
    /// Windows of a key's warm-up are not passed on.
    pub fn baseline(
        &self,
        name: &str,
        measure: impl Fn(&Window<K, V>) -> f64 + 'static,
        baseline: Baseline,
    ) -> Stream<'s, Scored<K, V>> {
        if let Some(fault) = baseline.fault() {
            self.flow.fault(name, fault);
        }
        let metrics = self.stage(name);
        let environment = &self.flow.building().environment;
        let control = environment.control.clone();
        let stage = BaselineStage {
            name: name.to_owned(),
            baseline,
            keys_max: environment.keys_max,
            fail: Box::new(move |error| control.fail(error)),
            metrics,
            slot: self.flow.building().snapshots.slot(name),
        };
        self.with(baseline::score(stage, self.records.clone(), self.watermark.clone(), measure))
    }
}
