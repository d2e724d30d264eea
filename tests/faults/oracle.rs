//! What `auth-windows` must come to, computed in one go without any of its code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::check::Rows;
use super::input::OUT_OF_ORDER_MS;

/// The size of a window, and the failures that raise an alert.
pub(crate) const WINDOW_MS: i64 = 60_000;
pub(crate) const FAILURES_MIN: u64 = 5;

/// How many events confirm what a clock shows.
const CONFIRMATIONS: usize = 16;

/// What each sink must have.
pub(crate) struct Expected {
    pub(crate) windows: Rows,
    pub(crate) alerts: Rows,
    pub(crate) dead_letters: Rows,
}

#[derive(Default)]
struct Window {
    count: u64,
    failures: u64,
    users: BTreeSet<String>,
    bytes: u64,
}

/// Takes the lines of each partition, with what dead letters call the partition and the offset of each line.
pub(crate) fn expected(partitions: &[(String, Vec<(u64, String)>)]) -> Expected {
    let mut windows: BTreeMap<(i64, String), Window> = BTreeMap::new();
    let mut dead_letters = Rows::new();
    for (label, lines) in partitions {
        let (mut greatest, mut admitted) = (i64::MIN, 0);
        for (offset, line) in lines {
            let mut refuse = |reason: &str| dead_letters.insert(format!("{label}@{offset}"), Value::from(reason));
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                refuse("malformed");
                continue;
            };
            let ts = event["ts"].as_i64().unwrap();
            // Nothing is known of the partition's clock before sixteen events have confirmed the first.
            if admitted > CONFIRMATIONS && ts < greatest.saturating_sub(OUT_OF_ORDER_MS) {
                refuse("late");
                continue;
            }
            greatest = greatest.max(ts);
            admitted += 1;
            let key = (ts - ts.rem_euclid(WINDOW_MS), event["src_ip"].as_str().unwrap().to_owned());
            let window = windows.entry(key).or_default();
            window.count += 1;
            window.failures += u64::from(event["outcome"] == "failure");
            window.users.insert(event["user"].as_str().unwrap().to_owned());
            window.bytes += event["bytes"].as_u64().unwrap();
        }
    }
    let mut expected = Expected { windows: Rows::new(), alerts: Rows::new(), dead_letters };
    for ((start, ip), window) in windows {
        let row = json!({
            "window_start": start, "src_ip": ip, "count": window.count, "failures": window.failures,
            "distinct_users": window.users.len(), "sum_bytes": window.bytes,
            "avg_bytes": window.bytes as f64 / window.count as f64,
        });
        expected.windows.insert(window_id(&row), row);
        if window.failures >= FAILURES_MIN {
            let alert = json!({ "window_start": start, "src_ip": ip, "failures": window.failures });
            expected.alerts.insert(window_id(&alert), alert);
        }
    }
    expected
}

/// What identifies a row of a window, or an alert.
pub(crate) fn window_id(row: &Value) -> String {
    format!("{}/{}", row["window_start"], row["src_ip"])
}

/// A dead letter: what identifies it, and its reason.
pub(crate) fn letter(row: &Value) -> (String, Value) {
    (format!("{}@{}", row["partition"].as_str().unwrap(), row["offset"]), row["reason"].clone())
}
