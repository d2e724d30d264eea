//! The layers of a configuration and how they merge.
//!
//! Later layers win key by key: tables merge, everything else, lists included, replaces. A table that changes its
//! `kind` starts afresh (see [`kinds`]).

use std::io;
use std::path::{Path, PathBuf};

use super::kinds::{self, Layer};
use super::set::Assignment;
use super::text::{self, TextOrigin};
use crate::settings::{Fault, Location, Node, Value, regular};

/// The largest configuration file that is read, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// The layers of a dataflow's configuration: its defaults, then files, then single keys.
///
/// ```
/// use tidewatch::config::Layers;
///
/// let tree = Layers::new("logins")
///     .defaults("[sources.events]\nkind = \"file\"\npath = \"/var/log/events.jsonl\"\n")
///     .set("sources.events.path=IN.jsonl")
///     .merge()
///     .unwrap();
/// let events = tree.get("sources").unwrap().get("events").unwrap();
/// assert_eq!(events.get("path").unwrap().location.to_string(), "--set sources.events.path");
/// ```
#[derive(Clone, Debug)]
pub struct Layers {
    dataflow: String,
    defaults: Option<String>,
    files: Vec<PathBuf>,
    sets: Vec<String>,
}

impl Layers {
    /// Without layers; `dataflow` names the defaults in messages.
    pub fn new(dataflow: impl Into<String>) -> Self {
        Layers { dataflow: dataflow.into(), defaults: None, files: Vec::new(), sets: Vec::new() }
    }

    /// The TOML text compiled into the dataflow: the lowest layer.
    #[must_use]
    pub fn defaults(mut self, text: impl Into<String>) -> Self {
        self.defaults = Some(text.into());
        self
    }

    /// A file above the defaults and the files before it. It is opened by [`merge`](Self::merge).
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// One key above all files, as `KEY=VALUE`.
    ///
    /// The key is dotted, with quotes where a part needs them; a number picks an entry of a list, counted from 0. The
    /// value is read as TOML, and taken as a string where it is not TOML: `sources.events.path=IN.jsonl`.
    #[must_use]
    pub fn set(mut self, assignment: impl Into<String>) -> Self {
        self.sets.push(assignment.into());
        self
    }

    /// Reads and merges the layers.
    ///
    /// # Errors
    /// Every file that cannot be read, every syntax error, every invalid assignment.
    pub fn merge(&self) -> Result<Node, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut tree = Node::empty();
        if let Some(defaults) = &self.defaults {
            match text::parse(&TextOrigin::Builtin(self.dataflow.clone()), defaults.as_bytes()) {
                Ok(layer) => merge(&mut tree, layer),
                Err(more) => faults.extend(more),
            }
        }
        for path in &self.files {
            match read(path) {
                Ok(layer) => {
                    let before = tree.clone();
                    merge(&mut tree, layer);
                    kinds::drop_replaced(&before, &mut tree, &Layer::File(path));
                }
                Err(more) => faults.extend(more),
            }
        }
        let mut assignments = Vec::new();
        for set in &self.sets {
            match Assignment::parse(set) {
                Ok(assignment) => assignments.push(assignment),
                Err(fault) => faults.push(fault),
            }
        }
        // An index is meaningless in a tree that lacks a faulty layer.
        if faults.is_empty() {
            let before = tree.clone();
            let applied = assignments.into_iter().map(|assignment| assignment.apply(&mut tree));
            faults.extend(applied.filter_map(Result::err));
            kinds::drop_replaced(&before, &mut tree, &Layer::CommandLine);
        }
        if faults.is_empty() { Ok(tree) } else { Err(faults) }
    }
}

/// Lays `over` upon `base`.
///
/// A merged table is located in the last text that it was written in, not at a `--set` of one of its keys: that is
/// where a missing key would be added.
pub(super) fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Table(entries), Value::Table(over_entries)) => {
            if !matches!(over.location, Location::CommandLine(_)) {
                base.location = over.location;
            }
            for (key, node) in over_entries {
                match entries.get_mut(&key) {
                    Some(entry) => merge(entry, node),
                    None => drop(entries.insert(key, node)),
                }
            }
        }
        (value, over_value) => {
            *value = over_value;
            base.location = over.location;
        }
    }
}

fn read(path: &Path) -> Result<Node, Vec<Fault>> {
    let fault = |message| vec![Fault { key: String::new(), location: None, message }];
    let bytes = regular::read(path, CONFIG_BYTES_MAX).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => fault(format!("no such configuration file: {}", path.display())),
        _ => fault(format!("cannot read configuration file {}: {e}", path.display())),
    })?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(fault(format!("configuration file {} exceeds {CONFIG_BYTES_MAX} bytes", path.display())));
    }
    text::parse(&TextOrigin::File(path.to_owned()), &bytes)
}
