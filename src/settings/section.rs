//! One table of a configuration while it is being read, key by key.
//!
//! A section never stops at the first mistake, and [`Section::finish`] reports what nobody asked for: a misspelt key is a
//! fault, never a default.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;

use super::{Fault, Node, Setting, Value, join, suggest};

/// One table of the configuration while it is being read.
///
/// Call [`finish`](Section::finish) when everything was read: keys that nobody asked for are faults.
pub struct Section<'a> {
    path: String,
    table: Option<&'a Node>,
    asked: Vec<String>,
    faults: &'a mut Vec<Fault>,
    judged: bool,
}

impl<'a> Section<'a> {
    /// The section at `path`; `table` is `None` where nothing was written.
    pub fn new(path: impl Into<String>, table: Option<&'a Node>, faults: &'a mut Vec<Fault>) -> Self {
        let path = path.into();
        if let Some(node) = table
            && !matches!(node.value, Value::Table(_))
        {
            let message = format!("expected a table, found {}", node.value.found());
            faults.push(Fault { key: path.clone(), location: Some(node.location.clone()), message });
        }
        Section { path, table, asked: Vec::new(), faults, judged: true }
    }

    /// The dotted path of this section.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The node under `key`, if written. Counts as asked for.
    pub fn node(&mut self, key: &str) -> Option<&'a Node> {
        self.asked.push(key.to_owned());
        self.table?.get(key)
    }

    /// The table under `key` as a section of its own, empty if it was not written. Finish it before going on here.
    pub fn section(&mut self, key: &str) -> Section<'_> {
        let table = self.node(key);
        Section::new(self.key(key), table, self.faults)
    }

    /// Reads the table, or every table of the list, under `key`; nothing if it was not written.
    ///
    /// The sections of a list are called `key.0`, `key.1` and so on.
    pub fn tables<R>(&mut self, key: &str, mut read: impl FnMut(Section<'_>) -> R) -> Vec<R> {
        let path = self.key(key);
        match self.node(key) {
            None => Vec::new(),
            Some(Node { value: Value::Array(items), .. }) => {
                let section = |(i, item)| read(Section::new(format!("{path}.{i}"), Some(item), self.faults));
                items.iter().enumerate().map(section).collect()
            }
            Some(node) => vec![read(Section::new(path, Some(node), self.faults))],
        }
    }

    /// The value of `key`, or `None` if it was not written. A value of the wrong type is a fault and reads as `None`.
    pub fn optional<V: Setting>(&mut self, key: &str) -> Option<V> {
        let node = self.node(key)?;
        match V::read(&node.value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.fault_at(key, node, V::misfit(&node.value, &why));
                None
            }
        }
    }

    /// The value of `key`; that it is missing is a fault.
    pub fn required<V: Setting>(&mut self, key: &str) -> Option<V> {
        if self.node(key).is_none() {
            self.missing(key, &format!("expected {}", V::expected()));
            return None;
        }
        self.optional(key)
    }

    /// The value of `key`, or `default` if it was not written or is faulty.
    pub fn or<V: Setting>(&mut self, key: &str, default: V) -> V {
        self.optional(key).unwrap_or(default)
    }

    /// The value of `key`, which must lie in `range`, or `default` if it was not written or is faulty.
    pub fn within<V>(&mut self, key: &str, range: RangeInclusive<V>, default: V) -> V
    where
        V: Setting + PartialOrd + fmt::Debug,
    {
        match self.optional(key) {
            Some(value) if range.contains(&value) => value,
            Some(value) => {
                let (least, most) = (range.start().show(), range.end().show());
                self.fault(key, format!("expected {least} to {most}, found {}", value.show()));
                default
            }
            None => default,
        }
    }

    /// The choice named by `key` among `allowed`, or `default` if it was not written or is none of them.
    pub fn choice<V: Clone>(&mut self, key: &str, allowed: &[(&str, V)], default: V) -> V {
        self.chosen(key, allowed, default.clone()).unwrap_or(default)
    }

    /// What decides which other keys there are: as [`choice`](Self::choice), but `None` if what was written is none of
    /// `allowed`. The other keys are then not judged, since nobody knows whose they are.
    pub fn kind<V: Clone>(&mut self, key: &str, allowed: &[(&str, V)], default: V) -> Option<V> {
        let chosen = self.chosen(key, allowed, default);
        self.judged &= chosen.is_some();
        chosen
    }

    /// The choice, the default if none was written, or `None` and a fault if it is none of `allowed`.
    fn chosen<V: Clone>(&mut self, key: &str, allowed: &[(&str, V)], default: V) -> Option<V> {
        let Some(node) = self.node(key) else { return Some(default) };
        let written = match &node.value {
            Value::String(written) => written.as_str(),
            _ => "",
        };
        if let Some((_, value)) = allowed.iter().find(|(name, _)| *name == written) {
            return Some(value.clone());
        }
        let names: Vec<String> = allowed.iter().map(|(name, _)| format!("{name:?}")).collect();
        let meant = match suggest(written, allowed.iter().map(|(name, _)| *name)) {
            Some(name) => format!("; did you mean {name:?}?"),
            None => String::new(),
        };
        let found = node.value.found();
        self.fault_at(key, node, format!("expected one of {}, found {found}{meant}", names.join(", ")));
        None
    }

    /// The table under `key` as a value of a type that serde can read; where it was not written, an empty table is read.
    ///
    /// Every fault that [`Node::read`] finds is reported.
    pub fn deserialize<P: DeserializeOwned>(&mut self, key: &str) -> Option<P> {
        let path = self.key(key);
        let read = match self.node(key) {
            Some(node) => node.read(&path),
            None => Node::empty().read(&path).map_err(nowhere),
        };
        read.map_err(|faults| self.faults.extend(faults)).ok()
    }

    /// Reports that `key` is missing; `what` says what belongs there.
    pub fn missing(&mut self, key: &str, what: &str) {
        let location = self.table.map(|node| node.location.clone());
        self.faults.push(Fault { key: self.key(key), location, message: format!("missing: {what}") });
    }

    /// Reports a fault of the value written under `key`.
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        match self.node(key) {
            Some(node) => self.fault_at(key, node, message.into()),
            None => self.faults.push(Fault { key: self.key(key), location: None, message: message.into() }),
        }
    }

    fn fault_at(&mut self, key: &str, node: &Node, message: String) {
        self.faults.push(Fault { key: self.key(key), location: Some(node.location.clone()), message });
    }

    fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Reports every key that nobody asked for, unless a faulty [`kind`](Self::kind) leaves open who would have.
    pub fn finish(self) {
        let Some(table) = self.table.filter(|_| self.judged) else { return };
        let mut allowed: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        allowed.sort_unstable();
        allowed.dedup();
        for (key, node) in table.entries().filter(|(key, _)| !allowed.contains(key)) {
            let meant = match suggest(key, allowed.iter().copied()) {
                Some(name) => format!("; did you mean {name:?}?"),
                None => String::new(),
            };
            let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
            let message = format!("unknown key; allowed here: {allowed}{meant}");
            self.faults.push(Fault { key: self.key(key), location: Some(node.location.clone()), message });
        }
    }
}

/// Faults of what was not written at all.
pub(crate) fn nowhere(faults: Vec<Fault>) -> Vec<Fault> {
    faults.into_iter().map(|fault| Fault { location: None, ..fault }).collect()
}
