//! Which connector a section of the configuration asks for.

use std::sync::Arc;

use super::file::{FileSink, FileSource};
use super::generator::Generator;
#[cfg(feature = "kafka")]
use super::kafka::{KafkaSink, KafkaSource};
use super::null::NullSink;
use super::sink::SinkConnector;
use super::source::SourceConnector;
use super::stdio::{StdinSource, StdoutSink};
use crate::settings::Section;

#[derive(Clone, Copy)]
enum SourceKind {
    File,
    Stdin,
    Generator,
    #[cfg(feature = "kafka")]
    Kafka,
}

#[derive(Clone, Copy)]
enum SinkKind {
    File,
    Stdout,
    Null,
    #[cfg(feature = "kafka")]
    Kafka,
}

/// The source that `section` describes; without a `kind`, standard input. Faults go to the section.
pub fn source_from_section(section: &mut Section<'_>) -> Option<Arc<dyn SourceConnector>> {
    let kinds = [
        ("file", SourceKind::File),
        ("stdin", SourceKind::Stdin),
        ("generator", SourceKind::Generator),
        #[cfg(feature = "kafka")]
        ("kafka", SourceKind::Kafka),
    ];
    match section.kind("kind", &kinds, SourceKind::Stdin)? {
        SourceKind::File => FileSource::from_section(section).map(|source| Arc::new(source) as _),
        SourceKind::Stdin => StdinSource::from_section(section).map(|source| Arc::new(source) as _),
        SourceKind::Generator => Some(Arc::new(Generator::from_section(section))),
        #[cfg(feature = "kafka")]
        SourceKind::Kafka => KafkaSource::from_section(section).map(|source| Arc::new(source) as _),
    }
}

/// The sink that `section` describes; without a `kind`, standard output. Faults go to the section.
pub fn sink_from_section(section: &mut Section<'_>) -> Option<Arc<dyn SinkConnector>> {
    let kinds = [
        ("file", SinkKind::File),
        ("stdout", SinkKind::Stdout),
        ("null", SinkKind::Null),
        #[cfg(feature = "kafka")]
        ("kafka", SinkKind::Kafka),
    ];
    match section.kind("kind", &kinds, SinkKind::Stdout)? {
        SinkKind::File => FileSink::from_section(section).map(|sink| Arc::new(sink) as _),
        SinkKind::Stdout => StdoutSink::from_section(section).map(|sink| Arc::new(sink) as _),
        SinkKind::Null => NullSink::from_section(section).map(|sink| Arc::new(sink) as _),
        #[cfg(feature = "kafka")]
        SinkKind::Kafka => KafkaSink::from_section(section).map(|sink| Arc::new(sink) as _),
    }
}
