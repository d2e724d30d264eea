//! Events in four partitions, among them late, malformed and repeated ones; the same for the same seed.

use serde_json::{Value, json};

pub(crate) const PARTITIONS: usize = 4;

/// How far behind the newest event of its partition an event may be, in milliseconds: what `auth-windows` is run with.
pub(crate) const OUT_OF_ORDER_MS: i64 = 5_000;

/// The first event, in milliseconds since 1970: in the past whenever the tests run.
const START_MS: i64 = 1_714_521_600_000;

/// A small generator of numbers that are random enough.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// The lines of each partition, `records` in all.
pub(crate) fn partitions(records: usize, seed: u64) -> Vec<Vec<String>> {
    let mut random = Random(seed);
    let mut partitions = vec![Vec::new(); PARTITIONS];
    let mut at = START_MS;
    for number in 0..records {
        at += random.below(20) as i64;
        let partition: &mut Vec<String> = &mut partitions[number % PARTITIONS];
        partition.push(match random.below(200) {
            0 => "{\"ts\":".to_owned(),
            1 => event(at - 10 * OUT_OF_ORDER_MS, &mut random).to_string(),
            2 if !partition.is_empty() => partition[partition.len() - 1].clone(),
            _ => event(at - random.below(OUT_OF_ORDER_MS as u64 / 2) as i64, &mut random).to_string(),
        });
    }
    partitions
}

fn event(ts: i64, random: &mut Random) -> Value {
    let outcome = ["success", "failure"][random.below(2) as usize];
    json!({
        "ts": ts,
        "host": "h",
        "src_ip": format!("10.0.{}.{}", random.below(4), random.below(50)),
        "user": format!("u{}", random.below(30)),
        "action": "login",
        "outcome": outcome,
        "bytes": random.below(1_000),
        "message": "m",
    })
}
