//! The input of a measured dataflow: what the user configured, and generated files for every other source.
//!
//! Generated once, before anything is measured: generating an event costs about as much as processing it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::args::MeasureArgs;
use super::replay::Replay;
use super::results::Generated;
use crate::cli::prepare::Prepared;
use crate::config::SOURCE_KEYS;
use crate::connectors::generator::{Generator, GeneratorConfig};
use crate::connectors::source::{Collector, Partition, Polled, SourceConnector, SourceContext};
use crate::error::{Error, Result};
use crate::record::Reason;
use crate::settings::{Location, Node, Section, Value};

/// Records of each source by default, at full speed.
const EVENTS_DEFAULT: u64 = 1_000_000;

/// How long a measurement at a rate takes by default, in seconds.
const SECONDS_DEFAULT: u64 = 10;

/// How much is generated at a time, in bytes.
const BUDGET: usize = 1 << 20;

/// Generates the input for every source of `sources` that is not wired, in `folder`.
pub(super) fn make(
    prepared: &Prepared,
    sources: &[String],
    args: &MeasureArgs,
    folder: &Path,
) -> Result<Vec<(Replay, Generated)>> {
    let mut made = Vec::new();
    for name in sources {
        let Some(mut config) = generator_of(prepared, name)? else { continue };
        let events = args.events.or(args.rate.map(|rate| rate.saturating_mul(SECONDS_DEFAULT)));
        config.events = Some(events.unwrap_or(EVENTS_DEFAULT));
        config.rate = None;
        // Events happen when they arrive, unless their own rate is configured.
        let own = |table: &[&str]| {
            let path = [table, &[name, "events_per_second"]].concat();
            prepared.environment.node(&path).is_some_and(is_written)
        };
        if let Some(rate) = args.rate
            && !own(&["sources"])
            && !own(&["bench", "sources"])
        {
            config.events_per_second = rate as f64;
        }
        let folder = folder.join(format!("input-{name}"));
        made.push(generate(name, &config, &folder, args.rate)?);
    }
    let given = || format!("nothing is generated: every source is wired ({})", sources.join(", "));
    if made.is_empty() && args.rate.is_some() {
        return Err(Error::config(given())
            .hint("--rate is for generated input; leave out the sources that are wired, or --rate"));
    }
    if made.is_empty() && args.events.is_some() {
        return Err(Error::config(given())
            .hint("--events is for generated input; leave out the sources that are wired, or --events"));
    }
    Ok(made)
}

/// The generator of a source's records; `None` if the user configured what it reads.
fn generator_of(prepared: &Prepared, name: &str) -> Result<Option<GeneratorConfig>> {
    let node = prepared.environment.node(&["sources", name]);
    if let Some(node) = node
        && is_of(node, "generator")
    {
        // It was checked before; keys that every source has do not belong to the generator.
        let mut checked = Vec::new();
        return Ok(Some(Generator::from_section(&mut Section::new("", Some(node), &mut checked)).config().clone()));
    }
    // How late a record may be, for example, does not determine what is read.
    let wired = |node: &Node| node.entries().any(|(key, entry)| !SOURCE_KEYS.contains(&key) && is_written(entry));
    if node.is_some_and(wired) {
        return Ok(None);
    }
    prepared.bench.get(name).cloned().map(Some).ok_or_else(|| {
        Error::config(format!("source {name:?} has nothing to read")).hint(format!(
            "say what it reads, as in --set sources.{name}.path=FILE, or what is generated for it, as in \
             --set bench.sources.{name}.profile=auth-events"
        ))
    })
}

/// Whether a source or a sink has this kind.
pub(super) fn is_of(node: &Node, kind: &str) -> bool {
    matches!(node.get("kind"), Some(Node { value: Value::String(named), .. }) if named == kind)
}

/// Whether the user wrote any of it, in a file or on the command line.
pub(super) fn is_written(node: &Node) -> bool {
    let here = matches!(node.location, Location::File(..) | Location::CommandLine(_));
    let below = |node: &Node| match &node.value {
        Value::Array(items) => items.iter().any(is_written),
        _ => node.entries().any(|(_, entry)| is_written(entry)),
    };
    here || below(node)
}

/// Writes what `config` describes, one file per partition.
fn generate(name: &str, config: &GeneratorConfig, folder: &Path, rate: Option<u64>) -> Result<(Replay, Generated)> {
    let failed = |why| {
        Error::source(format!("cannot write generated records to {folder:?}"))
            .because(why)
            .hint("TMPDIR must name a folder with room for them")
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let context =
        SourceContext { name: name.to_owned(), worker: 0, workers: 1, record_bytes_max: usize::MAX, journals: None };
    let mut reader = Generator::new(config).open(&context)?;
    let mut files = PartitionFiles { folder, files: Vec::new(), bytes: 0, records: 0, failed: None };
    while reader.poll(BUDGET, &mut files)? != Polled::Finished && files.failed.is_none() {}
    files.finish().map_err(failed)?;

    let (records, bytes) = (files.records, files.bytes);
    // With their delimiters, as the pace counts them.
    let bytes_each = (bytes + records) as f64 / records.max(1) as f64;
    let paths = (0..files.files.len()).map(|partition| files.path(partition)).collect();
    let replay =
        Replay { source: name.to_owned(), files: paths, bytes_per_second: rate.map(|rate| rate as f64 * bytes_each) };
    Ok((replay, Generated { source: name.to_owned(), records, bytes, partitions: files.files.len() }))
}

/// The files of the partitions, in their order.
struct PartitionFiles<'f> {
    folder: &'f Path,
    files: Vec<BufWriter<File>>,
    records: u64,
    bytes: u64,
    failed: Option<std::io::Error>,
}

impl PartitionFiles<'_> {
    fn path(&self, partition: usize) -> PathBuf {
        self.folder.join(format!("{partition:04}.jsonl"))
    }

    fn finish(&mut self) -> std::io::Result<()> {
        match self.failed.take() {
            Some(why) => Err(why),
            None => self.files.iter_mut().try_for_each(Write::flush),
        }
    }
}

impl Collector for PartitionFiles<'_> {
    /// A generator announces its partitions in their order.
    fn joined(&mut self, partition: Partition, _: &str) {
        match File::create(self.path(partition.0 as usize)) {
            Ok(file) => self.files.push(BufWriter::with_capacity(BUDGET, file)),
            Err(why) => self.failed = Some(why),
        }
    }

    fn record(&mut self, partition: Partition, _: u64, bytes: &[u8]) {
        self.records += 1;
        self.bytes += bytes.len() as u64;
        if let Some(file) = self.files.get_mut(partition.0 as usize)
            && let Err(why) = file.write_all(bytes).and_then(|()| file.write_all(b"\n"))
        {
            self.failed = Some(why);
        }
    }

    fn rejected(&mut self, _: Partition, _: u64, _: u64, _: &[u8], _: Reason, _: &str) {}
    fn caught_up(&mut self, _: Partition) {}
    fn lag(&mut self, _: Partition, _: u64) {}
    fn ended(&mut self, _: Partition) {}
}

#[cfg(test)]
mod tests;
