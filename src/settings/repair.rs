//! Finds every fault of a value that serde reads, although serde stops at the first one.
//!
//! After a fault the value is repaired and read again: a faulty or unknown key is removed, so that its default holds,
//! and a key that is missing gets some value that fits. What is then still wrong is the next fault. The repaired value
//! is never used: it only finds faults. Where no repair helps, such as for a fault of a struct as a whole, the faults
//! found so far are reported.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::{Fault, Node, Value, join, suggest};

/// The most faults that are searched for in one value: each one costs reading it again.
pub const READ_FAULTS_MAX: usize = 100;

/// Serde's message about a struct that lacks a field, up to the name.
const MISSING: &str = "missing field `";

/// One step down a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathStep {
    Key(String),
    Index(usize),
}

/// Where serde stopped, and why.
struct Stop {
    /// Down to the deepest node that exists.
    steps: Vec<PathStep>,
    fault: Fault,
}

impl Stop {
    /// The field that is missing, if that is the fault.
    fn missing(&self) -> Option<Vec<PathStep>> {
        let (name, _) = self.fault.message.strip_prefix(MISSING)?.split_once('`')?;
        Some([self.steps.as_slice(), &[PathStep::Key(name.to_owned())]].concat())
    }
}

/// Reads `node`, which is at `path` in the configuration, or finds its faults: at least one, at most
/// [`READ_FAULTS_MAX`].
pub(super) fn read<P: DeserializeOwned>(node: &Node, path: &str) -> Result<P, Vec<Fault>> {
    let stop = match attempt(node, path) {
        Ok(value) => return Ok(value),
        Err(stop) => stop,
    };
    let mut repair = Repair { tree: node.clone(), path, removed: BTreeSet::new(), filled: Vec::new() };
    let mut faults = Vec::new();
    let mut next = Some(stop);
    while let Some(stop) = next.take() {
        // A key that is missing because it was removed, or misspelt, is not a fault of its own.
        if !stop.missing().is_some_and(|missing| repair.explains(&missing)) {
            faults.push(stop.fault.clone());
        }
        if faults.len() < READ_FAULTS_MAX && repair.repair::<P>(&stop) {
            next = attempt::<P>(&repair.tree, path).err();
        }
    }
    Err(faults)
}

/// A tree that is being repaired.
struct Repair<'p> {
    tree: Node,
    path: &'p str,
    removed: BTreeSet<Vec<PathStep>>,
    filled: Vec<Vec<PathStep>>,
}

impl Repair<'_> {
    /// Removes the cause of `stop` from the tree; returns whether that was possible.
    fn repair<P: DeserializeOwned>(&mut self, stop: &Stop) -> bool {
        if self.filled.iter().any(|hole| stop.steps.starts_with(hole)) {
            return false;
        }
        if let Some(missing) = stop.missing() {
            return self.fill::<P>(&missing);
        }
        match stop.steps.last() {
            None => false,
            Some(PathStep::Key(_)) => self.remove(&stop.steps),
            Some(PathStep::Index(_)) => self.fill::<P>(&stop.steps) || self.remove(&stop.steps[..stop.steps.len() - 1]),
        }
    }

    /// Whether a missing key was removed, or a key beside it is a misspelling of it.
    fn explains(&self, missing: &[PathStep]) -> bool {
        let Some((PathStep::Key(name), above)) = missing.split_last() else { return false };
        let beside = self.removed.iter().filter_map(|steps| match steps.split_last() {
            Some((PathStep::Key(key), table)) if table == above => Some(key.as_str()),
            _ => None,
        });
        beside.into_iter().any(|key| key == name || suggest(key, [name.as_str()]).is_some())
    }

    fn remove(&mut self, steps: &[PathStep]) -> bool {
        let Some((PathStep::Key(key), above)) = steps.split_last() else { return false };
        let Some(Node { value: Value::Table(entries), .. }) = descend(&mut self.tree, above) else { return false };
        self.removed.insert(steps.to_vec());
        entries.remove(key).is_some()
    }

    /// Puts a value at `steps` that causes none of the remaining faults.
    fn fill<P: DeserializeOwned>(&mut self, steps: &[PathStep]) -> bool {
        let fits = |stop: &Stop| match stop.missing() {
            Some(missing) => missing != steps && !stop.steps.starts_with(steps),
            // A fault above it may be caused by what was put there.
            None => !stop.steps.starts_with(steps) && !steps.starts_with(&stop.steps),
        };
        let text = |text: &str| Value::String(text.to_owned());
        let candidates = [
            Value::Integer(1),
            text("1s"),
            text(""),
            Value::Float(1.0),
            Value::Bool(true),
            Value::Array(Vec::new()),
            Node::empty().value,
        ];
        for candidate in candidates {
            let before = self.tree.clone();
            if put(&mut self.tree, steps, candidate)
                && attempt::<P>(&self.tree, self.path).err().is_none_or(|s| fits(&s))
            {
                self.filled.push(steps.to_vec());
                return true;
            }
            self.tree = before;
        }
        false
    }
}

