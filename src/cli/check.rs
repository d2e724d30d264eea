//! `check`: every fault of a configuration, or what it comes to and what is odd about it.

use super::args::ConfigArgs;
use super::prepare::{Prepared, prepare};
use crate::config::expanded_paths;
use crate::error::Result;
use crate::flow::Dataflow;
use crate::settings::{Fault, Node, Value, path};

/// Checks the configuration; opens nothing.
pub(super) fn check(dataflow: &Dataflow, args: &ConfigArgs) -> Result<()> {
    let prepared = prepare(dataflow, args)?;
    for warning in prepared.warnings.iter().chain(&without_input(&prepared)) {
        note!("warning: {warning}");
    }
    show!("the configuration of dataflow {:?} is complete", prepared.dataflow.name());
    for path in expanded_paths(&prepared.environment.settings) {
        show!("  {}: {} is {}", path.key, path.written, path.expanded);
    }
    Ok(())
}

/// Patterns of sources that match no file at this moment.
fn without_input(prepared: &Prepared) -> Vec<Fault> {
    let mut warnings = Vec::new();
    let sources = prepared.environment.node(&["sources"]);
    for (name, source) in sources.into_iter().flat_map(Node::entries) {
        let Some(written) = source.get("path").filter(|_| is_file(source)) else { continue };
        let patterns = match &written.value {
            Value::Array(items) => items.iter().collect(),
            _ => vec![written],
        };
        for pattern in patterns {
            let Value::String(text) = &pattern.value else { continue };
            let Ok(expanded) = path::expand_glob(text) else { continue };
            if glob::glob(&expanded).is_ok_and(|mut files| files.next().is_none()) {
                let message = format!("no file matches {text:?} now");
                let key = format!("sources.{name}.path");
                warnings.push(Fault { key, location: Some(pattern.location.clone()), message });
            }
        }
    }
    warnings
}

fn is_file(source: &Node) -> bool {
    matches!(source.get("kind"), Some(Node { value: Value::String(kind), .. }) if kind == "file")
}
