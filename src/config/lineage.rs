//! The properties that a dataflow and its configuration must share with those that a state directory was created for.

use std::collections::BTreeMap;

use super::paths::expanded;
use crate::checkpoint::identity::Fingerprint;
use crate::flow::launch::DataflowParts;
use crate::settings::{Node, Value};

/// Keys of a source that do not affect what earlier runs read or how it was judged, and may change from run to run.
const MAY_CHANGE: [&str; 9] =
    ["brokers", "properties", "security", "tls", "sasl", "discover_after", "on_gap", "journal_bytes_max", "at_end"];

/// The tables that the results of a dataflow depend on.
const TABLES: [&str; 2] = ["params", "sources"];

/// The fingerprint of the dataflow `name`: its parts, its parameters and its sources. Sinks may be wired elsewhere.
pub(crate) fn lineage(name: &str, parts: &DataflowParts, settings: &Node) -> Fingerprint {
    let mut entries = BTreeMap::from([("dataflow".to_owned(), format!("{name:?}"))]);
    for (kind, names) in [("sources", &parts.sources), ("stages", &parts.stages), ("sinks", &parts.sinks)] {
        entries.insert(kind.to_owned(), names.join(", "));
    }
    for table in TABLES {
        if let Some(node) = settings.get(table) {
            flatten(table, "", node, table == "sources", &mut entries);
        }
    }
    Fingerprint(entries)
}

/// Paths count expanded: another value of a variable is other input.
fn flatten(path: &str, key: &str, node: &Node, paths: bool, entries: &mut BTreeMap<String, String>) {
    match &node.value {
        Value::Table(_) => {
            for (key, node) in node.entries().filter(|(key, _)| !MAY_CHANGE.contains(key)) {
                flatten(&format!("{path}.{key}"), key, node, paths, entries);
            }
        }
        value => drop(entries.insert(path.to_owned(), text(value, if paths { key } else { "" }))),
    }
}

fn text(value: &Value, key: &str) -> String {
    match value {
        Value::String(text) => format!("{:?}", expanded(key, text)),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Datetime(time) => time.clone(),
        Value::Array(nodes) => {
            format!("[{}]", nodes.iter().map(|node| text(&node.value, key)).collect::<Vec<_>>().join(", "))
        }
        Value::Table(_) => {
            let entry = |(name, node): (&str, &Node)| format!("{name} = {}", text(&node.value, key));
            let table = Node { location: crate::settings::Location::Code, value: value.clone() };
            format!("{{ {} }}", table.entries().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn of(text: &str) -> Fingerprint {
        let parts = DataflowParts {
            sources: vec!["in".into()],
            stages: vec!["count".into()],
            sinks: vec!["out".into()],
            cuts: BTreeMap::new(),
        };
        lineage("flow", &parts, &Layers::new("flow").defaults(text).merge().unwrap())
    }

    #[test]
    fn what_decides_the_answer_counts_and_nothing_else() {
        let one =
            of("params.size = '1m'\n[sources.in]\nkind = 'kafka'\ntopic = 't'\nbrokers = 'a'\nout_of_order = '1s'");
        let same =
            of("params.size = '1m'\nengine.tick = '1s'\n[sinks.out]\nkind = 'null'\n[sources.in]\nkind = 'kafka'\n\
                       topic = 't'\nbrokers = 'b'\nout_of_order = '1s'");
        assert_eq!(one, same);
        let other = of("params.size = '2m'\n[sources.in]\nkind = 'kafka'\ntopic = 't'\nout_of_order = '2s'");
        assert_eq!(
            one.differences(&other, 9),
            ["params.size was \"1m\" and is \"2m\"", "sources.in.out_of_order was \"1s\" and is \"2s\""]
        );
        assert_eq!(one.0["stages"], "count");
        let path = |path: &str| of(&format!("[sources.in]\npath = ['{path}', 'x']")).0["sources.in.path"].clone();
        assert_eq!(
            path("$CARGO_MANIFEST_DIR/a$$b"),
            format!("[{:?}, \"x\"]", concat!(env!("CARGO_MANIFEST_DIR"), "/a$b"))
        );
        assert_eq!(of("params.path = '$CARGO_PKG_NAME'").0["params.path"], "\"$CARGO_PKG_NAME\"");
        assert_eq!(of("params.list = [1, {a = 'b'}]").0["params.list"], "[1, { a = \"b\" }]");
    }
}
