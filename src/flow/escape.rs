//! Escapes into timely and differential dataflow.

use differential_dataflow::{AsCollection, ExchangeData, Hashable, VecCollection};
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::Map;

use super::stream::{Cut, Stream};
use super::{Building, PartKind};
use crate::operators::collection::{changes, insertions};
use crate::record::Record;
use crate::time::Epoch;

/// A change of how often a row is in a collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change<U> {
    /// The row.
    pub row: U,
    /// The change of its multiplicity: positive if it is there more often.
    pub by: i64,
}

impl<'s, T: Record> Stream<'s, T> {
    /// The timely stream underneath. Its timestamp is the epoch at which a record was read; event time is in the
    /// record.
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

    /// A stage written in timely. Its output at an epoch must depend only on its input up to that epoch.
    ///
    /// The stage does not see the watermark: the stream that it returns has that of its input. Its state is not known
    /// to Tidewatch, so a dataflow with such a stage has no checkpoints: a restart replays all its epochs.
    pub fn with_timely<U: Record>(
        &self,
        name: &str,
        stage: impl FnOnce(StreamVec<'s, Epoch, T>) -> StreamVec<'s, Epoch, U>,
    ) -> Stream<'s, U> {
        self.flow.claim(name, PartKind::Stage);
        self.flow.building().snapshots.refuse(&format!("stage {name:?} is written in timely"));
        self.with(stage(self.records.clone()))
    }

    /// A stage written in differential dataflow: records go in as a collection that only grows, and the output is every
    /// [`Change`] to the collection that `stage` returns, at most one per row and epoch.
    ///
    /// ```
    /// # use tidewatch::prelude::*;
    /// # fn build(flow: &Flow, _: &NoParams) -> Result<()> {
    /// let lines = flow.source::<Line>("lines")?;
    /// let texts = lines.map("text", |line| line.text.to_string());
    /// texts.with_collection("count", |texts| texts.count()).sink("counts")
    /// # }
    /// # fn main() {}
    /// ```
    ///
    /// Other streams take part by their own [`into_collection`](Self::into_collection).
    pub fn with_collection<U: Record + ExchangeData + Hashable>(
        &self,
        name: &str,
        stage: impl FnOnce(VecCollection<'s, Epoch, T, isize>) -> VecCollection<'s, Epoch, U, isize>,
    ) -> Stream<'s, Change<U>>
    where
        T: ExchangeData,
    {
        self.flow.claim(name, PartKind::Stage);
        let updates = stage(self.into_collection()).consolidate();
        // The records of an earlier run are inserted again; the changes that follow from them were sent by that run.
        let kept_at = self.flow.building().snapshots.kept_at();
        let cut = if self.cut == Cut::Same { Cut::Changes } else { Cut::OfChanges };
        self.with(changes(updates.inner, kept_at).map(|(row, by)| Change { row, by: by as i64 })).cut(cut)
    }

    /// The records as a differential collection: each is inserted at the epoch at which it was read, and stays.
    ///
    /// ```
    /// # use tidewatch::prelude::*;
    /// # fn build(flow: &Flow, _: &NoParams) -> Result<()> {
    /// let lines = flow.source::<Line>("lines")?.map("line", |line| line.text.to_string());
    /// let allowed = flow.source::<Line>("allowed")?.map("allowed-line", |line| line.text.to_string());
    /// let allowed = allowed.into_collection();
    /// let lines = lines.map("keyed", |line| (line, ()));
    /// lines.with_collection("both", |lines| lines.semijoin(allowed.distinct())).sink("both")
    /// # }
    /// # fn main() {}
    /// ```
    pub fn into_collection(&self) -> VecCollection<'s, Epoch, T, isize>
    where
        T: ExchangeData,
    {
        let Building { snapshots, .. } = self.flow.building();
        insertions(self.records.clone(), snapshots.slot("collection"), snapshots.kept_at()).as_collection()
    }
}
