//! Sources that would read what the same dataflow writes: its rows, its dead letters, its state.
//!
//! Such a dataflow feeds itself, without end if the files are followed. The folders are compared as they are on the disk, so a
//! symbolic link, `..` or a relative path hides nothing.

use std::path::{Path, PathBuf};

use super::EngineConfig;
use crate::connectors::file::{FileSink, FileSource};
use crate::settings::{Fault, Node, Section, Value};

/// A folder that the dataflow writes to.
struct Written {
    /// Who writes there, for a fault.
    by: String,
    folder: PathBuf,
    /// Files of the kinds that are written, below the folder.
    samples: Vec<String>,
}

/// A fault for each file source that would read what a file sink, or the engine, writes. Sections that are faulty otherwise are
/// passed over: whoever reads them says so.
pub(super) fn overlaps(settings: &Node, engine: &EngineConfig, run_ms: u64) -> Vec<Fault> {
    let written = written(settings, engine, run_ms);
    let mut faults = Vec::new();
    let Some(Node { value: Value::Table(sources), .. }) = settings.get("sources") else { return faults };
    for (name, node) in sources.iter().filter(|(_, node)| is_file(node)) {
        let key = format!("sources.{name}");
        let Some(source) = read(&key, node, FileSource::from_section) else { continue };
        for Written { by, folder, samples } in &written {
            let Some((pattern, sample)) = samples.iter().find_map(|sample| {
                let path = folder.join(sample);
                let folder = path.parent()?;
                Some((source.pattern_that_matches(folder, path.file_name()?.to_str()?)?, sample))
            }) else {
                continue;
            };
            let message = format!(
                "{pattern:?} matches what {by} writes in {folder:?} (such as {sample:?}), so the dataflow would read its own \
                 output: narrow the pattern, or write to another folder"
            );
            let location = node.get("path").map(|path| path.location.clone());
            faults.push(Fault { key: format!("{key}.path"), location, message });
        }
    }
    faults
}

fn written(settings: &Node, engine: &EngineConfig, run_ms: u64) -> Vec<Written> {
    let mut written = Vec::new();
    let mut add = |name: &str, key: &str, node: &Node| {
        if is_file(node)
            && let Some(sink) = read(key, node, FileSink::from_section)
        {
            let (by, folder, samples) =
                (format!("sink {name:?}"), sink.folder().to_owned(), sink.samples(name, run_ms));
            written.push(Written { by, folder, samples });
        }
    };
    if let Some(node) = settings.get("dead_letters") {
        add("dead_letters", "dead_letters", node);
    }
    if let Some(Node { value: Value::Table(sinks), .. }) = settings.get("sinks") {
        for (name, node) in sinks {
            match &node.value {
                Value::Array(nodes) => nodes.iter().for_each(|node| add(name, &format!("sinks.{name}"), node)),
                _ => add(name, &format!("sinks.{name}"), node),
            }
        }
    }
    let mut add = |by: &str, folder: &Path, samples: &[&str]| {
        let samples = samples.iter().map(|sample| (*sample).to_owned()).collect();
        written.push(Written { by: by.to_owned(), folder: folder.to_owned(), samples });
    };
    if let Some(folder) = &engine.state_dir {
        let own = ["identity.json", "generation", "lock", BINDINGS, JOURNAL, "checkpoints/lasting/a"];
        add("the state directory", folder, &own);
        add("the state directory", &folder.join("checkpoints"), &CHECKPOINT);
    }
    if let Some(folder) = engine.checkpoint_store.as_ref().filter(|place| !place.contains("://")) {
        add("the store of checkpoints", Path::new(folder), &CHECKPOINT);
    }
    written
}

const BINDINGS: &str = "bindings/0000000001-000-000000.log";
const JOURNAL: &str = "journal/events-0/00000000000000000000.log";
const CHECKPOINT: [&str; 3] =
    ["0001732650000000-000001/manifest", "0001732650000000-000001/w000.done", "0001732650000000-000001/w000-0000.part"];

