//! Distributions of durations: exact to a thousandth of each, counted with weights, merged over workers and processes.
//!
//! A [HDR histogram](https://hdrhistogram.org) of microseconds. A handful of fixed buckets, as Prometheus expects them,
//! could not tell a 99.9th percentile of 101 ms from one of 240 ms; they are computed from it on request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use prometheus::core::{Metric, MetricVecBuilder};
use prometheus::{HistogramOpts, proto};
use serde::{Deserialize, Serialize};

use super::metrics::lock;

/// Longer durations are not told apart.
pub const DURATION_MAX: Duration = Duration::from_secs(3600);

/// Significant decimal digits of each duration.
const DIGITS: u8 = 3;

/// A distribution of durations from 1 µs to [`DURATION_MAX`]; those outside count as the nearest of these.
///
/// As JSON it is a list of pairs: a duration in microseconds, and how often it occurred.
///
/// ```
/// use std::time::Duration;
/// use tidewatch::telemetry::Distribution;
///
/// let mut latency = Distribution::default();
/// latency.record(Duration::from_millis(10), 990);
/// latency.record(Duration::from_millis(80), 10);
/// assert_eq!(latency.quantile(0.5).unwrap().as_millis(), 10);
/// assert_eq!(latency.quantile(0.999).unwrap().as_millis(), 80);
/// assert_eq!(Distribution::default().quantile(0.5), None);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Distribution(Histogram<u64>);

impl Default for Distribution {
    fn default() -> Self {
        let mut histogram = Histogram::new(DIGITS).expect("the digits are in range");
        histogram.auto(true);
        Distribution(histogram)
    }
}

impl Distribution {
    /// Counts `times` more of `duration`.
    pub fn record(&mut self, duration: Duration, times: u64) {
        let us = u64::try_from(duration.min(DURATION_MAX).as_micros()).expect("an hour has few enough microseconds");
        self.0.record_n(us.max(1), times).expect("a histogram that grows has room for an hour");
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The least duration that at least the share `q` (0 to 1) of all are within: 0.5 is the median, 1 the maximum.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(q)))
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Distribution) {
        self.0.add(&other.0).expect("a histogram that grows takes any other");
    }

    /// As Prometheus exports it, with these upper bounds in seconds.
    pub(super) fn in_buckets(&self, bounds: &[f64]) -> proto::Histogram {
        let bucket = |bound: &f64| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(self.0.count_between(0, (bound * 1e6) as u64));
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(bounds.iter().map(bucket).collect());
        histogram.set_sample_count(self.0.len());
        histogram.set_sample_sum(self.0.mean() * self.0.len() as f64 / 1e6);
        histogram
    }
}

impl From<Distribution> for Vec<(u64, u64)> {
    fn from(distribution: Distribution) -> Self {
        distribution.0.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect()
    }
}

impl From<Vec<(u64, u64)>> for Distribution {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut distribution = Distribution::default();
        pairs.into_iter().for_each(|(us, times)| distribution.record(Duration::from_micros(us), times));
        distribution
    }
}

/// A series of durations with its labels, which one thread records and others read. Clones are the same series.
#[derive(Clone)]
pub struct Durations(Arc<DurationSeries>);

struct DurationSeries {
    labels: Vec<proto::LabelPair>,
    bounds: Vec<f64>,
    distribution: Mutex<Distribution>,
}

impl Durations {
    /// Records each duration as often as given.
    pub(super) fn record(&self, durations: impl IntoIterator<Item = (Duration, u64)>) {
        let mut distribution = lock(&self.0.distribution);
        durations.into_iter().for_each(|(duration, times)| distribution.record(duration, times));
    }

    pub(super) fn get(&self) -> Distribution {
        lock(&self.0.distribution).clone()
    }
}

impl Metric for Durations {
    fn metric(&self) -> proto::Metric {
        let mut metric = proto::Metric::from_label(self.0.labels.clone());
        metric.set_histogram(lock(&self.0.distribution).in_buckets(&self.0.bounds));
        metric
    }
}

