//! A tree of configured values in which every value knows where it was written.
//!
//! Connectors, decoders and detectors read their part of it through a [`Section`], key by key. A section never stops at the
//! first mistake: each becomes a [`Fault`], and all faults of a configuration are reported together. A dataflow's own
//! parameters are read with serde instead, by [`Node::read`] or [`Section::deserialize`], which report all faults, too.
//!
//! Nothing here opens a file but [`Secret`], and nothing here ever prints one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

mod bytes;
pub mod duration;
mod params;
pub mod path;
pub(crate) mod regular;
mod repair;
mod secret;
mod section;
mod setting;
mod suggest;

pub use bytes::Bytes;
pub use repair::READ_FAULTS_MAX;
pub use secret::{SECRET_BYTES_MAX, Secret};
pub use section::Section;
pub(crate) use section::nowhere;
pub use setting::Setting;
pub use suggest::suggest;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// In a file, at a line counted from 1.
    File(PathBuf, usize),
    /// In the configuration compiled into the dataflow `.0`, at a line counted from 1.
    Builtin(String, usize),
    /// On the command line, as `--set .0=…`. The value is left out, since it might be secret.
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
    Table(BTreeMap<String, Node>),
}

impl Node {
    /// A value written in code.
    pub fn code(value: Value) -> Self {
        Node { location: Location::Code, value }
    }

    /// An empty table written in code.
    pub fn empty() -> Self {
        Node::code(Value::Table(BTreeMap::new()))
    }

    /// The entries of a table, in the order of their keys; none if this is no table.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let table = match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        };
        table.into_iter().flatten().map(|(key, node)| (key.as_str(), node))
    }

    /// The entry of a table under `key`.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(entries) => entries.get(key),
            _ => None,
        }
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

    /// What was found where something else was expected: the value if it is short enough to help, else its kind.
    pub(crate) fn found(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 60;
        match self {
            Value::String(s) if s.chars().count() > SHOWN_CHARS_MAX => {
                format!("{:?}…", s.chars().take(SHOWN_CHARS_MAX).collect::<String>())
            }
            Value::String(s) => format!("{s:?}"),
            Value::Integer(n) => n.to_string(),
            Value::Float(n) => format!("{n:?}"),
            Value::Bool(b) => b.to_string(),
            other => other.kind().to_owned(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::File(path, line) => write!(f, "{}:{line}", path.display()),
            Location::Builtin(dataflow, line) => write!(f, "<defaults of {dataflow}>:{line}"),
            Location::CommandLine(key) => write!(f, "--set {key}"),
            Location::Code => f.write_str("<code>"),
        }
    }
}

impl fmt::Display for Fault {
    /// `file:line: key: message`, without what is unknown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        // What was typed names the key already.
        let typed = matches!(&self.location, Some(Location::CommandLine(key)) if *key == self.key);
        if !self.key.is_empty() && !typed {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The dotted path of `key` below `path`, quoted as TOML would where a dot or a space would mislead.
pub(crate) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