fn put(tree: &mut Node, steps: &[PathStep], value: Value) -> bool {
    let Some((last, above)) = steps.split_last() else { return false };
    match (descend(tree, above).map(|node| &mut node.value), last) {
        (Some(Value::Table(entries)), PathStep::Key(key)) => drop(entries.insert(key.clone(), Node::code(value))),
        (Some(Value::Array(items)), PathStep::Index(index)) if *index < items.len() => items[*index].value = value,
        _ => return false,
    }
    true
}

fn descend<'n>(tree: &'n mut Node, steps: &[PathStep]) -> Option<&'n mut Node> {
    steps.iter().try_fold(tree, |node, step| match (&mut node.value, step) {
        (Value::Table(entries), PathStep::Key(key)) => entries.get_mut(key),
        (Value::Array(items), PathStep::Index(index)) => items.get_mut(*index),
        _ => None,
    })
}

/// Reads the tree as it is.
fn attempt<P: DeserializeOwned>(tree: &Node, path: &str) -> Result<P, Stop> {
    serde_path_to_error::deserialize(tree).map_err(|error| stopped(tree, path, error.path(), error.inner().to_string()))
}

fn stopped(tree: &Node, path: &str, at: &Path, message: String) -> Stop {
    let (mut node, mut key, mut steps) = (tree, path.to_owned(), Vec::new());
    for segment in at {
        let (child, step) = match segment {
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                key = join(&key, name);
                (node.get(name), PathStep::Key(name.clone()))
            }
            Segment::Seq { index } => {
                key = join(&key, &index.to_string());
                let item = match &node.value {
                    Value::Array(items) => items.get(*index),
                    _ => None,
                };
                (item, PathStep::Index(*index))
            }
            Segment::Unknown => continue,
        };
        if let Some(child) = child {
            node = child;
            steps.push(step);
        }
    }
    Stop { steps, fault: Fault { key, location: Some(node.location.clone()), message } }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde::Deserialize;

    use super::super::{Bytes, Location, Secret};
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is only read")]
    struct Params {
        #[serde(default)]
        failures_min: u64,
        #[serde(default)]
        users_min: Option<u32>,
        #[serde(with = "crate::settings::duration", default = "minute")]
        window: Duration,
        ratio: f64,
        size: Bytes,
        mode: Mode,
        #[serde(default)]
        inner: Inner,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        numbers: Vec<u8>,
        #[serde(default)]
        token: Option<Secret>,
        #[serde(default)]
        by_name: BTreeMap<String, u8>,
    }

    fn minute() -> Duration {
        Duration::from_secs(60)
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Fast,
        Slow,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is only read")]
    struct Inner {
        #[serde(default)]
        a: u8,
        #[serde(with = "crate::settings::duration", default = "minute")]
        b: Duration,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "u8")]
    struct Even;

    impl TryFrom<u8> for Even {
        type Error = String;
        fn try_from(n: u8) -> Result<Self, String> {
            if n.is_multiple_of(2) { Ok(Even) } else { Err(format!("{n} is odd")) }
        }
    }

    /// The tree of some TOML, each value with the line of its key.
    fn tree(text: &str) -> Node {
        node(toml::from_str(text).unwrap())
    }

    fn node(value: toml::Value) -> Node {
        let value = match value {
            toml::Value::String(s) => Value::String(s),
            toml::Value::Integer(n) => Value::Integer(n),
            toml::Value::Float(n) => Value::Float(n),
            toml::Value::Boolean(b) => Value::Bool(b),
            toml::Value::Datetime(d) => Value::Datetime(d.to_string()),
            toml::Value::Array(items) => Value::Array(items.into_iter().map(node).collect()),
            toml::Value::Table(t) => Value::Table(t.into_iter().map(|(k, v)| (k, node(v))).collect()),
        };
        Node::code(value)
    }

    fn keys(text: &str) -> Vec<String> {
        keys_of(&read::<Params>(&tree(text), "params").map(|_| ()).unwrap_err())
    }

    fn keys_of(faults: &[Fault]) -> Vec<String> {
        faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect()
    }

    const GOOD: &str = "ratio = 0.5\nsize = '1KiB'\nmode = 'fast'\n";

    #[test]
    fn every_faulty_value_is_found_at_every_depth() {
        assert!(read::<Params>(&tree(GOOD), "params").is_ok());
        let found = keys(&format!(
            "{GOOD}failures_min = '10'\nusers_min = -1\nwindow = 5\nnope = 1\ntoken = 'hunter2'\n\
             numbers = [1, 'x', 256, 4]\nby_name = {{ a = 'x', b = 1, c = 300 }}\n\
             inner = {{ a = 1.5, b = 'x', c = 1 }}\nlist = [{{ a = 'x' }}, {{ a = 1, z = 1 }}]\n"
        ));
        let expected = [
            "params.by_name.a",
            "params.by_name.c",
            "params.failures_min",
            "params.inner.a",
            "params.inner.b",
            "params.inner.c",
            "params.list.0.a",
            "params.list.1.z",
            "params.nope",
            "params.numbers.1",
            "params.numbers.2",
            "params.token",
            "params.users_min",
            "params.window",
        ];
        let mut names: Vec<&str> = found.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{found:#?}");
        assert!(!found.concat().contains("hunter2"), "{found:#?}");
    }

    #[test]
    fn what_is_missing_is_found_once_and_beside_what_is_wrong() {
        assert_eq!(
            keys(""),
            ["params: missing field `ratio`", "params: missing field `size`", "params: missing field `mode`"]
        );
        // A required key that is wrong is not reported as missing as well.
        let found = keys("ratio = 'x'\nsize = 'lots'\nmode = 'fast'\n");
        assert_eq!(found.len(), 2, "{found:#?}");
        // Nor is one that is misspelt.
        let found = keys("ratoi = 1\nsize = '1B'\nmode = 'fast'\n");
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("params.ratoi: unknown field"), "{found:#?}");
        let found = keys("ratio = 'x'\nmode = 'medium'\nfailures_min = -1\n");
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found.contains(&"params: missing field `size`".to_owned()), "{found:#?}");
    }

    #[test]
    fn a_fault_of_the_whole_ends_the_search() {
        let faults = read::<Even>(&Node::code(Value::Integer(3)), "params").unwrap_err();
        assert_eq!(keys_of(&faults), ["params: 3 is odd"]);
        let faults = read::<BTreeMap<String, Even>>(&tree("a = 1\nb = 2\nc = 3\n"), "params").unwrap_err();
        assert_eq!(keys_of(&faults), ["params.a: 1 is odd", "params.c: 3 is odd"]);
        let faults = read::<Vec<Even>>(&node(toml::Value::from(vec![1, 2, 3])), "params").unwrap_err();
        assert_eq!(faults.len(), 1, "no value fits, and the list as a whole is what was asked for");
    }

    #[test]
    fn the_search_has_an_end() {
        let text: String = (0..=READ_FAULTS_MAX).map(|i| format!("k{i} = 1\n")).collect();
        assert_eq!(keys(&format!("{GOOD}{text}")).len(), READ_FAULTS_MAX);
    }

    #[test]
    fn a_fault_is_located_where_it_was_written() {
        let mut root = tree("a = 1\nb = 256\n");
        let at = |line| Location::File("x.toml".into(), line);
        let Value::Table(entries) = &mut root.value else { panic!("no table") };
        entries.get_mut("b").unwrap().location = at(2);
        let faults = read::<BTreeMap<String, u8>>(&root, "params").unwrap_err();
        assert_eq!((faults.len(), faults[0].location.clone()), (1, Some(at(2))));
    }
}
