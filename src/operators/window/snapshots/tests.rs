use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::dataflow::operators::vec::Map;

use crate::operators::aggregate::{Count, Distinct, Sum};
use crate::operators::interval::Hopping;
use crate::operators::window::{WindowStage, window};
use crate::record::Event;
use crate::state::snapshot::memory::same_from_every_snapshot;
use crate::telemetry::Metrics;
use crate::time::EventTime;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Login {
    at: i64,
    key: u32,
    user: u32,
}

impl Event for Login {
    fn event_time(&self) -> EventTime {
        EventTime::from_millis(self.at)
    }
}

#[test]
fn windows_resume_from_every_snapshot() {
    // So many keys that a snapshot takes several slices, and so that some of them are written while records come in.
    let login = |epoch: i64, i: u32| Login { at: epoch * 100 + i64::from(i % 300), key: i * 7 % 6_000, user: i % 5 };
    let arrivals: Vec<_> = (1..60)
        .map(|step: i64| {
            let logins = (0..300).map(|i| login(step, i + 997 * u32::try_from(step).unwrap())).collect();
            (step.unsigned_abs() * 30, logins, EventTime::from_millis(step * 100 - 200))
        })
        .collect();
    let run = same_from_every_snapshot(&arrivals, |records, watermark, slot| {
        let stage = WindowStage {
            name: "per-key".to_owned(),
            intervals: Hopping::of(Duration::from_millis(4_000)).every(Duration::from_millis(1_000)),
            keys_max: usize::MAX,
            fail: Box::new(|why| panic!("{why}")),
            metrics: Metrics::new("test").stage("per-key", 0),
            slot,
        };
        let aggregate = (Count, Distinct::of(|login: &Login| &login.user), Sum::of(|login: &Login| login.user));
        let (rows, late) = window(stage, records, watermark, |login: &Login| login.key, aggregate);
        late.map(|letter| panic!("{letter:?}") as ());
        rows.map(|row| (row.start, row.key, row.value))
    });
    assert!(run.rows.len() > 10_000, "{} rows", run.rows.len());
    assert!(run.slices > 2 * run.kept.len(), "{} slices for {} snapshots", run.slices, run.kept.len());
}
