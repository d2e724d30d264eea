//! The targets that a log filter can name, to detect directives that match nothing.

use crate::settings::suggest;

/// Everything in Tidewatch that logs: modules, down to the second level, and the Kafka client.
const TARGETS: [&str; 20] = [
    "librdkafka",
    "tidewatch::checkpoint::bindings",
    "tidewatch::checkpoint::journal",
    "tidewatch::checkpoint::restore",
    "tidewatch::checkpoint::snapshots",
    "tidewatch::checkpoint::writer",
    "tidewatch::cli::prepare",
    "tidewatch::cli::run",
    "tidewatch::cli::signals",
    "tidewatch::connectors::file",
    "tidewatch::connectors::kafka",
    "tidewatch::connectors::stdio",
    "tidewatch::flow",
    "tidewatch::flow::dead_letters",
    "tidewatch::runtime::durability",
    "tidewatch::runtime::mesh",
    "tidewatch::runtime::sink",
    "tidewatch::runtime::source",
    "tidewatch::runtime::supervise",
    "tidewatch::telemetry::admin",
];

/// Crates that a misspelt target may have been meant for.
const CRATES: [&str; 2] = ["tidewatch", "librdkafka"];

/// One line for each directive of `filter` whose target looks like one of Tidewatch's and does not exist.
///
/// Targets of other crates, such as the one that a dataflow is written in, are not checked.
pub fn unknown_targets(filter: &str) -> Vec<String> {
    targets(filter).filter_map(judge).collect()
}

fn judge(target: &str) -> Option<String> {
    let below = |known: &str| target.strip_prefix(known).is_some_and(|rest| rest.starts_with("::"));
    if TARGETS.iter().any(|known| known.starts_with(target) || below(known)) {
        return None;
    }
    let (first, last) = (target.split("::").next()?, target.rsplit("::").next()?);
    let named = TARGETS.iter().find(|known| known.rsplit("::").next() == Some(last)).copied();
    let ours = first == CRATES[0];
    // A user's crate may well be called "tidewatch-rules".
    let slip = !first.starts_with(CRATES[0]) && suggest(first, CRATES).is_some();
    if !(ours || slip || (named.is_some() && !target.contains("::"))) {
        return None;
    }
    let meant = match named.or_else(|| suggest(target, TARGETS)).or_else(|| suggest(first, CRATES).filter(|_| slip)) {
        Some(name) => format!("did you mean {name:?}?"),
        None => "targets are modules such as \"tidewatch::runtime::mesh\"".to_owned(),
    };
    Some(format!("nothing in Tidewatch logs under {target:?}; {meant}"))
}

/// The target of each directive that has one.
fn targets(filter: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let directives = filter.split(move |c| {
        depth = match c {
            '[' | '{' => depth + 1,
            ']' | '}' => depth.saturating_sub(1),
            _ => depth,
        };
        c == ',' && depth == 0
    });
    let target = |directive: &'_ str| directive.find(['[', '=']).map_or(directive.len(), |end| end);
    directives.map(move |directive| directive[..target(directive)].trim()).filter(|target| {
        let level = ["off", "error", "warn", "info", "debug", "trace", "0", "1", "2", "3", "4", "5"];
        !target.is_empty() && !level.contains(&target.to_ascii_lowercase().as_str())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn targets_that_exist_or_are_of_others_are_left_alone() {
        for filter in [
            "info",
            "WARN",
            "info,tidewatch::runtime::mesh=debug",
            "tidewatch=debug,hyper=warn,my_rules::inner=trace",
            "tidewatch::runtime::mesh::form=trace",
            "tidewatch::run=debug",
            "tidewatch_rules=debug",
            "info,librdkafka=debug",
            "[{dataflow=a,b=c}]=info",
            "tidewatch::runtime[span{x=1,y=2}]=debug",
            "",
        ] {
            assert_eq!(unknown_targets(filter), Vec::<String>::new(), "{filter}");
        }
    }

    #[test]
    fn targets_that_never_log_are_named_with_what_was_meant() {
        for (filter, meant) in [
            ("info,tidewatch::mesh=debug", "tidewatch::runtime::mesh"),
            ("mesh=debug", "tidewatch::runtime::mesh"),
            ("tidewatch::runtime::mash", "tidewatch::runtime::mesh"),
            ("tidewach=debug", "tidewatch"),
            ("librdkafak=debug", "librdkafka"),
            ("tidewatch::operators=debug", "targets are modules"),
            ("tidewatch::kafka[x{a=1,b=2}]=debug,info", "tidewatch::connectors::kafka"),
        ] {
            let found = unknown_targets(filter);
            assert!(found.len() == 1 && found[0].contains(meant), "{filter}: {found:?}");
        }
        assert_eq!(unknown_targets("tidewatch::a=debug,tidewatch::b=debug").len(), 2);
    }

    /// The first two levels of each module that calls a macro of `tracing`.
    fn that_log() -> BTreeSet<String> {
        let mut found = BTreeSet::from(["librdkafka".to_owned()]);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                    if ["trace", "debug", "info", "warn", "error"]
                        .iter()
                        .any(|l| shipped.contains(&format!("tracing::{l}!")))
                    {
                        let module = path.strip_prefix(&root).unwrap().with_extension("");
                        let parts = module.iter().take(2).map(|part| part.to_str().unwrap());
                        found.insert(["tidewatch"].into_iter().chain(parts).collect::<Vec<_>>().join("::"));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn the_targets_are_those_of_the_source() {
        let listed: BTreeSet<String> = TARGETS.iter().map(ToString::to_string).collect();
        assert_eq!(listed, that_log(), "TARGETS lists what logs");
    }
}
