//! A stream of records and the stages that work on one record at a time.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::operator::Operator;

use super::{Flow, Keyed, PartKind};
use crate::error::Result;
use crate::error::stage::StageName;
use crate::operators::watermark::least;
use crate::record::Record;
use crate::runtime::sink::KeyOf;
use crate::state::key::Key;
use crate::telemetry::StageMetrics;
use crate::time::{Epoch, EventTime};

/// How the records of a stream, or the rows of a sink, depend on the cut of the input into epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cut {
    /// Not at all: they depend on the input alone.
    #[default]
    Same,
    /// They are [`Change`](super::Change)s to a collection: their sum depends on the input alone, but not how many
    /// there are on the way.
    Changes,
    /// They were computed from changes, so that nothing is known of them.
    OfChanges,
}

impl Cut {
    /// The dependence of what a stage computes from such records.
    pub(super) fn behind_a_stage(self) -> Self {
        if self == Cut::Same { Cut::Same } else { Cut::OfChanges }
    }
}

/// Records in a dataflow, and the watermark that goes with them.
///
/// A stream is a handle: using it twice sends its records both ways.
pub struct Stream<'s, T> {
    pub(super) flow: Flow<'s>,
    pub(super) records: StreamVec<'s, Epoch, T>,
    pub(super) watermark: StreamVec<'s, Epoch, EventTime>,
    pub(super) cut: Cut,
}

/// The least of several watermarks, each of which may be given more than once; `name` is the stage that needs it.
pub(super) fn least_watermark<'s>(
    flow: &Flow<'s>,
    name: &str,
    watermarks: impl IntoIterator<Item = StreamVec<'s, Epoch, EventTime>>,
) -> StreamVec<'s, Epoch, EventTime> {
    let mut different: Vec<StreamVec<'s, Epoch, EventTime>> = Vec::new();
    for watermark in watermarks {
        if !different.iter().any(|known| known.name() == watermark.name()) {
            different.push(watermark);
        }
    }
    match different.len() {
        1 => different.remove(0),
        _ => {
            let name = format!("{name}.watermark");
            least(&name, different, flow.building().snapshots.slot(&name))
        }
    }
}

type Builder<T> = CapacityContainerBuilder<Vec<T>>;

impl<'s, T: Record> Stream<'s, T> {
    pub(super) fn new(
        flow: Flow<'s>,
        records: StreamVec<'s, Epoch, T>,
        watermark: StreamVec<'s, Epoch, EventTime>,
    ) -> Self {
        Stream { flow, records, watermark, cut: Cut::Same }
    }

    /// The same watermark over other records.
    pub(super) fn with<U: Record>(&self, records: StreamVec<'s, Epoch, U>) -> Stream<'s, U> {
        Stream::new(self.flow.handle(), records, self.watermark.clone()).cut(self.cut.behind_a_stage())
    }

    /// The same records, with a known dependence on the cut into epochs.
    pub(super) fn cut(self, cut: Cut) -> Self {
        Stream { cut, ..self }
    }

    pub(super) fn stage(&self, name: &str) -> StageMetrics {
        self.flow.claim(name, PartKind::Stage);
        let building = self.flow.building();
        building.environment.metrics.stage(name, building.scope.index())
    }

    /// A stage that turns one batch into another in place on its worker, and counts both.
    fn batches<U: Record>(
        &self,
        name: &str,
        mut work: impl FnMut(&mut Vec<T>, &mut Vec<U>) + 'static,
    ) -> Stream<'s, U> {
        let metrics = self.stage(name);
        let stage = StageName::of(name);
        let records = self.records.clone().unary::<Builder<U>, _, _, _>(Pipeline, name, move |_, _| {
            let mut out = Vec::new();
            move |input, output| {
                let _stage = stage.enter();
                input.for_each(|capability, batch| {
                    metrics.records_in(batch.len() as u64);
                    work(batch, &mut out);
                    metrics.records_out(out.len() as u64);
                    if !out.is_empty() {
                        output.session(&capability).give_container(&mut out);
                        out.clear();
                    }
                });
            }
        });
        self.with(records)
    }

