//! What a dataflow's author touches: a [`Flow`] with its sources, [`Stream`]s and their stages, and sinks.
//!
//! Code says *what*; configuration says *where and how much*. A dataflow is built once without opening any connector,
//! to check it (so all faults are found together, before anything starts), and then once on every worker, where sources
//! and sinks are opened.

mod cogroup;
mod dataflow;
mod dead_letters;
mod detect;
mod environment;
mod escape;
mod keyed;
pub mod launch;
mod source;
mod stream;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::{ProbeHandle, Scope, StreamVec};

/// The differential dataflow that this crate is built on, for escapes into it; no other version fits.
pub use differential_dataflow;
/// The timely that this crate is built on, for escapes into it; no other version fits.
pub use timely;

pub use dataflow::{Dataflow, NoParams, dataflow};
pub use dead_letters::DEAD_LETTERS;
pub use environment::{Environment, SinkByName};
pub use escape::Change;
pub use keyed::{Keyed, Windows};
pub use source::Source;
pub(crate) use stream::Cut;
pub use stream::Stream;

use crate::checkpoint::snapshots::Snapshots;
use crate::connectors;
use crate::connectors::sink::SinkConnector;
use crate::error::{Error, Result};
use crate::record::{DeadLetter, Record};
use crate::runtime::release::{Reads, release};
use crate::runtime::sink::{KeyOf, SinkStage, sink};
use crate::settings::{Fault, Location, Node, Section, Value};
use crate::telemetry::SourceMetrics;
use crate::time::Epoch;

/// A dataflow under construction on one worker.
///
/// Sources, stages and sinks are named; the name keys their configuration, metrics, state and errors, so two of one
/// name are an error. A sink may have the name of the stage that it writes: it has a table of its own, `sinks.name`.
pub struct Flow<'s>(Rc<Building<'s>>);

pub(crate) struct Building<'s> {
    pub(crate) scope: Scope<'s, Epoch>,
    pub(crate) environment: Arc<Environment>,
    /// The progress of all sinks.
    pub(crate) sinks: ProbeHandle<Epoch>,
    names: RefCell<BTreeSet<(PartKind, String)>>,
    faults: RefCell<Vec<Fault>>,
    letters: RefCell<Vec<StreamVec<'s, Epoch, DeadLetter>>>,
    /// The reads of each source.
    reads: RefCell<Vec<Reads>>,
    /// The progress of each sink.
    progress: RefCell<Vec<StreamVec<'s, Epoch, ()>>>,
    sink_count: Cell<usize>,
    /// How the rows of each sink depend on the cut into epochs.
    pub(crate) cuts: RefCell<BTreeMap<String, Cut>>,
    /// The snapshots of its operators.
    pub(crate) snapshots: Snapshots,
}

/// The kinds of named parts of a dataflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PartKind {
    Source,
    Stage,
    Sink,
}

impl PartKind {
    /// The kind in words.
    fn word(self) -> &'static str {
        match self {
            PartKind::Source => "source",
            PartKind::Stage => "stage",
            PartKind::Sink => "sink",
        }
    }

    /// The table of the configuration that wires parts of this kind.
    fn table(self) -> &'static str {
        match self {
            PartKind::Source => "sources",
            PartKind::Sink => "sinks",
            PartKind::Stage => "stages",
        }
    }
}

/// The longest name of a dataflow, source, stage or sink, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

impl<'s> Flow<'s> {
    pub(crate) fn new(scope: Scope<'s, Epoch>, environment: Arc<Environment>) -> Self {
        let durability = environment.durability.as_ref().filter(|_| !environment.planning);
        let snapshots = durability.map_or_else(Snapshots::off, |durability| {
            durability.snapshots(scope.index(), scope.peers(), &environment.control, &environment.metrics)
        });
        Flow(Rc::new(Building {
            scope,
            environment,
            sinks: ProbeHandle::new(),
            names: RefCell::default(),
            faults: RefCell::default(),
            letters: RefCell::default(),
            reads: RefCell::default(),
            progress: RefCell::default(),
            sink_count: Cell::new(0),
            cuts: RefCell::default(),
            snapshots,
        }))
    }

