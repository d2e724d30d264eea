//! What is allowed in a configuration and is hardly meant: it holds nothing up, but somebody should know.

use crate::settings::{Fault, Node, Value, join, path};
use crate::telemetry::unknown_targets;

/// The most warnings of one configuration.
pub(super) const WARNINGS_MAX: usize = 20;

/// Everything in `tree` to warn about; `log` is the filter of the log.
pub(super) fn warnings(tree: &Node, log: &str) -> Vec<Fault> {
    let mut found = Vec::new();
    let filter = tree.get("engine").and_then(|engine| engine.get("log"));
    found.extend(unknown_targets(log).into_iter().map(|message| Fault {
        key: "engine.log".to_owned(),
        location: filter.map(|node| node.location.clone()),
        message,
    }));
    if let Some(params) = tree.get("params") {
        not_expanded("params", params, true, &mut found);
    }
    for table in ["sources", "sinks", "dead_letters"] {
        if let Some(node) = tree.get(table) {
            not_expanded(table, node, false, &mut found);
        }
    }
    found.truncate(WARNINGS_MAX);
    found
}

/// Texts that look like paths to be expanded, where everything is left as it is: in parameters, which belong to the dataflow, and
/// in a client's own properties.
fn not_expanded(path: &str, node: &Node, judged: bool, found: &mut Vec<Fault>) {
    match &node.value {
        Value::String(text) if judged && path::is_meant_to_expand(text) => found.push(Fault {
            key: path.to_owned(),
            location: Some(node.location.clone()),
            message: "~ and $NAME are left as they are here: they are expanded in paths of sources, sinks and the engine only"
                .to_owned(),
        }),
        Value::Array(items) => {
            let each = |(i, item): (usize, &Node)| not_expanded(&join(path, &i.to_string()), item, judged, found);
            items.iter().enumerate().for_each(each);
        }
        _ => {
            for (key, entry) in node.entries() {
                // A secret names a file, whose path is expanded.
                let secret = matches!(key, "file" | "env");
                not_expanded(&join(path, key), entry, (judged || key == "properties") && !secret, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn of(text: &str, log: &str) -> Vec<String> {
        let tree = Layers::new("x").defaults(text).merge().unwrap();
        warnings(&tree, log).iter().map(Fault::to_string).collect()
    }

    #[test]
    fn what_is_left_as_it_is_and_does_not_look_so_is_told() {
        let text = "[params]\nlists = ['~/allowed', 'x']\npattern = '^root$'\n[sources.a]\npath = '~/x'\n\
                    properties.\"ssl.ca.location\" = '${HOME}/ca'\nproperties.key = { file = '~/key' }\n[engine]\nlog = 'x'\n";
        let found = of(text, "info,tidewatch::mesh=debug");
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].starts_with("<defaults of x>:9: engine.log: nothing in Tidewatch logs under"), "{found:#?}");
        assert!(found[1].starts_with("<defaults of x>:2: params.lists.0: ~ and $NAME are left"), "{found:#?}");
        assert!(found[2].contains("sources.a.properties.\"ssl.ca.location\""), "{found:#?}");
        assert_eq!(of("[params]\na = 1\n", "info"), Vec::<String>::new());
    }

    #[test]
    fn there_are_only_so_many() {
        let list = vec!["'~/x'"; WARNINGS_MAX + 1].join(", ");
        assert_eq!(of(&format!("params.a = [{list}]"), "info").len(), WARNINGS_MAX);
    }
}
