//! Per-key baselines: how unusual is this window for this key, in standard deviations?
//!
//! Each key has an exponentially weighted mean and variance of a measure over its past windows. A window is scored
//! against what was known *before* it, and then becomes part of it. The update is that of T. Finch, "Incremental
//! calculation of weighted mean and variance" (University of Cambridge, 2009), section 9.
//!
//! Windows are scored in order of their end, and only once the watermark has passed it, so the score depends on the
//! key's windows alone, also where windows of several sources are merged. A window in which the key had no record does
//! not exist and is not counted as zero.

mod snapshots;

use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::operator::Operator;

use self::snapshots::BaselineSnapshots;
use crate::error::stage::StageName;
use crate::error::{Error, ErrorKind};
use crate::operators::interval::Window;
use crate::operators::pending::Pending;
use crate::record::{Event, Record};
use crate::state::key::{KEY_GROUPS, Key, key_group};
use crate::state::snapshot::{SLICE_WAIT, Slot};
use crate::telemetry::StageMetrics;
use crate::time::{Epoch, EventTime, millis};

/// The parameters of a baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// The weight of the newest window, in (0, 1]: 0.1 remembers about the last twenty windows. Default 0.1.
    pub weight: f64,
    /// Windows that a key needs before it is scored, at least 1. Default 12.
    pub warm_up: u64,
    /// The least standard deviation that is assumed, in units of the measure: without it any change of a key that never
    /// changes would be infinitely unusual. Default 1.
    pub floor: f64,
    /// A key without a window for so long is forgotten and warms up again. Default 7 days.
    pub forget_after: Duration,
}

impl Default for Baseline {
    fn default() -> Self {
        Baseline { weight: 0.1, warm_up: 12, floor: 1.0, forget_after: Duration::from_secs(7 * 24 * 3600) }
    }
}

impl Baseline {
    /// Why these parameters are invalid, if they are.
    pub(crate) fn fault(&self) -> Option<String> {
        if !(self.weight > 0.0 && self.weight <= 1.0) {
            Some(format!("the weight of a baseline must be above 0 and at most 1, got {}", self.weight))
        } else if self.warm_up < 1 {
            Some("a baseline needs a warm-up of at least 1 window".to_owned())
        } else if !(self.floor > 0.0 && self.floor.is_finite()) {
            Some(format!("the floor of a baseline must be above 0, got {}", self.floor))
        } else {
            None
        }
    }
}

/// A window and how unusual it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored<K, V> {
    /// The window.
    pub window: Window<K, V>,
    /// Its measure.
    pub measure: f64,
    /// The key's mean before this window.
    pub mean: f64,
    /// The key's standard deviation before this window, not below the floor.
    pub deviation: f64,
    /// How many deviations the measure is above the mean; negative below it.
    pub score: f64,
}

impl<K: Record, V: Record> Event for Scored<K, V> {
    fn event_time(&self) -> EventTime {
        self.window.event_time()
    }
}

/// The statistics of one key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct KeyStatistics {
    windows: u64,
    mean: f64,
    variance: f64,
    last: EventTime,
}

impl KeyStatistics {
    /// Scores `measure` against the past, if there is enough of it, and adds it to the past.
    fn score(&mut self, baseline: &Baseline, measure: f64) -> Option<(f64, f64, f64)> {
        let deviation = self.variance.sqrt().max(baseline.floor);
        let scored =
            (self.windows >= baseline.warm_up).then(|| (self.mean, deviation, (measure - self.mean) / deviation));
        if self.windows == 0 {
            self.mean = measure;
        } else {
            let difference = measure - self.mean;
            let increment = baseline.weight * difference;
            self.mean += increment;
            self.variance = (1.0 - baseline.weight) * (self.variance + difference * increment);
        }
        self.windows += 1;
        scored
    }
}

/// The baselines of a worker's keys, by key group.
struct Keys<K> {
    baseline: Baseline,
    groups: Vec<HashMap<K, KeyStatistics>>,
    len: usize,
    newest: EventTime,
    /// The number of keys at which forgotten ones are dropped.
    sweep_at: usize,
}

impl<K: Key> Keys<K> {
    fn new(baseline: Baseline) -> Self {
        let groups = (0..KEY_GROUPS).map(|_| HashMap::new()).collect();
        Keys { baseline, groups, len: 0, newest: EventTime::MIN, sweep_at: SWEEP_MIN }
    }

