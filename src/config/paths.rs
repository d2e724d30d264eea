//! The paths in a configuration, for whoever shows or compares them: what was written, and what it was expanded to.

use crate::settings::{Node, Value, join, path};

/// Tables that hold paths of connectors and of the engine.
const TABLES: [&str; 4] = ["sources", "sinks", "dead_letters", "engine"];

/// Keys whose values are read as paths, wherever they are in those tables.
const KEYS: [&str; 6] = ["path", "file", "ca", "certificate", "state_dir", "checkpoint_store"];

/// A path that was expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpandedPath {
    /// The key, dotted.
    pub(crate) key: String,
    /// What was written.
    pub(crate) written: String,
    /// What it stands for.
    pub(crate) expanded: String,
}

/// The paths of `tree` that stand for another text than was written, in the order of their keys.
pub(crate) fn expanded_paths(tree: &Node) -> Vec<ExpandedPath> {
    let mut found = Vec::new();
    for table in TABLES {
        if let Some(node) = tree.get(table) {
            walk(table, table, node, &mut found);
        }
    }
    found
}

fn walk(path: &str, key: &str, node: &Node, found: &mut Vec<ExpandedPath>) {
    match &node.value {
        Value::String(written) => {
            let expanded = expanded(key, written);
            if expanded != *written {
                found.push(ExpandedPath { key: path.to_owned(), written: written.clone(), expanded });
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| walk(&join(path, &i.to_string()), key, item, found));
        }
        _ => node.entries().for_each(|(key, entry)| walk(&join(path, key), key, entry, found)),
    }
}

/// What the value `written` under `key` is read as: a path that can be expanded is, everything else stays.
pub(super) fn expanded(key: &str, written: &str) -> String {
    let path = KEYS.contains(&key).then(|| path::expand(written).ok()).flatten();
    path.unwrap_or_else(|| written.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    #[test]
    fn paths_are_found_in_tables_and_lists() {
        let home = env!("CARGO_MANIFEST_DIR");
        let text = "[sources.a]\npath = ['$CARGO_MANIFEST_DIR/*.log', 'plain']\ntopic = '$CARGO_MANIFEST_DIR'\n\
                    tls.ca = '${CARGO_MANIFEST_DIR}/ca'\n[[sinks.b]]\npath = '$NO_SUCH_THING_SET'\n[[sinks.b]]\npath = 'x$$y'\n\
                    [params]\npath = '${CARGO_MANIFEST_DIR}'\n[engine]\nstate_dir = '$CARGO_MANIFEST_DIR'\n";
        let tree = Layers::new("x").defaults(text).merge().unwrap();
        let found: Vec<(String, String)> = expanded_paths(&tree).into_iter().map(|p| (p.key, p.expanded)).collect();
        let expected = [
            ("sources.a.path.0", format!("{home}/*.log")),
            ("sources.a.tls.ca", format!("{home}/ca")),
            ("sinks.b.1.path", "x$y".to_owned()),
            ("engine.state_dir", home.to_owned()),
        ];
        assert_eq!(found, expected.map(|(key, path)| (key.to_owned(), path)));
    }
}