    pub(crate) fn handle(&self) -> Flow<'s> {
        Flow(Rc::clone(&self.0))
    }

    pub(crate) fn building(&self) -> &Building<'s> {
        &self.0
    }

    /// Takes a name for a part of the dataflow; a bad or repeated one is a fault.
    pub(crate) fn claim(&self, name: &str, part: PartKind) {
        let valid = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !valid {
            self.fault(name, format!("a name has 1 to {NAME_BYTES_MAX} characters of a-z, 0-9, '-' and '_'"));
        }
        let others: &[PartKind] =
            if part == PartKind::Sink { &[PartKind::Sink] } else { &[PartKind::Source, PartKind::Stage] };
        let mut names = self.0.names.borrow_mut();
        if let Some(other) = others.iter().find(|other| names.contains(&(**other, name.to_owned()))) {
            self.fault(name, format!("there is a {} of this name already; names are unique", other.word()));
        }
        if part == PartKind::Sink && name == DEAD_LETTERS {
            self.fault(name, "this is the name of the sink of dead letters; choose another".to_owned());
        }
        names.insert((part, name.to_owned()));
    }

    /// The names of its parts of one kind, in order.
    fn names(&self, part: PartKind) -> Vec<String> {
        self.0.names.borrow().iter().filter(|(p, _)| *p == part).map(|(_, name)| name.clone()).collect()
    }

    /// Reports a mistake in the construction.
    pub(crate) fn fault(&self, name: &str, message: String) {
        let environment = &self.0.environment;
        self.0.faults.borrow_mut().push(Fault {
            key: format!("dataflow {:?}, {name:?}", environment.dataflow),
            location: None,
            message,
        });
    }

    /// Reads the section that wires a part, if one is written.
    pub(crate) fn section<R>(&self, path: &str, node: Option<&Node>, read: impl FnOnce(&mut Section<'_>) -> R) -> R {
        let mut faults = self.0.faults.borrow_mut();
        let mut section = Section::new(path, node, &mut faults);
        let result = read(&mut section);
        section.finish();
        result
    }

    pub(crate) fn dead_letters(&self, letters: StreamVec<'s, Epoch, DeadLetter>) {
        self.0.letters.borrow_mut().push(letters);
    }

    /// The record of a source's reads that are not released.
    pub(crate) fn reads(&self, metrics: SourceMetrics) -> Reads {
        let reads = Reads::new(metrics);
        self.0.reads.borrow_mut().push(reads.clone());
        reads
    }

    /// The connectors that a sink is wired to: one, or several to write every row to each.
    fn sink_connectors(&self, name: &str) -> Vec<Arc<dyn SinkConnector>> {
        let environment = &self.0.environment;
        if let Some(connector) = environment.sinks.get(name) {
            return vec![Arc::clone(connector)];
        }
        let path = format!("sinks.{name}");
        let node = environment.node(&["sinks", name]);
        let mut tables: Vec<(String, Option<&Node>)> = vec![(path.clone(), node)];
        if let Some(Node { value: Value::Array(list), .. }) = node {
            tables = list.iter().enumerate().map(|(i, node)| (format!("{path}.{i}"), Some(node))).collect();
        }
        let configured: Vec<_> = tables
            .iter()
            .filter_map(|(path, node)| self.section(path, *node, connectors::kinds::sink_from_section))
            .collect();
        // What is configured is checked even where it is replaced.
        match &environment.sinks_by_default {
            Some(make) => vec![make(name)],
            None => configured,
        }
    }

    /// Writes `rows` to the sink `name`.
    pub(crate) fn attach_sink<R: Record>(
        &self,
        name: &str,
        rows: &StreamVec<'s, Epoch, R>,
        connectors: Vec<Arc<dyn SinkConnector>>,
        key: Option<&KeyOf<R>>,
    ) {
        let Building { scope, environment, progress, sink_count, .. } = &*self.0;
        let several = connectors.len() > 1;
        for (index, connector) in connectors.into_iter().enumerate() {
            if environment.planning {
                continue;
            }
            // Rows that are written twice are counted separately.
            let counted = if several { format!("{name}.{index}") } else { name.to_owned() };
            let durability = &environment.durability;
            tracing::debug!(sink = name, delivery = %connector.delivery(), "sink attached");
            let stage = SinkStage {
                name: name.to_owned(),
                worker: scope.index(),
                workers: scope.peers(),
                run_ms: durability.as_ref().map_or(environment.run_ms, |durability| durability.created_ms),
                durable: durability.as_ref().map(|d| (d.generation.clone(), d.sink_shards)),
                connector,
                key: key.cloned(),
                control: environment.control.clone(),
                ticker: environment.ticker.clone(),
                metrics: environment.metrics.sink(&counted, scope.index()),
            };
            progress.borrow_mut().push(sink(rows.clone(), stage));
        }
        sink_count.set(sink_count.get() + 1);
    }

    /// Ends the construction: attaches the dead letters and reports every fault that was found.
    pub(crate) fn finish(&self) -> Result<ProbeHandle<Epoch>, Vec<Fault>> {
        if self.0.sink_count.get() == 0 {
            self.fault(
                "sinks",
                "there is none, so nothing would come out; end a stream with .sink(\"name\")".to_owned(),
            );
        }
        dead_letters::attach(self, self.0.letters.take());
        let snapshots = self.0.snapshots.clone();
        let committed = move |epoch| snapshots.committed(epoch);
        release(self.0.scope, self.0.progress.take(), self.0.reads.take(), committed, &self.0.sinks);
        let environment = &self.0.environment;
        for part in [PartKind::Source, PartKind::Sink] {
            let names = self.0.names.borrow();
            let known: Vec<&str> = names.iter().filter(|(p, _)| *p == part).map(|(_, name)| name.as_str()).collect();
            let configured = environment.node(&[part.table()]).into_iter().flat_map(Node::entries);
            let configured = configured.map(|(name, node)| (name, &node.location));
            for (name, location) in
                configured.chain(environment.wired_in_code(part).map(|name| (name, &Location::Code)))
            {
                if !known.contains(&name) {
                    self.0.faults.borrow_mut().push(Fault {
                        key: format!("{}.{name}", part.table()),
                        location: Some(location.clone()),
                        message: format!("the dataflow has no such part; it has: {}", known.join(", ")),
                    });
                }
            }
        }
        let faults = self.0.faults.take();
        if faults.is_empty() { Ok(self.0.sinks.clone()) } else { Err(faults) }
    }

    /// The faults so far and `more`.
    fn faults_and(&self, more: Vec<Fault>) -> Vec<Fault> {
        let mut faults = self.0.faults.take();
        faults.extend(more);
        faults
    }

    /// An error for a build that continued after a fault; the faults themselves are reported together.
    pub(crate) fn result<T>(&self, value: Option<T>, name: &str) -> Result<T> {
        value.ok_or_else(|| Error::config(format!("{name:?} is not configured correctly")))
    }
}