    /// Scores a window whose key is in `group`.
    fn score<V>(&mut self, group: usize, window: Window<K, V>, measure: f64) -> Option<Scored<K, V>> {
        let fresh = KeyStatistics { windows: 0, mean: 0.0, variance: 0.0, last: window.end };
        let forget_ms = millis(self.baseline.forget_after);
        let known = match self.groups[group].entry(window.key.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                self.len += 1;
                place.insert(fresh)
            }
        };
        // Decided by the key's own windows, so it does not matter when the table is swept.
        if window.end.millis().saturating_sub(known.last.millis()) > forget_ms {
            *known = fresh;
        }
        known.last = window.end;
        let scored = known.score(&self.baseline, measure);
        self.newest = self.newest.max(window.end);
        scored.map(|(mean, deviation, score)| Scored { window, measure, mean, deviation, score })
    }

    /// Drops forgotten keys, if that is worthwhile.
    fn sweep(&mut self) {
        if self.len >= self.sweep_at {
            let (newest, forget_ms) = (self.newest.millis(), millis(self.baseline.forget_after));
            for group in &mut self.groups {
                group.retain(|_, known| newest.saturating_sub(known.last.millis()) <= forget_ms);
            }
            self.len = self.groups.iter().map(HashMap::len).sum();
            self.sweep_at = (self.len * 2).max(SWEEP_MIN);
        }
    }
}

/// The number of keys below which a sweep is not worthwhile.
const SWEEP_MIN: usize = 1024;

/// The parts of a baseline stage besides its windows.
pub struct BaselineStage {
    /// The stage's name.
    pub name: String,
    /// The parameters of the baseline.
    pub baseline: Baseline,
    /// The most keys that one worker holds.
    pub keys_max: usize,
    /// Called once when `keys_max` is exceeded.
    pub fail: Box<dyn Fn(Error)>,
    /// The stage's metrics.
    pub metrics: StageMetrics,
    /// The slot of its state.
    pub slot: Slot,
}

impl BaselineStage {
    #[cold]
    fn overflow(&self) -> Error {
        let message = format!("stage {:?} holds more than {} keys on one worker", self.name, self.keys_max);
        Error::new(ErrorKind::State, message)
            .hint("raise engine.keys_max, add workers, lower forget_after, or key by something with fewer values")
    }
}

/// Windows by their end, each with its measure, until the watermark has passed them.
struct HeldWindows<K, V>(BTreeMap<EventTime, Vec<Measured<K, V>>>);

type Measured<K, V> = (f64, Window<K, V>);

impl<K: Key, V: Record> HeldWindows<K, V> {
    fn hold(&mut self, measure: f64, window: Window<K, V>) {
        self.0.entry(window.end).or_default().push((measure, window));
    }

    /// Takes the windows that end by `watermark`, in an order that does not depend on how they arrived. The measure
    /// breaks ties, since the next mean depends on the order.
    fn ended(&mut self, watermark: EventTime) -> impl Iterator<Item = Measured<K, V>> {
        std::iter::from_fn(move || {
            let first = self.0.first_entry()?;
            (*first.key() <= watermark).then(|| first.remove())
        })
        .flat_map(|mut windows| {
            windows.sort_unstable_by(|(x, a), (y, b)| {
                (a.start, &a.key).cmp(&(b.start, &b.key)).then_with(|| x.total_cmp(y))
            });
            windows
        })
    }
}

