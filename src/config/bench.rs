//! The `[bench]` table: what `bench` generates for a source, in `[bench.sources.NAME]`, with the keys of the generator.

use std::collections::BTreeMap;

use crate::connectors::generator::{Generator, GeneratorConfig};
use crate::settings::Section;

/// Reads and finishes the section.
pub(super) fn read(mut section: Section<'_>) -> BTreeMap<String, GeneratorConfig> {
    let mut generators = BTreeMap::new();
    let written = section.node("sources");
    let mut sources = section.section("sources");
    for (name, _) in written.into_iter().flat_map(|node| node.entries()) {
        let mut source = sources.section(name);
        generators.insert(name.to_owned(), Generator::from_section(&mut source).config().clone());
        source.finish();
    }
    sources.finish();
    section.finish();
    generators
}
