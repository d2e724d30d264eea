//! A tree of configured values in which every value knows where it was written.
//!
//! Connectors, decoders and detectors read their part of it through a [`Section`], key by key. A section never stops at the
//! first mistake: each becomes a [`Fault`], and all faults of a configuration are reported together.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// In a file, at a line counted from 1.
    File(PathBuf, usize),
    /// In the configuration compiled into the dataflow `.0`, at a line counted from 1.
    Builtin(String, usize),
    /// On the command line, as `--set …`.
    CommandLine(String),
    /// In code, such as a test.
    Code,
}

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, dotted from the root: `sources.events.path`.
    pub key: String,
    /// Where it was written; `None` if it is missing everywhere.
    pub location: Option<Location>,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// A value or a table of values, with locations.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it was written.
    pub location: Location,
    /// What was written.
    pub value: Value,
}

/// What can be written.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A date or time, as TOML writes it.
    Datetime(String),
    /// A list.
    Array(Vec<Node>),
    /// A table, in the order of its keys.
    Table(std::collections::BTreeMap<String, Node>),
}

impl Node {
    /// A value written in code.
    pub fn code(value: Value) -> Self {
        Node { location: Location::Code, value }
    }

    /// An empty table written in code.
    pub fn empty() -> Self {
        Node::code(Value::Table(Default::default()))
    }
}

impl Value {
    /// What it is, for a person: `a string`, `a table`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::File(path, line) => write!(f, "{}:{line}", path.display()),
            Location::Builtin(dataflow, line) => write!(f, "<defaults of {dataflow}>:{line}"),
            Location::CommandLine(text) => write!(f, "--set {text}"),
            Location::Code => f.write_str("<code>"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{location}: {}: {}", self.key, self.message),
            None => write!(f, "{}: {}", self.key, self.message),
        }
    }
}

/// A type that a configured value can be read as.
pub trait Setting: Sized {
    /// What is expected, for a person: `a duration such as "5s"`.
    const EXPECTED: &'static str;

    /// Reads the value, or says why it cannot be (an empty text means just "not what is expected").
    ///
    /// # Errors
    /// One line that completes "`key`: expected …".
    fn read(value: &Value) -> Result<Self, String>;
}

/// One table of the configuration while it is being read.
///
/// Call [`finish`](Section::finish) when everything was read: keys that nobody asked for are faults.
pub struct Section<'a> {
    path: String,
    table: Option<&'a Node>,
    asked: Vec<&'static str>,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Section<'a> {
    /// The section at `path`; `table` is `None` where nothing was written.
    pub fn new(path: impl Into<String>, table: Option<&'a Node>, faults: &'a mut Vec<Fault>) -> Self {
        let path = path.into();
        if let Some(node) = table
            && !matches!(node.value, Value::Table(_))
        {
            let message = format!("expected a table, found {}", node.value.kind());
            faults.push(Fault { key: path.clone(), location: Some(node.location.clone()), message });
        }
        Section { path, table, asked: Vec::new(), faults }
    }

    /// The dotted path of this section.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The node under `key`, if written. Counts as asked for.
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        match self.table.map(|node| &node.value) {
            Some(Value::Table(entries)) => entries.get(key),
            _ => None,
        }
    }

    /// The value of `key`, or `None` if it was not written. A value of the wrong type is a fault and reads as `None`.
    pub fn optional<V: Setting>(&mut self, key: &'static str) -> Option<V> {
        let node = self.node(key)?;
        match V::read(&node.value) {
            Ok(value) => Some(value),
            Err(why) => {
                let found = match &node.value {
                    Value::String(s) => format!("{s:?}"),
                    Value::Integer(n) => n.to_string(),
                    other => other.kind().to_owned(),
                };
                let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
                self.fault_at(key, node, format!("expected {}, found {found}{why}", V::EXPECTED));
                None
            }
        }
    }

    /// The value of `key`; that it is missing is a fault.
    pub fn required<V: Setting>(&mut self, key: &'static str) -> Option<V> {
        if self.node(key).is_none() {
            self.missing(key, &format!("expected {}", V::EXPECTED));
            return None;
        }
        self.optional(key)
    }

    /// The value of `key`, or `default` if it was not written or is faulty.
    pub fn or<V: Setting>(&mut self, key: &'static str, default: V) -> V {
        self.optional(key).unwrap_or(default)
    }

    /// The choice named by `key` among `allowed`, or `default` if it was not written or is none of them.
    pub fn choice<V: Clone>(&mut self, key: &'static str, allowed: &[(&str, V)], default: V) -> V {
        let Some(node) = self.node(key) else { return default };
        if let Value::String(written) = &node.value
            && let Some((_, value)) = allowed.iter().find(|(name, _)| name == written)
        {
            return value.clone();
        }
        let names: Vec<String> = allowed.iter().map(|(name, _)| format!("{name:?}")).collect();
        let found = match &node.value {
            Value::String(s) => format!("{s:?}"),
            other => other.kind().to_owned(),
        };
        self.fault_at(key, node, format!("expected one of {}, found {found}", names.join(", ")));
        default
    }

    /// Reports that `key` is missing; `what` says what belongs there.
    pub fn missing(&mut self, key: &str, what: &str) {
        let location = self.table.map(|node| node.location.clone());
        self.faults.push(Fault { key: self.key(key), location, message: format!("missing: {what}") });
    }

    /// Reports a fault of the value written under `key`.
    pub fn fault(&mut self, key: &'static str, message: impl Into<String>) {
        match self.node(key) {
            Some(node) => self.fault_at(key, node, message.into()),
            None => self.faults.push(Fault { key: self.key(key), location: None, message: message.into() }),
        }
    }

    fn fault_at(&mut self, key: &str, node: &Node, message: String) {
        self.faults.push(Fault { key: self.key(key), location: Some(node.location.clone()), message });
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self) {
        let Some(Node { value: Value::Table(entries), .. }) = self.table else { return };
        let mut allowed = self.asked.clone();
        allowed.sort_unstable();
        allowed.dedup();
        for (key, node) in entries {
            if !allowed.contains(&key.as_str()) {
                let message = format!("unknown key; allowed here: {}", allowed.join(", "));
                self.faults.push(Fault { key: self.key(key), location: Some(node.location.clone()), message });
            }
        }
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "a string";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(s) => Ok(s.clone()),
            _ => Err(String::new()),
        }
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path";
    fn read(value: &Value) -> Result<Self, String> {
        String::read(value).map(|s| Path::new(&s).to_owned())
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(b) => Ok(*b),
            _ => Err(String::new()),
        }
    }
}
