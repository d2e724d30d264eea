//! Where records enter a dataflow.

use std::ops::{Deref, RangeInclusive};
use std::rc::Rc;
use std::sync::Arc;

use super::stream::Stream;
use super::{Flow, Part};
use crate::checkpoint::snapshots::{marked_of, positions_of};
use crate::codec::limits::RECORD_BYTES_MAX_DEFAULT;
use crate::connectors;
use crate::connectors::source::{Collector, Polled, SourceConnector, SourceContext, SourceReader, not_replayable};
use crate::error::Result;
use crate::operators::admission::TimeRules;
use crate::record::{Decode, Decoder};
use crate::runtime::source::{SourceStage, Validations, source};
use crate::settings::{Bytes, Section};

/// The stream of a source. Everything a [`Stream`] can do, and checks that still know where a record came from.
pub struct Source<'s, T> {
    stream: Stream<'s, T>,
    validations: Validations<T>,
}

impl<T: Decode> Source<'_, T> {
    /// Refuses records for which `check` returns an error: they become dead letters of reason `invalid`, with their origin
    /// and bytes. Refused records do not move the watermark.
    ///
    /// ```
    /// # use tidewatch::prelude::*;
    /// # fn build(flow: &Flow, _: &NoParams) -> Result<()> {
    /// let lines = flow.source::<Line>("lines")?.validate(|line| {
    ///     if line.text.len() > 3 { Ok(()) } else { Err(format!("{} bytes are too few", line.text.len())) }
    /// });
    /// lines.sink("out")
    /// # }
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn validate(self, check: impl Fn(&T) -> Result<(), String> + 'static) -> Self {
        self.validations.borrow_mut().push(Box::new(check));
        self
    }
}

impl<'s, T> Deref for Source<'s, T> {
    type Target = Stream<'s, T>;
    fn deref(&self) -> &Stream<'s, T> {
        &self.stream
    }
}

struct SourceSettings {
    rules: TimeRules,
    record_bytes_max: usize,
}

/// What `record_bytes_max` may be.
const RECORD_BYTES: RangeInclusive<Bytes> = Bytes(1)..=Bytes(64 * 1024 * 1024);

const RECORD_BYTES_DEFAULT: Bytes = Bytes(RECORD_BYTES_MAX_DEFAULT as u64);

fn common(section: &mut Section<'_>) -> SourceSettings {
    let defaults = TimeRules::default();
    SourceSettings {
        rules: TimeRules {
            out_of_order: section.or("out_of_order", defaults.out_of_order),
            future_max: section.or("future_max", defaults.future_max),
            idle_after: section.or("idle_after", defaults.idle_after),
        },
        record_bytes_max: usize::try_from(section.within("record_bytes_max", RECORD_BYTES, RECORD_BYTES_DEFAULT).0)
            .expect("within bounds"),
    }
}

impl<'s> Flow<'s> {
    /// The records of the source `name`, which the configuration wires under `sources.name` (standard input if it says
    /// nothing). Bytes that are no `T` become dead letters.
    ///
    /// # Errors
    /// If the configuration of the source is faulty; the run then reports every fault.
    pub fn source<T: Decode>(&self, name: &str) -> Result<Source<'s, T>> {
        self.claim(name, Part::Source);
        let building = self.building();
        let environment = &building.environment;
        let wired = environment.sources.get(name).map(Arc::clone);
        if wired.is_none() && environment.sources_wired_only {
            self.fault(name, "nothing in this test says what the source reads; give it a script".to_owned());
        }
        let (settings, options, connector) =
            self.section(&format!("sources.{name}"), environment.node(&["sources", name]), |section| {
                let settings = common(section);
                let options = T::options(section);
                // What is configured is checked also where something else takes its place.
                let configured = connectors::kinds::source_from_section(section);
                let configured = match configured {
                    Some(configured) if !environment.planning => Some(environment.share(name, configured)),
                    other => other,
                };
                (settings, options, wired.or(configured))
            });
        if environment.is_durable
            && let Some(connector) = &connector
            && !connector.is_replayable()
        {
            self.fault(name, not_replayable(name).to_string());
        }
        let connector = if environment.planning { Arc::new(Unopened) } else { self.result(connector, name)? };

        let (worker, workers) = (building.scope.index(), building.scope.peers());
        let validations = Validations::default();
        let metrics = environment.metrics.source(name, worker);
        let snapshots = &building.snapshots;
        if T::decoder(&options).state().is_none() {
            snapshots
                .refuse(&format!("the decoder of source {name:?} knows of the records before, and cannot say what"));
        }
        let stage = SourceStage {
            positions: snapshots.slot(&positions_of(name)),
            marked: snapshots.slot(&marked_of(name)),
            threads: environment.threads,
            one_machine: environment.one_machine,
            context: SourceContext {
                name: name.to_owned(),
                worker,
                workers,
                record_bytes_max: settings.record_bytes_max,
                journals: environment.durability.as_ref().map(|durability| durability.journals.clone()),
            },
            connector,
            options,
            rules: settings.rules,
            validations: Rc::clone(&validations),
            durability: environment.durability.clone(),
            control: environment.control.clone(),
            ticker: environment.ticker.clone(),
            sinks: building.sinks.clone(),
            flow_control: environment.flow_control,
            reads: self.reads(metrics.clone()),
            metrics,
        };
        let (records, watermark, letters) = source(building.scope, stage);
        self.dead_letters(letters);
        Ok(Source { stream: Stream::new(self.handle(), records, watermark), validations })
    }
}

/// Stands in for a connector while a dataflow is only checked.
struct Unopened;

impl SourceConnector for Unopened {
    fn open(&self, _: &SourceContext) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(Unopened))
    }
}

impl SourceReader for Unopened {
    fn poll(&mut self, _: usize, _: &mut dyn Collector) -> Result<Polled> {
        Ok(Polled::Finished)
    }
}
