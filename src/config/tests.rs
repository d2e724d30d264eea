//! Faulty configurations as golden text, and the properties of merging.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::settings::{Bytes, Fault, Node, Secret, Section, Value, duration};
use crate::telemetry::LogFormat;

const DEFAULTS: &str = r#"
[sources.events]
kind = "file"
path = "events.jsonl"
out_of_order = "5s"

[sinks.alerts]
kind = "file"
path = "alerts"

[params]
window = "5 min"
failures_min = 5
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read is of interest")]
struct Params {
    #[serde(with = "duration")]
    window: Duration,
    failures_min: u32,
    severity: Option<Severity>,
    token: Option<Secret>,
    #[serde(default)]
    allowed: Vec<Allowed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Severity {
    Low,
    High,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read is of interest")]
struct Allowed {
    network: String,
}

/// Reads a tree as a dataflow with one source and one sink does.
fn read(tree: &Node) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut root = Section::new("", Some(tree), &mut faults);
    EngineConfig::read(root.section("engine"));
    let mut sources = root.section("sources");
    let mut events = sources.section("events");
    events.optional::<Duration>("out_of_order");
    events.optional::<Duration>("idle_after");
    events.optional::<Duration>("future_max");
    events.optional::<Bytes>("record_bytes_max");
    match events.kind("kind", &[("file", 'f'), ("kafka", 'k')], '?') {
        Some('f') => {
            events.required::<Vec<PathBuf>>("path");
            events.or("follow", false);
        }
        Some('k') => {
            events.required::<Vec<String>>("brokers");
            events.required::<String>("topic");
            events.optional::<NonZeroU32>("partitions");
            events.optional::<Secret>("password");
        }
        _ => {}
    }
    events.finish();
    sources.finish();
    let mut sinks = root.section("sinks");
    sinks.tables("alerts", |mut sink| {
        if sink.kind("kind", &[("file", true), ("stdout", false)], false) == Some(true) {
            sink.required::<PathBuf>("path");
        } else {
            sink.node("path");
        }
        sink.finish();
    });
    sinks.finish();
    root.deserialize::<Params>("params");
    root.finish();
    faults
}

/// The report on a case: its lines are of a file `x.toml`, or of the command line.
fn check(case: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let (sets, lines): (Vec<&str>, Vec<&str>) = case.lines().partition(|line| line.starts_with("--set "));
    std::fs::write(&path, lines.join("\n")).unwrap();
    let layers = Layers::new("logins").defaults(DEFAULTS).file(&path);
    let layers = sets.iter().fold(layers, |layers, set| layers.set(&set["--set ".len()..]));
    let faults = layers.merge().map_or_else(|faults| faults, |tree| read(&tree));
    assert!(!faults.is_empty(), "nothing is wrong with\n{case}");
    report("logins", &faults).to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn every_faulty_configuration_is_explained() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/faults.txt");
    let golden = std::fs::read_to_string(path).unwrap();
    let (heading, cases) = golden.split_once("\n=== ").unwrap();
    let mut actual = heading.to_owned();
    for case in cases.split("\n=== ") {
        let (name, rest) = case.split_once('\n').unwrap();
        let (input, _) = rest.split_once("\n---").unwrap();
        let report = check(input);
        assert!(!report.contains("hunter2"), "{name}: a secret is shown: {report}");
        actual += &format!("\n=== {name}\n{input}\n---\n{report}\n");
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &actual).unwrap();
    }
    assert!(actual == golden, "run with UPDATE=1 and read the difference of {path}; now it is:\n{actual}");
}

fn get<'a>(tree: &'a Node, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |node, key| node.get(key)).map(|node| &node.value)
}

fn text(tree: &Node, path: &str) -> Option<String> {
    match get(tree, path) {
        Some(Value::String(s)) => Some(s.clone()),
        Some(other) => panic!("{path} is {other:?}"),
        None => None,
    }
}

#[test]
fn the_defaults_are_faultless() {
    let tree = Layers::new("logins").defaults(DEFAULTS).merge().unwrap();
    assert_eq!(read(&tree), []);
    let engine = EngineConfig::read(Section::new("engine", None, &mut Vec::new()));
    assert_eq!(engine, EngineConfig::default());
}