/// Scores windows by their key's past. Windows in a key's warm-up are dropped.
pub fn score<'s, K: Key, V: Record>(
    mut stage: BaselineStage,
    windows: StreamVec<'s, Epoch, Window<K, V>>,
    watermark: StreamVec<'s, Epoch, EventTime>,
    measure: impl Fn(&Window<K, V>) -> f64 + 'static,
) -> StreamVec<'s, Epoch, Scored<K, V>> {
    let route = Exchange::new(|window: &Window<K, V>| key_group(&window.key));
    let scope = windows.scope();
    windows.binary_frontier::<_, CapacityContainerBuilder<Vec<Scored<K, V>>>, _, _, _, _>(
        watermark,
        route,
        Pipeline,
        &stage.name.clone(),
        move |initial, info| {
            drop(initial);
            let named = StageName::of(&stage.name);
            let activator = scope.activator_for(info.address);
            let mut snapshots = BaselineSnapshots::new(std::mem::replace(&mut stage.slot, Slot::off()));
            let mut state = BaselineState {
                keys: Keys::new(stage.baseline),
                held: HeldWindows(BTreeMap::new()),
                watermark: EventTime::MIN,
            };
            snapshots.restore(&mut state);
            let mut failed = false;
            let mut arrived: Pending<Vec<Window<K, V>>> = Pending::new(0);
            let mut passed: Pending<Vec<EventTime>> = Pending::new(0);
            move |(windows, windows_frontier), (watermarks, watermarks_frontier), output| {
                let _stage = named.enter();
                windows.for_each(|capability, batch| {
                    let Some(arrived) = arrived.at(&capability) else { return };
                    stage.metrics.records_in(batch.len() as u64);
                    arrived.append(batch);
                });
                watermarks.for_each(|capability, batch| {
                    let Some(passed) = passed.at(&capability) else { return };
                    passed.append(batch);
                });
                let frontiers = [windows_frontier, watermarks_frontier];
                let open = frontiers.iter().filter_map(|f| f.frontier().first().copied()).min();
                while let Some(epoch) = arrived.first().into_iter().chain(passed.first()).min()
                    && open.is_none_or(|open| epoch < open)
                {
                    snapshots.before(epoch, &state);
                    let (windows, watermarks) = (arrived.take(epoch), passed.take(epoch));
                    let Some(capability) = windows.as_ref().map(|w| &w.0).or(watermarks.as_ref().map(|w| &w.0)) else {
                        break;
                    };
                    let capability = capability.clone();
                    for window in windows.into_iter().flat_map(|(_, windows)| windows) {
                        state.held.hold(measure(&window), window);
                    }
                    let newest = watermarks.into_iter().flat_map(|(_, watermarks)| watermarks).max();
                    state.watermark = state.watermark.max(newest.unwrap_or(EventTime::MIN));
                    let mut session = output.session(&capability);
                    let (mut taken, mut scored) = (0, 0);
                    for (measured, window) in state.held.ended(state.watermark) {
                        taken += 1;
                        let group = key_group(&window.key) as usize;
                        snapshots.write(group, &state.keys);
                        if let Some(row) = state.keys.score(group, window, measured) {
                            scored += 1;
                            session.give(row);
                        }
                    }
                    if !snapshots.is_writing() {
                        state.keys.sweep();
                    }
                    stage.metrics.records_out(scored);
                    stage.metrics.filtered(taken - scored);
                    stage.metrics.keys(state.keys.len);
                    if state.keys.len > stage.keys_max && !std::mem::replace(&mut failed, true) {
                        (stage.fail)(stage.overflow());
                    }
                }
                snapshots.before(open.unwrap_or(Epoch::MAX), &state);
                if snapshots.slice(&state.keys) {
                    activator.activate_after(SLICE_WAIT);
                }
                if open.is_none() && state.watermark == EventTime::MAX {
                    snapshots.settle();
                }
            }
        },
    )
}

/// The state of a baseline stage on one worker.
struct BaselineState<K, V> {
    keys: Keys<K>,
    held: HeldWindows<K, V>,
    watermark: EventTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(measures: &[f64], baseline: Baseline) -> Vec<Option<f64>> {
        let mut keys = Keys::new(baseline);
        let window = |i: usize| {
            let start = EventTime::from_millis(i as i64 * 1000);
            Window { key: 1u64, start, end: start + Duration::from_secs(1), value: () }
        };
        measures.iter().enumerate().map(|(i, m)| keys.score(0, window(i), *m).map(|s| s.score)).collect()
    }

    #[test]
    fn scores_only_after_the_warm_up_and_against_the_past() {
        let baseline = Baseline { warm_up: 3, ..Baseline::default() };
        let found = scores(&[10.0, 10.0, 10.0, 14.0], baseline);
        assert_eq!(found, [None, None, None, Some(4.0)]); // deviation 0, so the floor of 1 counts
    }

    #[test]
    fn moments_are_those_of_the_weighted_sample() {
        let measures = [4.0, 8.0, 6.0, 5.0, 3.0, 7.0];
        let baseline = Baseline { weight: 0.25, warm_up: 6, floor: 1e-9, ..Baseline::default() };
        let weights: Vec<f64> =
            (0..6).map(|i| if i == 0 { 0.75f64.powi(5) } else { 0.25 * 0.75f64.powi(5 - i) }).collect();
        let mean: f64 = weights.iter().zip(measures).map(|(w, x)| w * x).sum();
        let variance: f64 = weights.iter().zip(measures).map(|(w, x)| w * (x - mean).powi(2)).sum();
        let found = scores(&[4.0, 8.0, 6.0, 5.0, 3.0, 7.0, 20.0], baseline)[6].unwrap();
        assert!((found - (20.0 - mean) / variance.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_key_that_was_away_too_long_starts_anew() {
        let baseline = Baseline { warm_up: 1, forget_after: Duration::from_secs(5), ..Baseline::default() };
        let mut keys = Keys::new(baseline);
        let mut at = |s: i64| {
            let start = EventTime::from_millis(s * 1000);
            keys.score(0, Window { key: 1u64, start, end: start, value: () }, 1.0).is_some()
        };
        assert_eq!([at(0), at(5), at(11), at(12)], [false, true, false, true]);
    }
}