fn is_file(node: &Node) -> bool {
    matches!(node.get("kind"), Some(Node { value: Value::String(kind), .. }) if kind == "file")
}

fn read<T>(key: &str, node: &Node, from: impl Fn(&mut Section<'_>) -> Option<T>) -> Option<T> {
    from(&mut Section::new(key, Some(node), &mut Vec::new()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Layers;

    fn faults(dir: &Path, source: &str, rest: &str) -> Vec<String> {
        let text =
            format!("[sources.events]\nkind = \"file\"\npath = {source}\n{rest}").replace("DIR", dir.to_str().unwrap());
        let tree = Layers::new("x").defaults(text).merge().unwrap();
        let mut other = Vec::new();
        let engine = EngineConfig::read(Section::new("engine", tree.get("engine"), &mut other));
        overlaps(&tree, &engine, 1_769_903_999_123).iter().map(ToString::to_string).collect()
    }

    const ALERTS: &str = "[sinks.alerts]\nkind = \"file\"\npath = \"DIR/out/alerts\"\n";

    #[test]
    fn a_source_that_would_read_rows_names_both_and_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        let faults = faults(dir.path(), "[\"DIR/in.log\", \"DIR/out/**/*.jsonl\"]", ALERTS);
        assert_eq!(faults.len(), 1, "{faults:?}");
        for part in
            ["sources.events.path", "/out/**/*.jsonl\"", "sink \"alerts\"", "/out/alerts\"", "narrow the pattern"]
        {
            assert!(faults[0].contains(part), "{part}: {faults:?}");
        }
    }

    #[test]
    fn links_and_dots_hide_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("out/alerts")).unwrap();
        fs::create_dir_all(dir.path().join("logs")).unwrap();
        symlink(dir.path().join("out"), dir.path().join("link")).unwrap();
        symlink(dir.path().join("out/alerts"), dir.path().join("logs/today")).unwrap();
        for source in ["out/alerts/*", "link/alerts/alerts-*", "logs/*/*", "logs/../out/*/*.jsonl", "**/*-s15-*", "**"]
        {
            assert_eq!(faults(dir.path(), &format!("\"DIR/{source}\""), ALERTS).len(), 1, "{source}");
        }
        for source in ["out/alerts/*.log", "out/*", "logs/*", "out/alerts/in.jsonl", "out/alerts/.*"] {
            assert_eq!(faults(dir.path(), &format!("\"DIR/{source}\""), ALERTS), [""; 0], "{source}");
        }
    }

    #[test]
    fn dead_letters_lists_of_sinks_and_state_are_looked_at_too() {
        let dir = tempfile::tempdir().unwrap();
        let source = "\"DIR/a/**/*\"";
        for (rest, by) in [
            ("[dead_letters]\nkind = \"file\"\npath = \"DIR/a\"\n", "sink \"dead_letters\""),
            ("[[sinks.b]]\nkind = \"null\"\n[[sinks.b]]\nkind = \"file\"\npath = \"DIR/a/b\"\n", "sink \"b\""),
            ("[engine]\nstate_dir = \"DIR/a/state\"\n", "the state directory"),
            ("[engine]\nstate_dir = \"DIR/s\"\ncheckpoint_store = \"DIR/a/c\"\n", "the store of checkpoints"),
        ] {
            let faults = faults(dir.path(), source, rest);
            assert!(!faults.is_empty() && faults.iter().all(|fault| fault.contains(by)), "{by}: {faults:?}");
        }
        let state = "[engine]\nstate_dir = \"DIR/a\"\n";
        assert_eq!(faults(dir.path(), "\"DIR/a/*/*.log\"", state).len(), 1);
        assert_eq!(faults(dir.path(), "\"DIR/a/*.log\"", state), [""; 0]);
    }
}