    /// Keeps the records for which `keep` is true; the others are counted as filtered by `name`.
    pub fn filter(&self, name: &str, keep: impl Fn(&T) -> bool + 'static) -> Stream<'s, T> {
        let metrics = self.stage(name);
        let stage = StageName::of(name);
        let records = self.records.clone().unary::<Builder<T>, _, _, _>(Pipeline, name, move |_, _| {
            move |input, output| {
                let _stage = stage.enter();
                input.for_each(|capability, batch| {
                    let before = batch.len();
                    batch.retain(&keep);
                    metrics.records_in(before as u64);
                    metrics.records_out(batch.len() as u64);
                    metrics.filtered((before - batch.len()) as u64);
                    if !batch.is_empty() {
                        output.session(&capability).give_container(batch);
                    }
                });
            }
        });
        self.with(records)
    }

    /// Turns each record into another.
    pub fn map<U: Record>(&self, name: &str, each: impl Fn(T) -> U + 'static) -> Stream<'s, U> {
        self.batches(name, move |batch, out| out.extend(batch.drain(..).map(&each)))
    }

    /// Turns each record into any number of others. A record that becomes none is counted as filtered by `name`.
    ///
    /// `Option` is such a number: `.flat_map("failures", |line| line.failure())`.
    pub fn flat_map<I>(&self, name: &str, each: impl Fn(T) -> I + 'static) -> Stream<'s, I::Item>
    where
        I: IntoIterator,
        I::Item: Record,
    {
        let metrics = self.stage_of(name);
        self.batches(name, move |batch, out| {
            let mut none = 0;
            for record in batch.drain(..) {
                let before = out.len();
                out.extend(each(record));
                none += u64::from(out.len() == before);
            }
            metrics.filtered(none);
        })
    }

    /// The records of this stream and of `others`, under the least of their watermarks.
    pub fn merge(&self, name: &str, others: &[&Stream<'s, T>]) -> Stream<'s, T> {
        self.flow.claim(name, PartKind::Stage);
        let all = || std::iter::once(self).chain(others.iter().copied());
        let scope = self.records.scope();
        let records = scope.concatenate(all().map(|stream| stream.records.clone()));
        let watermark = least_watermark(&self.flow, name, all().map(|stream| stream.watermark.clone()));
        let cut = all().map(|stream| stream.cut.behind_a_stage()).max().unwrap_or_default();
        Stream::new(self.flow.handle(), records, watermark).cut(cut)
    }

    /// The metrics of a stage whose name is claimed elsewhere.
    fn stage_of(&self, name: &str) -> StageMetrics {
        let building = self.flow.building();
        building.environment.metrics.stage(name, building.scope.index())
    }

    /// Groups records by a key, for windows and whatever else belongs to one key.
    pub fn key_by<K: Key>(
        &self,
        key: impl Fn(&T) -> K + Clone + 'static,
    ) -> Keyed<'s, T, K, impl Fn(&T) -> K + Clone + 'static> {
        Keyed::new(self.with(self.records.clone()), key)
    }

    /// Writes every record as one row of the sink `name`, which the configuration wires under `sinks.name` (standard
    /// output if it says nothing).
    ///
    /// # Errors
    /// None now; a faulty configuration is reported with all others.
    pub fn sink(&self, name: &str) -> Result<()> {
        self.write(name, None)
    }

    /// Like [`sink`](Self::sink), with a key for each row: Kafka puts rows of one key into one partition, in order.
    ///
    /// # Errors
    /// As for [`sink`](Self::sink).
    pub fn sink_keyed<B: AsRef<[u8]>>(&self, name: &str, key: impl Fn(&T) -> B + 'static) -> Result<()> {
        let key: KeyOf<T> = Rc::new(move |record, bytes| bytes.extend_from_slice(key(record).as_ref()));
        self.write(name, Some(&key))
    }

    fn write(&self, name: &str, key: Option<&KeyOf<T>>) -> Result<()> {
        self.flow.claim(name, PartKind::Sink);
        self.flow.building().cuts.borrow_mut().insert(name.to_owned(), self.cut);
        let connectors = self.flow.sink_connectors(name);
        self.flow.attach_sink(name, &self.records, connectors, key);
        Ok(())
    }
}