/// Creates the series of a family.
#[derive(Clone)]
pub(super) struct NewDurations;

impl MetricVecBuilder for NewDurations {
    type M = Durations;
    type P = HistogramOpts;

    fn build<V: AsRef<str>>(&self, opts: &HistogramOpts, values: &[V]) -> prometheus::Result<Durations> {
        let label = |(name, value): (&String, &V)| {
            let mut label = proto::LabelPair::default();
            label.set_name(name.clone());
            label.set_value(value.as_ref().to_owned());
            label
        };
        let mut labels: Vec<_> = opts.common_opts.variable_labels.iter().zip(values).map(label).collect();
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        let distribution = Mutex::default();
        Ok(Durations(Arc::new(DurationSeries { labels, bounds: opts.buckets.clone(), distribution })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pairs: &[(u64, u64)]) -> Distribution {
        pairs.to_vec().into()
    }

    proptest! {
        /// Compared with a sorted list of all durations, with the promised precision.
        #[test]
        fn quantiles_are_those_of_the_sorted_list(
            mut us in prop::collection::vec(prop_oneof![1u64..2_000, 1u64..3_600_000_000], 1..300),
            q in 0.0f64..=1.0,
        ) {
            let mut distribution = Distribution::default();
            us.iter().for_each(|us| distribution.record(Duration::from_micros(*us), 1));
            us.sort_unstable();
            let rank = ((q * us.len() as f64).ceil() as usize).clamp(1, us.len());
            // A rank that floating point cannot place exactly may be the adjacent one.
            let near = [rank.saturating_sub(1).max(1), rank, (rank + 1).min(us.len())].map(|rank| us[rank - 1]);
            let got = distribution.quantile(q).unwrap().as_micros() as f64;
            let within = |want: u64| (got - want as f64).abs() <= want as f64 / 1_000.0 + 1.0;
            prop_assert!(near.into_iter().any(within), "{got}, expected one of {near:?}");
        }
    }

    #[test]
    fn weights_count_and_merging_is_counting_together() {
        let mut one = of(&[(1_000, 98), (50_000, 1)]);
        one.merge(&of(&[(50_000, 1)]));
        assert_eq!(one, of(&[(1_000, 98), (50_000, 2)]));
        assert_eq!(one.count(), 100);
        assert_eq!(one.quantile(0.98).unwrap().as_millis(), 1);
        assert_eq!(one.quantile(0.99).unwrap().as_millis(), 50);
    }

    #[test]
    fn what_is_out_of_range_counts_as_the_nearest() {
        let mut distribution = Distribution::default();
        distribution.record(Duration::ZERO, 1);
        distribution.record(DURATION_MAX * 10, 1);
        assert_eq!(distribution.quantile(0.5), Some(Duration::from_micros(1)));
        assert_eq!(distribution.quantile(1.0).unwrap().as_secs(), DURATION_MAX.as_secs());
    }

    #[test]
    fn travels_as_pairs() {
        let sent = of(&[(7, 3), (123_456, 2)]);
        let text = serde_json::to_string(&sent).unwrap();
        assert_eq!(serde_json::from_str::<Distribution>(&text).unwrap(), sent);
        assert!(text.starts_with("[[7,3],"), "{text}");
    }

    #[test]
    fn buckets_are_cumulative() {
        let histogram = of(&[(900, 5), (40_000, 3), (2_000_000, 2)]).in_buckets(&[0.001, 0.05, 1.0]);
        let counts: Vec<u64> = histogram.get_bucket().iter().map(proto::Bucket::cumulative_count).collect();
        assert_eq!((counts, histogram.get_sample_count()), (vec![5, 8, 8], 10));
        assert!((histogram.get_sample_sum() - 4.1245).abs() < 0.005, "{}", histogram.get_sample_sum());
    }
}
