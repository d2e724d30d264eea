//! The ways out: into timely, and into differential dataflow.

use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use timely::dataflow::StreamVec;

use super::Part;
use super::stream::Stream;
use crate::record::Record;
use crate::time::Epoch;

impl<'s, T: Record> Stream<'s, T> {
    /// The timely stream underneath. Its timestamp is the epoch at which a record was read; event time is in the record.
    ///
    /// ```
    /// # use tidewatch::prelude::*;
    /// # fn build(flow: &Flow, _: &NoParams) -> Result<()> {
    /// use timely::dataflow::operators::Inspect;
    /// let lines = flow.source::<Line>("lines")?;
    /// lines.into_timely().inspect(|line| assert!(!line.text.is_empty()));
    /// lines.sink("out")
    /// # }
    /// # fn main() {}
    /// ```
    pub fn into_timely(&self) -> StreamVec<'s, Epoch, T> {
        self.records.clone()
    }

    /// A stage written in timely. What it makes at an epoch must depend on nothing but its input up to that epoch.
    pub fn with_timely<U: Record>(
        &self,
        name: &str,
        stage: impl FnOnce(StreamVec<'s, Epoch, T>) -> StreamVec<'s, Epoch, U>,
    ) -> Stream<'s, U> {
        self.flow.claim(name, Part::Stage);
        self.with(stage(self.records.clone()))
    }

    /// The records as a differential collection: each is inserted at the epoch at which it was read, and stays.
    ///
    /// ```
    /// # use tidewatch::prelude::*;
    /// # fn build(flow: &Flow, _: &NoParams) -> Result<()> {
    /// use timely::dataflow::operators::vec::Map;
    /// let lines = flow.source::<Line>("lines")?;
    /// let counts = lines.map("text", |line| line.text.to_string()).with_timely("count", |texts| {
    ///     use differential_dataflow::AsCollection;
    ///     let texts = texts.map(|text| (text, 0, 1isize)).as_collection();
    ///     texts.count().inner.map(|((text, count), _, change)| (text, count, change))
    /// });
    /// counts.sink("counts")
    /// # }
    /// # fn main() {}
    /// ```
    pub fn into_collection(&self) -> VecCollection<'s, Epoch, T, isize>
    where
        T: ExchangeData,
    {
        use timely::dataflow::channels::pact::Pipeline;
        use timely::dataflow::operators::generic::operator::Operator;
        self.records
            .clone()
            .unary::<timely::container::CapacityContainerBuilder<Vec<(T, Epoch, isize)>>, _, _, _>(
                Pipeline,
                "into_collection",
                |_, _| {
                    move |input, output| {
                        input.for_each(|capability, batch| {
                            let Some(epoch) = capability.least().copied() else { return };
                            output.session(&capability).give_iterator(batch.drain(..).map(|r| (r, epoch, 1)));
                        });
                    }
                },
            )
            .as_collection()
    }
}