#[test]
fn the_engine_reads_what_is_written() {
    let text = "tick = '1s'\nadmin = 'off'\nadmin_hosts = ['Node-1.example.org', 'n2']\nlog = 'info,tidewatch::runtime::mesh=debug'\nlog_format = 'json'\nkeys_max = 7\nstate_dir = 'state'\n\
                checkpoint_interval = '2s'\ncheckpoints_kept = 5\ncheckpoint_store = 'checkpoints'\n\
                shutdown_grace = '0s'\nepochs_in_flight_max = 1\nrecords_per_epoch_max = 1000000000";
    let tree = Layers::new("x").defaults(text).merge().unwrap();
    let mut faults = Vec::new();
    let engine = EngineConfig::read(Section::new("", Some(&tree), &mut faults));
    assert_eq!(faults, []);
    let expected = EngineConfig {
        state_dir: Some("state".into()),
        checkpoint_interval: Duration::from_secs(2),
        checkpoints_kept: 5,
        checkpoint_store: Some("checkpoints".into()),
        tick: Duration::from_secs(1),
        epochs_in_flight_max: 1,
        records_per_epoch_max: 1_000_000_000,
        keys_max: 7,
        admin: AdminAddress { address: None, explicit: true },
        admin_hosts: vec!["node-1.example.org".to_owned(), "n2".to_owned()],
        log: "info,tidewatch::runtime::mesh=debug".to_owned(),
        log_format: LogFormat::Json,
        shutdown_grace: Duration::ZERO,
        drain: false,
    };
    assert_eq!(engine, expected);
}

#[test]
fn tables_merge_and_lists_replace() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.toml"), folder.path().join("two.toml"));
    std::fs::write(&one, "a.x = 'one'\na.y = 'one'\nlist = ['one', 'one']\n").unwrap();
    std::fs::write(&two, "a.y = 'two'\nlist = ['two']\n").unwrap();
    let layers = Layers::new("x").defaults("a.x = ''\na.y = ''\na.z = 'defaults'\n").file(&one).file(&two);
    let tree = layers.set("a.w=set").set("a={v='set'}").merge().unwrap();
    let found = ["a.v", "a.w", "a.x", "a.y", "a.z"].map(|path| text(&tree, path).unwrap());
    assert_eq!(found, ["set", "set", "one", "two", "defaults"]);
    assert!(matches!(get(&tree, "list"), Some(Value::Array(items)) if items.len() == 1));
    assert_eq!(tree.get("a").unwrap().location.to_string(), format!("{}:1", two.display()));
}

