//! What a test run left behind.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::rows::{json, order};
use crate::connectors::capture::{Capture, Row};
use crate::flow::{Change, DEAD_LETTERS};
use crate::record::DeadLetter;
use crate::telemetry::Totals;

/// The rows of every sink, the dead letters and the counters of a test run.
#[derive(Clone, Debug)]
pub struct Results {
    sinks: BTreeMap<String, Vec<Row>>,
    totals: Totals,
    /// Sinks of which the dataflow knows that their rows are changes.
    changes: Vec<String>,
}

impl Results {
    pub(super) fn new(captures: &BTreeMap<String, Capture>, totals: Totals, changes: Vec<String>) -> Self {
        let sinks = captures.iter().map(|(name, capture)| (name.clone(), capture.rows())).collect();
        Results { sinks, totals, changes }
    }

    pub(super) fn changes(&self) -> &[String] {
        &self.changes
    }

    /// The rows of `sink`, sorted: in one order, whichever workers wrote them. Objects are ordered by their entries in the order
    /// of the keys, numbers by size.
    ///
    /// # Panics
    /// If there is no such sink, or a row of it is no `T`.
    #[track_caller]
    pub fn rows<T: DeserializeOwned>(&self, sink: &str) -> Vec<T> {
        self.keyed(sink).into_iter().map(|(_, row)| row).collect()
    }

    /// The rows of `sink` as JSON, sorted.
    ///
    /// # Panics
    /// If there is no such sink.
    #[track_caller]
    pub fn json(&self, sink: &str) -> Vec<Value> {
        self.rows(sink)
    }

    /// What the changes in `sink` add up to: the rows of the collection after the last [`Change`], each as often as it is
    /// there, sorted. In which steps it changed depends on the cut into epochs; this does not.
    ///
    /// # Panics
    /// If there is no such sink, its rows are no changes of a `T`, or a row is taken away more often than it was there.
    #[track_caller]
    pub fn collection<T: DeserializeOwned>(&self, sink: &str) -> Vec<T> {
        let mut times: BTreeMap<String, (i64, Value)> = BTreeMap::new();
        for Change { row, by } in self.rows::<Change<Value>>(sink) {
            times.entry(json(&row)).or_insert((0, row)).0 += by;
        }
        let mut rows = Vec::new();
        for (text, (times, row)) in times {
            let times =
                usize::try_from(times).unwrap_or_else(|_| panic!("sink {sink:?}: {text} is there {times} times"));
            rows.extend(std::iter::repeat_n(row, times));
        }
        rows.sort_by(order);
        let typed = |row: Value| {
            let text = row.to_string();
            serde_json::from_value(row).unwrap_or_else(|why| panic!("sink {sink:?}: {text} is not of the type: {why}"))
        };
        rows.into_iter().map(typed).collect()
    }

    /// The rows of `sink` with the keys that [`sink_keyed`](crate::flow::Stream::sink_keyed) gave them (empty for
    /// [`sink`](crate::flow::Stream::sink)), sorted by the rows.
    ///
    /// # Panics
    /// If there is no such sink, a row of it is no `T`, or a key is no text.
    #[track_caller]
    pub fn keyed<T: DeserializeOwned>(&self, sink: &str) -> Vec<(String, T)> {
        let Some(rows) = self.sinks.get(sink) else {
            let names: Vec<&str> = self.sink_names().collect();
            panic!("there is no sink {sink:?}; there are: {}", names.join(", "));
        };
        let mut sorted: Vec<(Value, &Row)> = rows.iter().map(|row| (value(sink, &row.1), row)).collect();
        sorted.sort_by(|a, b| order(&a.0, &b.0).then_with(|| a.1.cmp(b.1)));
        let row = |(value, (key, row)): (Value, &Row)| {
            let key = String::from_utf8(key.clone().unwrap_or_default()).expect("the key of a row is text");
            match serde_json::from_slice(row) {
                Ok(row) => (key, row),
                Err(why) => panic!("a row of sink {sink:?} is not of the type asked for: {why}: {value}"),
            }
        };
        sorted.into_iter().map(row).collect()
    }

    /// The dead letters, sorted by source, partition and offset.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters: Vec<DeadLetter> = self.rows(DEAD_LETTERS);
        letters.sort_by(|a, b| (&a.source, &a.partition, a.offset, a).cmp(&(&b.source, &b.partition, b.offset, b)));
        letters
    }

    /// What was counted.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The names of the dataflow's sinks, without that of the dead letters.
    pub fn sink_names(&self) -> impl Iterator<Item = &str> {
        self.sinks.keys().map(String::as_str).filter(|name| *name != DEAD_LETTERS)
    }
}

fn value(sink: &str, row: &[u8]) -> Value {
    serde_json::from_slice(row).unwrap_or_else(|why| panic!("a row of sink {sink:?} is no JSON: {why}"))
}
