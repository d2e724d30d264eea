//! What a simulation must come to, computed in one go without any of the engine's code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::check::Rows;
use super::flow::{MINUTE_MS, PEAK_COUNT, PEAK_EVERY_MS, PEAK_MS, VALUE_MIN, WARM_UP};
use super::input::{Input, OUT_OF_ORDER_MS, RECORD_BYTES_MAX};

/// What each sink must have, by what identifies a row.
pub(crate) struct Expected {
    pub(crate) minutes: Rows,
    pub(crate) scores: Rows,
    pub(crate) peaks: Rows,
    pub(crate) dead_letters: Rows,
}

/// A window's key and beginning, and of its readings how many, the greatest, and the sum.
type Windows = BTreeMap<(String, i64), (u64, u64, u64)>;

/// What comes of `input` if the records in `left_behind` came when the others had gone on without their partition: that alone
/// depends on what was read when.
pub(crate) fn expected(input: &Input, left_behind: &BTreeSet<String>) -> Expected {
    let (mut minutes, mut peaks) = (Windows::new(), Windows::new());
    let mut dead_letters = Rows::new();
    for (number, partition) in input.partitions.iter().enumerate() {
        let mut admitted = Vec::new();
        for (offset, record) in (partition.base..).zip(&partition.records) {
            let id = format!("p{number}@{offset}");
            match fate(record, reached(&admitted, input.jump_max_ms), left_behind.contains(&id)) {
                Err(reason) => drop(dead_letters.insert(id, Value::from(reason))),
                Ok((ts, key, value)) => {
                    admitted.push(ts);
                    if value >= VALUE_MIN {
                        add(&mut minutes, ts, &key, 2 * value, MINUTE_MS as i64, MINUTE_MS as i64);
                        add(&mut peaks, ts, &key, 2 * value, PEAK_MS as i64, PEAK_EVERY_MS as i64);
                    }
                }
            }
        }
    }
    let minute = |((key, start), (count, greatest, _)): ((String, i64), (u64, u64, u64))| {
        let end = start + MINUTE_MS as i64;
        json!({ "key": key, "start": start, "end": end, "value": [count, greatest] })
    };
    let peak = |((key, start), (count, _, sum)): ((String, i64), (u64, u64, u64))| json!({ "key": key, "start": start, "count": count, "sum": sum });
    peaks.retain(|_, (count, _, _)| *count >= PEAK_COUNT);
    let identified = |row: Value| (window_id(&row), row);
    let scores = scores(&minutes).into_iter().map(identified).collect();
    Expected {
        scores,
        minutes: minutes.into_iter().map(minute).map(identified).collect(),
        peaks: peaks.into_iter().map(peak).map(identified).collect(),
        dead_letters,
    }
}

/// How far the clock of a partition is after the events `admitted`: what the greatest of them shows, of those that are no jump or that
/// the sixteen events after them confirm.
fn reached(admitted: &[i64], jump_max_ms: i64) -> i64 {
    let mut reached = None;
    for (n, &ts) in admitted.iter().enumerate() {
        let near = |reached: i64| ts.saturating_sub(reached) <= jump_max_ms;
        let after = &admitted[n + 1..admitted.len().min(n + 17)];
        if jump_max_ms == i64::MAX || reached.is_some_and(near) {
            reached = reached.max(Some(ts));
        } else if after.iter().any(|later| *later < ts - jump_max_ms) {
            // It was one event with a wrong time.
        } else if after.len() == 16 {
            reached = reached.max(Some(ts));
        } else {
            break;
        }
    }
    reached.unwrap_or(i64::MIN)
}

/// How unusual each window's greatest reading is for its key, by the formulas that the baseline names.
fn scores(minutes: &Windows) -> Vec<Value> {
    let mut known: BTreeMap<&str, (u64, f64, f64)> = BTreeMap::new();
    let mut scores = Vec::new();
    for ((key, start), (_, greatest, _)) in minutes {
        let greatest = *greatest as f64;
        let (windows, mean, variance) = known.entry(key).or_insert((0, greatest, 0.0));
        if *windows >= WARM_UP {
            let score = (greatest - *mean) / variance.sqrt().max(1.0);
            scores.push(json!({ "key": key, "start": start, "mean": *mean, "score": score }));
        }
        let difference = greatest - *mean;
        *mean += 0.1 * difference;
        *variance = (1.0 - 0.1) * (*variance + difference * (0.1 * difference));
        *windows += 1;
    }
    scores
}

/// A reading's time, key and value, or why it is refused.
fn fate(record: &[u8], greatest: i64, left_behind: bool) -> Result<(i64, String, u64), &'static str> {
    if record.len() > RECORD_BYTES_MAX {
        return Err("too_large");
    }
    let text = std::str::from_utf8(record).map_err(|_| "not_utf8")?;
    let event: Value = serde_json::from_str(text).map_err(|_| "malformed")?;
    let ts = event["ts"].as_i64().unwrap();
    if ts > 200_000_000_000_000 {
        return Err("future");
    }
    if ts < greatest.saturating_sub(OUT_OF_ORDER_MS) {
        return Err("late");
    }
    if left_behind {
        return Err("late_after_idle");
    }
    Ok((ts, event["key"].as_str().unwrap().to_owned(), event["value"].as_u64().unwrap()))
}

fn add(windows: &mut Windows, ts: i64, key: &str, value: u64, size: i64, every: i64) {
    let mut start = ts - ts.rem_euclid(every);
    while start > ts - size {
        let (count, greatest, sum) = windows.entry((key.to_owned(), start)).or_default();
        *count += 1;
        *greatest = (*greatest).max(value);
        *sum += value;
        start -= every;
    }
}

/// What identifies a row of a window.
pub(crate) fn window_id(row: &Value) -> String {
    format!("{}/{}", row["key"], row["start"])
}

/// A dead letter: what identifies it, and its reason.
pub(crate) fn letter(row: &Value) -> (String, Value) {
    (format!("{}@{}", row["partition"].as_str().unwrap(), row["offset"]), row["reason"].clone())
}
