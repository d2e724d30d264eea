//! A source or sink that a later layer gives another `kind` starts afresh.
//!
//! The keys of the old kind mean nothing to the new one, and would be reported as unknown: `--set
//! sinks.alerts.kind=null` must be enough. What the layer that changes the kind wrote itself stays, as do keys that
//! every kind has.

use std::path::Path;

use crate::settings::{Location, Node, Value};

/// Keys of a source that mean the same for every kind.
pub(crate) const SOURCE_KEYS: [&str; 5] = ["out_of_order", "idle_after", "future_max", "record_bytes_max", "year"];

/// The layer that was merged last.
pub(super) enum Layer<'a> {
    /// A file.
    File(&'a Path),
    /// All `--set` together, so that their order does not matter.
    CommandLine,
}

impl Layer<'_> {
    fn wrote(&self, location: &Location) -> bool {
        match (self, location) {
            (Layer::File(file), Location::File(path, _)) => file == path,
            (Layer::CommandLine, Location::CommandLine(_)) => true,
            _ => false,
        }
    }
}

/// Drops from `after` what was in `before` of every source or sink whose kind `layer` has changed.
pub(super) fn drop_replaced(before: &Node, after: &mut Node, layer: &Layer<'_>) {
    let Value::Table(after) = &mut after.value else { return };
    for (group, kept) in [("sources", &SOURCE_KEYS[..]), ("sinks", &[])] {
        if let (Some(before), Some(Node { value: Value::Table(after), .. })) = (before.get(group), after.get_mut(group))
        {
            for (name, after) in after {
                if let Some(before) = before.get(name) {
                    section(before, after, kept, layer);
                }
            }
        }
    }
    if let (Some(before), Some(after)) = (before.get("dead_letters"), after.get_mut("dead_letters")) {
        section(before, after, &[], layer);
    }
}

/// One source or sink, or each of a list of sinks.
fn section(before: &Node, after: &mut Node, kept: &[&str], layer: &Layer<'_>) {
    if let (Value::Array(before), Value::Array(after)) = (&before.value, &mut after.value) {
        for (before, after) in before.iter().zip(after) {
            section(before, after, kept, layer);
        }
        return;
    }
    let (Some((old, _)), Some((new, at))) = (kind(before), kind(after)) else { return };
    if old == new {
        return;
    }
    let at = at.clone();
    if let Value::Table(entries) = &mut after.value {
        entries.retain(|key, node| kept.contains(&key.as_str()) || keep_written(node, layer));
    }
    after.location = at;
}

fn kind(node: &Node) -> Option<(&str, &Location)> {
    match node.get("kind") {
        Some(Node { value: Value::String(kind), location }) => Some((kind, location)),
        _ => None,
    }
}

/// Keeps only what `layer` wrote in `node`, and returns whether anything is left.
fn keep_written(node: &mut Node, layer: &Layer<'_>) -> bool {
    let written = layer.wrote(&node.location);
    match &mut node.value {
        Value::Table(entries) => {
            entries.retain(|_, node| keep_written(node, layer));
            written || !entries.is_empty()
        }
        _ => written,
    }
}
