//! The dataflow that simulations run: one source, a filter, a map, tumbling and hopping windows, a baseline, a
//! collection, four sinks.

use tidewatch::flow::Dataflow;
use tidewatch::prelude::*;

pub(crate) const SOURCE: &str = "readings";
pub(crate) const MINUTES: &str = "minutes";
pub(crate) const PEAKS: &str = "peaks";
pub(crate) const TOTALS: &str = "totals";
pub(crate) const SCORES: &str = "scores";

/// Readings below it are dropped.
pub(crate) const VALUE_MIN: u64 = 10;

/// The windows of `minutes`.
pub(crate) const MINUTE_MS: u64 = 5_000;

/// The windows of `peaks`, how often one begins, and how many readings make one.
pub(crate) const PEAK_MS: u64 = 6_000;
pub(crate) const PEAK_EVERY_MS: u64 = 2_000;
pub(crate) const PEAK_COUNT: u64 = 2;

#[derive(Event)]
struct Reading {
    #[event(time)]
    ts: EventTime,
    key: Text,
    value: u64,
}

#[derive(Event)]
struct Doubled {
    #[event(time)]
    at: EventTime,
    key: Text,
    twice: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Peak {
    key: Text,
    start: EventTime,
    count: u64,
    sum: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Score {
    key: Text,
    start: EventTime,
    mean: f64,
    score: f64,
}

/// Windows of a key before it is scored.
pub(crate) const WARM_UP: u64 = 2;

pub(crate) fn peaks_and_minutes() -> Dataflow {
    dataflow("simulated", |flow: &Flow, _: &NoParams| {
        let doubled = flow
            .source::<Reading>(SOURCE)?
            .filter("large", |reading| reading.value >= VALUE_MIN)
            .map("doubled", |r| Doubled { at: r.ts, key: r.key, twice: 2 * r.value });
        let minutes = doubled
            .key_by(|reading| reading.key.clone())
            .window("per-minute", Tumbling::of(Duration::from_millis(MINUTE_MS)))
            .aggregate((Count, Max::of(|reading: &Doubled| reading.twice)));
        minutes.sink(MINUTES)?;
        let baseline = Baseline { warm_up: WARM_UP, ..Baseline::default() };
        minutes
            .baseline("usual", |window| window.value.1 as f64, baseline)
            .map("score", |s| Score { key: s.window.key, start: s.window.start, mean: s.mean, score: s.score })
            .sink(SCORES)?;
        doubled
            .map("key", |reading| reading.key.to_string())
            .with_collection("totals", |keys| keys.count())
            .sink(TOTALS)?;
        doubled
            .key_by(|reading| reading.key.clone())
            .window("per-peak", Hopping::of(Duration::from_millis(PEAK_MS)).every(Duration::from_millis(PEAK_EVERY_MS)))
            .aggregate((Count, Sum::of(|reading: &Doubled| reading.twice)))
            .filter("several", |window| window.value.0 >= PEAK_COUNT)
            .map("peak", |w| Peak { key: w.key, start: w.start, count: w.value.0, sum: w.value.1 })
            .sink_keyed(PEAKS, |peak| peak.key.to_string())
    })
}