#[test]
fn another_kind_starts_afresh() {
    let base = "[sources.e]\nkind = 'file'\npath = 'p'\nyear = 2017\n[sources.e.tls]\nca = 'x'\n\
                [[sinks.s]]\nkind = 'file'\npath = 'p'\n[[sinks.s]]\nkind = 'file'\npath = 'q'\n\
                [dead_letters]\nkind = 'file'\npath = 'd'\n";
    let merged = |sets: &[&str]| {
        let layers = Layers::new("x").defaults(base);
        sets.iter().fold(layers, |layers, set| layers.set(*set)).merge().unwrap()
    };
    let keys = |tree: &Node, path: &str| {
        let node = path.split('.').fold(tree, |node, key| match &node.value {
            Value::Array(items) => &items[key.parse::<usize>().unwrap()],
            _ => node.get(key).unwrap(),
        });
        node.entries().map(|(key, _)| key).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys(&merged(&["sources.e.kind=file"]), "sources.e"), "kind path tls year");
    assert_eq!(keys(&merged(&["sources.e.kind=kafka"]), "sources.e"), "kind year");
    // What the layer itself writes stays, in whatever order.
    for sets in [["sources.e.kind=kafka", "sources.e.tls.key=y"], ["sources.e.tls.key=y", "sources.e.kind=kafka"]] {
        assert_eq!(keys(&merged(&sets), "sources.e"), "kind tls year");
        assert_eq!(keys(&merged(&sets), "sources.e.tls"), "key");
    }
    // A kind that is changed and changed back was never changed.
    assert_eq!(keys(&merged(&["sources.e.kind=kafka", "sources.e.kind=file"]), "sources.e"), "kind path tls year");
    let tree = merged(&["sinks.s.1.kind=null", "dead_letters.kind=null"]);
    assert_eq!([keys(&tree, "sinks.s.0"), keys(&tree, "sinks.s.1")], ["kind path", "kind"]);
    assert_eq!(keys(&tree, "dead_letters"), "kind");
    // The rule is for sources and sinks alone.
    let tree = Layers::new("x").defaults("[params.e]\nkind = 'a'\nb = 1\n").set("params.e.kind=c").merge().unwrap();
    assert_eq!(keys(&tree, "params.e"), "b kind");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[sources.e]\nkind = 'kafka'\ntopic = 't'\n[sinks]\ns = { kind = 'null' }\n").unwrap();
    let tree = Layers::new("x").defaults(base).file(file.path()).merge().unwrap();
    assert_eq!([keys(&tree, "sources.e"), keys(&tree, "sinks.s")], ["kind topic year", "kind"]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let large = folder.path().join("large.toml");
    let least = folder.path().join("least.toml");
    let garbage = folder.path().join("garbage.toml");
    std::fs::write(&large, "\n".repeat(CONFIG_BYTES_MAX as usize + 1)).unwrap();
    std::fs::write(&least, "\n".repeat(CONFIG_BYTES_MAX as usize)).unwrap();
    std::fs::write(&garbage, b"a = 1\nb = '\xff'\n").unwrap();
    let layers = Layers::new("x").file(&missing).file(&large).file(&least).file(&garbage).file(folder.path());
    let faults: Vec<String> = layers.merge().unwrap_err().iter().map(Fault::to_string).collect();
    assert_eq!(faults.len(), 4, "{faults:?}");
    assert_eq!(faults[0], format!("no such configuration file: {}", missing.display()));
    assert_eq!(faults[1], format!("configuration file {} exceeds 1048576 bytes", large.display()));
    assert_eq!(faults[2], format!("{}:2: not UTF-8", garbage.display()));
    assert!(faults[3].starts_with(&format!("cannot read configuration file {}: ", folder.path().display())));
}

proptest! {
    #[test]
    fn no_text_panics_as_an_assignment(text in any::<String>()) {
        let _ = Layers::new("x").defaults(DEFAULTS).set(text).merge();
    }

    #[test]
    fn no_bytes_panic_anywhere(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
    }

    // Random bytes are hardly ever TOML; these often are, nearly.
    #[test]
    fn nothing_like_toml_panics_anywhere(parts in prop::collection::vec(prop::sample::select(vec![
        "a", "sources", "sinks", "engine", "tick", "b", "0", "1", "-", "_", ".", ".", "=", "=", "\n", "\n", "[", "]", "[[", "]]",
        "{", "}", ",", "\"", "'", "\"\"\"", "'''", "#", " ", "\\", "\r", "1e999", "0x", "inf", "nan", "true", "1979-05-27",
        "07:32:00", "\u{feff}", "é", "\0", "kind", "'kafka'", "99999999999999999999", "\"5s\"",
    ]), 0..60)) {
        fuzz(parts.concat().as_bytes());
    }

    #[test]
    fn the_last_writer_of_a_key_wins(
        layers in prop::collection::vec(prop::collection::btree_map(0usize..4, 0u32..100, 0..4), 1..4),
        sets in prop::collection::vec((0usize..4, 0u32..100), 0..6),
    ) {
        let keys = ["a", "t.b", "t.u.c", "\"q.q\".d"];
        let folder = tempfile::tempdir().unwrap();
        let mut expected = [None; 4];
        let mut all = Layers::new("x");
        for (i, layer) in layers.iter().enumerate() {
            let mut text = String::new();
            for (key, value) in layer {
                expected[*key] = Some(*value);
                text += &format!("{} = 'v{value}'\n", keys[*key]);
            }
            let path = folder.path().join(format!("{i}.toml"));
            std::fs::write(&path, text).unwrap();
            all = all.file(path);
        }
        for (key, value) in sets {
            expected[key] = Some(value);
            all = all.set(format!("{}=v{value}", keys[key]));
        }
        let tree = all.merge().unwrap();
        let quoted = tree.get("q.q").and_then(|q| q.get("d")).map(|d| match &d.value {
            Value::String(s) => s.clone(),
            other => panic!("{other:?}"),
        });
        let found = [text(&tree, "a"), text(&tree, "t.b"), text(&tree, "t.u.c"), quoted];
        prop_assert_eq!(found, expected.map(|v| v.map(|v| format!("v{v}"))));
    }
}
