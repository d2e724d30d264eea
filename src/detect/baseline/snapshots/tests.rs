use timely::dataflow::operators::vec::Map;

use super::super::{Baseline, BaselineStage, score};
use crate::operators::interval::Window;
use crate::state::snapshot::memory::same_from_every_snapshot;
use crate::telemetry::Metrics;
use crate::time::EventTime;

#[test]
fn baselines_resume_from_every_snapshot() {
    let arrivals: Vec<_> = (1..40i64)
        .map(|step| {
            let end = EventTime::from_millis(step * 1_000);
            let start = EventTime::from_millis(step * 1_000 - 1_000);
            let value = |key: u32| u64::from(key) * 31 % 17 + step.unsigned_abs() * u64::from(key % 7);
            let windows = (0..3_000).map(|key| Window { key, start, end, value: value(key) }).collect();
            // The watermark passes windows only later, so some of them wait when a snapshot is taken.
            (step.unsigned_abs() * 30, windows, EventTime::from_millis(step * 1_000 - 2_500))
        })
        .collect();
    let run = same_from_every_snapshot(&arrivals, |windows, watermark, slot| {
        let stage = BaselineStage {
            name: "usual".to_owned(),
            baseline: Baseline { warm_up: 3, ..Baseline::default() },
            keys_max: usize::MAX,
            fail: Box::new(|why| panic!("{why}")),
            metrics: Metrics::new("test").stage("usual", 0),
            slot,
        };
        let scored = score(stage, windows, watermark, |window: &Window<u32, u64>| window.value as f64);
        scored.map(|scored| (scored.window.start, scored.window.key, scored.score.to_bits()))
    });
    assert!(run.rows.len() > 50_000, "{} rows", run.rows.len());
}
