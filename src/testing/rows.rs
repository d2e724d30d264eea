//! Rows compared as multisets: how often each row is there, in whatever order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

/// Rows of a kind that a difference shows at most.
const SHOWN_MAX: usize = 20;

/// How `found` differs from `expected` as a multiset of rows, or `None` if it does not.
///
/// Rows are compared by their JSON with keys in order, so `expected` may hold other types than `found`.
///
/// # Panics
/// If a row cannot be written as JSON.
pub fn difference<E: Serialize, F: Serialize>(
    expected: impl IntoIterator<Item = E>,
    found: impl IntoIterator<Item = F>,
) -> Option<String> {
    let mut rows: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    expected.into_iter().for_each(|row| rows.entry(json(&row)).or_default().0 += 1);
    found.into_iter().for_each(|row| rows.entry(json(&row)).or_default().1 += 1);
    let of = |count: fn(&(usize, usize)) -> usize| -> Vec<(&str, usize)> {
        rows.iter().map(|(row, counts)| (row.as_str(), count(counts))).filter(|(_, n)| *n > 0).collect()
    };
    let missing = of(|(expected, found)| expected.saturating_sub(*found));
    let surplus = of(|(expected, found)| found.saturating_sub(*expected));
    if missing.is_empty() && surplus.is_empty() {
        return None;
    }
    let total = |count: fn(&(usize, usize)) -> usize| rows.values().map(count).sum::<usize>();
    let mut text = format!("{} rows were expected, {} were found", total(|c| c.0), total(|c| c.1));
    list(&mut text, "missing", &missing);
    list(&mut text, "not expected", &surplus);
    Some(text)
}

fn list(text: &mut String, what: &str, rows: &[(&str, usize)]) {
    for (row, times) in rows.iter().take(SHOWN_MAX) {
        let times = if *times > 1 { format!(" {times} times") } else { String::new() };
        let _ = write!(text, "\n  {what}{times}: {row}");
    }
    if rows.len() > SHOWN_MAX {
        let _ = write!(text, "\n  {what}: {} more", rows.len() - SHOWN_MAX);
    }
}

/// The JSON of a row, with the keys of objects in order.
pub(super) fn json(row: &impl Serialize) -> String {
    serde_json::to_value(row).expect("a row can be written as JSON").to_string()
}

/// Orders rows as a person would: numbers by size, objects by their entries in the order of their keys.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    let kind = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    };
    let float = |number: &serde_json::Number| number.as_f64().unwrap_or(f64::NAN);
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => float(a).total_cmp(&float(b)),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let first = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|found| found.is_ne());
            first.unwrap_or(a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let entries = a.iter().zip(b).map(|((k, a), (l, b))| k.cmp(l).then_with(|| order(a, b)));
            entries.into_iter().find(|found| found.is_ne()).unwrap_or(a.len().cmp(&b.len()))
        }
        _ => kind(a).cmp(&kind(b)),
    }
}

/// Fails the test unless `found` holds the same rows as `expected`, each as often, in whatever order.
///
/// ```
/// use serde_json::json;
/// use tidewatch::testing::assert_same_rows;
///
/// assert_same_rows([json!({ "n": 1, "key": "a" }), json!(2)], [json!(2), json!({ "key": "a", "n": 1 })]);
/// ```
///
/// # Panics
/// With what is missing and what was not expected.
#[track_caller]
pub fn assert_same_rows<E: Serialize, F: Serialize>(
    expected: impl IntoIterator<Item = E>,
    found: impl IntoIterator<Item = F>,
) {
    if let Some(difference) = difference(expected, found) {
        panic!("{difference}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_in_the_order_of_their_numbers() {
        let mut rows = vec![json!({ "at": 60, "k": "a" }), json!({ "at": 7, "k": "b" }), json!({ "at": 7, "k": "a" })];
        rows.sort_by(order);
        assert_eq!(rows, [json!({ "at": 7, "k": "a" }), json!({ "at": 7, "k": "b" }), json!({ "at": 60, "k": "a" })]);
        let mut mixed = vec![json!([2, 1]), json!("x"), json!(1.5), json!([2]), json!(-3), json!(null)];
        mixed.sort_by(order);
        assert_eq!(mixed, [json!(null), json!(-3), json!(1.5), json!("x"), json!([2]), json!([2, 1])]);
    }

    #[test]
    fn lost_repeated_and_changed_rows_are_told() {
        assert_eq!(difference([1, 2, 2], [2, 1, 2]), None);
        assert_eq!(difference([1, 2, 2], [2, 1]).unwrap(), "3 rows were expected, 2 were found\n  missing: 2");
        assert_eq!(
            difference([1], [1, 1, 1]).unwrap(),
            "1 rows were expected, 3 were found\n  not expected 2 times: 1"
        );
        assert_eq!(
            difference(["a"], ["b"]).unwrap(),
            "1 rows were expected, 1 were found\n  missing: \"a\"\n  not expected: \"b\""
        );
        assert!(difference(0..100, 0..0).unwrap().ends_with("missing: 80 more"));
    }
}
