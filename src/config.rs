//! The configuration of a dataflow: from TOML text, files and `--set` to one tree, and from faults to one report.
//!
//! [`Layers`] merges; the sections of the tree are read by their owners: the engine's own settings here in
//! [`EngineConfig`], a connector's beside the connector. Nothing stops at the first mistake: all faults are collected,
//! and [`report`] shows them together.

mod bench;
mod engine;
mod fingerprint;
mod kinds;
mod layers;
mod lineage;
mod overlap;
mod paths;
mod prepare;
mod report;
mod set;
#[cfg(test)]
mod tests;
mod text;
mod warnings;

pub use engine::{AdminAddress, EngineConfig};
pub use fingerprint::fingerprint;
pub(crate) use kinds::SOURCE_KEYS;
pub use layers::{CONFIG_BYTES_MAX, Layers};
pub(crate) use lineage::lineage;
pub(crate) use paths::expanded_paths;
pub(crate) use prepare::{Prepared, prepare};
pub use report::{FAULTS_SHOWN_MAX, report};

/// Runs every parser of this layer on arbitrary bytes; for fuzzing. Opens no file that the bytes name.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    use crate::settings::{Bytes, Section, duration};

    let text = String::from_utf8_lossy(bytes);
    let defaults =
        "[sources.a]\nkind = \"file\"\npath = [\"x\"]\n[[sinks.b]]\nkind = \"null\"\n[engine]\ntick = \"1s\"\n";
    let mut faults = Vec::new();
    let file = text::parse(&text::TextOrigin::File("fuzz.toml".into()), bytes);
    faults.extend(file.as_ref().err().into_iter().flatten().cloned());
    for layers in [
        Layers::new("fuzz").defaults(defaults).set(&*text),
        Layers::new("fuzz").defaults(&*text).set("sources.a.kind=kafka"),
        Layers::new("fuzz").defaults(defaults).set(format!("engine.tick={text}")),
        Layers::new("fuzz").defaults(defaults).set(format!("bench.sources.a={text}")),
        Layers::new("fuzz").defaults(defaults).set(format!("sinks.b.0.{text}=1")),
    ] {
        match layers.merge() {
            Ok(tree) => {
                fingerprint(&tree);
                let mut root = Section::new("", Some(&tree), &mut faults);
                EngineConfig::read(root.section("engine"));
                bench::read(root.section("bench"));
                root.deserialize::<std::collections::BTreeMap<String, serde::de::IgnoredAny>>("params");
                root.finish();
            }
            Err(more) => faults.extend(more),
        }
    }
    // The heading, and the number of omitted faults.
    let lines = faults.len() + 2;
    let report = report("fuzz", &faults).to_string();
    assert!(report.lines().count() <= lines, "a fault takes more than one line: {report}");
    let _ = (Bytes::parse(&text), duration::parse(&text));
}
