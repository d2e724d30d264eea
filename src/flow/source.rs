//! Where records enter a dataflow.

use std::ops::{Deref, RangeInclusive};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::dead_letters::are_wanted;
use super::stream::Stream;
use super::{Flow, PartKind};
use crate::checkpoint::snapshots::{admitted_of, positions_of, watermark_of};
use crate::codec::limits::RECORD_BYTES_MAX_DEFAULT;
use crate::connectors;
use crate::connectors::source::{Collector, Polled, SourceConnector, SourceContext, SourceReader, not_replayable};
use crate::error::Result;
use crate::operators::admission::{ClockRules, TimeRules};
use crate::record::{Decode, Decoder};
use crate::runtime::source::{SourceStage, Validations, source};
use crate::settings::{Bytes, Section, Setting, Value};

/// The stream of a source. Everything a [`Stream`] can do, and checks that still know where a record came from.
pub struct Source<'s, T> {
    stream: Stream<'s, T>,
    validations: Validations<T>,
}

impl<T: Decode> Source<'_, T> {
    /// Refuses records for which `check` returns an error: they become dead letters of reason `invalid`, with their
    /// origin and bytes. Refused records do not move the watermark.
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
    time: TimeSettings,
    record_bytes_max: usize,
}

/// The settings of event time. Some defaults are the connector's, which is read later.
struct TimeSettings {
    out_of_order: Duration,
    future_max: Duration,
    past_max: Option<Duration>,
    jump_max: Option<Duration>,
    idle_after: Duration,
    live: Option<bool>,
    clocks: Option<ClockRules>,
}

impl TimeSettings {
    fn read<T: Decode>(section: &mut Section<'_>) -> Self {
        let defaults = TimeRules::default();
        TimeSettings {
            out_of_order: section.or("out_of_order", defaults.out_of_order),
            future_max: section.or("future_max", defaults.future_max),
            past_max: section.optional("past_max").map(|OrOff(limit)| limit),
            jump_max: section.optional("jump_max").map(|OrOff(limit)| limit),
            idle_after: section.or("idle_after", defaults.idle_after),
            live: section.optional("live"),
            clocks: clocks::<T>(section),
        }
    }

    fn rules(&self, connector: &dyn SourceConnector) -> TimeRules {
        let TimeSettings { out_of_order, future_max, past_max, jump_max, idle_after, live, clocks } = *self;
        let defaults = if connector.is_trusted() { TimeRules::trusting() } else { TimeRules::default() };
        TimeRules {
            out_of_order,
            future_max,
            past_max: past_max.unwrap_or(defaults.past_max),
            jump_max: jump_max.unwrap_or(defaults.jump_max),
            idle_after,
            live: live.unwrap_or_else(|| connector.is_live()),
            clocks,
        }
    }
}

/// A duration, or `"off"` for an infinite one.
#[derive(Debug)]
struct OrOff(Duration);

impl Setting for OrOff {
    const EXPECTED: &'static str = "a duration such as \"5min\", or \"off\"";

    fn read(value: &Value) -> std::result::Result<Self, String> {
        match value {
            Value::String(text) if text == "off" => Ok(OrOff(Duration::MAX)),
            value => Duration::read(value).map(OrOff),
        }
    }
}

/// Bounds of the number of clocks of a partition that are told apart.
const CLOCKS_MAX: RangeInclusive<u64> = 1..=1_000_000;

/// How the clocks of a partition are told apart, if a field names them.
fn clocks<T: Decode>(section: &mut Section<'_>) -> Option<ClockRules> {
    let written: Option<String> = section.optional("clock_field");
    let fields = T::clock_fields();
    let field = written.as_ref().and_then(|name| fields.iter().position(|field| field == name));
    let defaults = ClockRules::by(field.unwrap_or(0));
    let rules = ClockRules {
        idle: section.or("clock_idle", defaults.idle),
        spread_max: section.or("clock_spread_max", defaults.spread_max),
        max: usize::try_from(section.within("clocks_max", CLOCKS_MAX, defaults.max as u64)).unwrap_or(usize::MAX),
        ..defaults
    };
    if let Some(name) = written.as_ref().filter(|_| field.is_none()) {
        let known = match fields {
            [] => "the records of this source have no fields that can".to_owned(),
            fields => format!("one of {} can", fields.join(", ")),
        };
        section.fault("clock_field", format!("{name:?} names no clock; {known}"));
    }
    if written.is_none() {
        for key in ["clock_idle", "clock_spread_max", "clocks_max"] {
            if section.node(key).is_some() {
                section
                    .fault(key, "has no effect without clock_field, which names the field that tells the clocks apart");
            }
        }
    }
    field.map(|_| rules)
}

/// What `record_bytes_max` may be.
const RECORD_BYTES: RangeInclusive<Bytes> = Bytes(1)..=Bytes(64 * 1024 * 1024);

const RECORD_BYTES_DEFAULT: Bytes = Bytes(RECORD_BYTES_MAX_DEFAULT as u64);

fn common<T: Decode>(section: &mut Section<'_>) -> SourceSettings {
    SourceSettings {
        time: TimeSettings::read::<T>(section),
        record_bytes_max: usize::try_from(section.within("record_bytes_max", RECORD_BYTES, RECORD_BYTES_DEFAULT).0)
            .expect("within bounds"),
    }
}

impl<'s> Flow<'s> {
    /// The records of the source `name`, which the configuration wires under `sources.name` (standard input if it says
    /// nothing). Bytes that do not decode as `T` become dead letters.
    ///
    /// # Errors
    /// If the configuration of the source is faulty; the run then reports every fault.
    pub fn source<T: Decode>(&self, name: &str) -> Result<Source<'s, T>> {
        self.claim(name, PartKind::Source);
        let building = self.building();
        let environment = &building.environment;
        let wired = environment.sources.get(name).map(Arc::clone);
        if wired.is_none() && environment.sources_wired_only {
            self.fault(name, "nothing in this test says what the source reads; give it a script".to_owned());
        }
        let (settings, options, connector) =
            self.section(&format!("sources.{name}"), environment.node(&["sources", name]), |section| {
                let settings = common::<T>(section);
                let options = T::options(section);
                // What is configured is checked even where it is replaced.
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
        let rules = connector.as_deref().map(|connector| settings.time.rules(connector)).unwrap_or_default();
        let connector = if environment.planning { Arc::new(Unopened) } else { self.result(connector, name)? };

        let (worker, workers) = (building.scope.index(), building.scope.peers());
        let validations = Validations::default();
        let metrics = environment.metrics.source(name, worker);
        let snapshots = &building.snapshots;
        if T::decoder(&options).state().is_none() {
            snapshots.refuse(&format!(
                "the decoder of source {name:?} depends on earlier records, and has no state to save"
            ));
        }
        let stage = SourceStage {
            positions: snapshots.slot(&positions_of(name)),
            admitted: snapshots.slot(&admitted_of(name)),
            watermark: snapshots.slot(&watermark_of(name)),
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
            rules,
            validations: Rc::clone(&validations),
            durability: environment.durability.clone(),
            control: environment.control.clone(),
            ticker: environment.ticker.clone(),
            sinks: building.sinks.clone(),
            flow_control: environment.flow_control,
            reads: self.reads(metrics.clone()),
            letters_wanted: are_wanted(environment),
            metrics,
        };
        let (records, watermark, letters) = source(building.scope, stage);
        self.dead_letters(letters);
        Ok(Source { stream: Stream::new(self.handle(), records, watermark), validations })
    }
}

/// A placeholder for a connector while a dataflow is only checked.
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
