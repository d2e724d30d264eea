//! Batches of rows that are exchanged: within a process the rows are moved; between processes they are written in a
//! format, and read where they were received.
//!
//! A [`Batch`] is a container of timely's. Its [`Format`] says how rows are written: [`Columns`] for rows with a time,
//! a key and a value, `Abomonated` (with the feature `abomonation`) for rows as they lie in memory. `Vec`, timely's own
//! container, writes them with bincode. What each costs, and when to use which, is in `docs/design/0003-exchange.md`.
//!
//! The invariant: as many rows arrive as were sent, whatever the way, since timely counts them.

#[cfg(feature = "abomonation")]
pub mod abomonated;
mod columns;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::io::Write;
use std::ops::Range;
use std::vec;

use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::container::{CapacityContainerBuilder, DrainContainer, PushInto, SizableContainer};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::ContainerBytes;
use timely::dataflow::channels::pact::{ExchangeCore, Pipeline};
use timely::dataflow::operators::generic::operator::Operator;

#[cfg(feature = "abomonation")]
pub use abomonated::Abomonated;
pub use columns::{Columns, KeyedRow};

use crate::time::Epoch;

/// How rows are written between processes. A value of the type is a batch as it was received.
///
/// What it reads was written by a process of the same build, which the mesh checks when it forms; so a batch that
/// cannot be read is a defect of ours, and a panic.
pub trait Format: Clone + Send + 'static {
    /// The type of the rows.
    type Row: Clone + Send + 'static;

    /// Appends `rows` to `to`, which is empty. The length must be a multiple of 8.
    fn write(rows: &[Self::Row], to: &mut Vec<u8>);

    /// Takes the bytes that `write` wrote.
    ///
    /// # Panics
    /// If lengths in it do not agree.
    fn receive(wire: Bytes) -> Self;

    /// How many rows there are.
    fn rows(&self) -> usize;

    /// Row `i`, borrowed from the batch or built from it.
    ///
    /// # Panics
    /// If there is no such row, or it cannot be read.
    fn row(&self, i: usize) -> Cow<'_, Self::Row>;
}

/// Rows in one message.
#[derive(Clone)]
pub struct Batch<F: Format>(BatchRows<F>);

#[derive(Clone)]
enum BatchRows<F: Format> {
    Here {
        rows: Vec<F::Row>,
        /// The encoded rows, from when timely asks for their length until it asks for them.
        written: OnceCell<Vec<u8>>,
    },
    Received(F),
}

impl<F: Format> From<Vec<F::Row>> for Batch<F> {
    fn from(rows: Vec<F::Row>) -> Self {
        Batch(BatchRows::Here { rows, written: OnceCell::new() })
    }
}

impl<F: Format> Default for Batch<F> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<F: Format> Accountable for Batch<F> {
    fn record_count(&self) -> i64 {
        let rows = match &self.0 {
            BatchRows::Here { rows, .. } => rows.len(),
            BatchRows::Received(batch) => batch.rows(),
        };
        i64::try_from(rows).expect("a length fits")
    }
}

impl<F: Format> DrainContainer for Batch<F> {
    type Item<'a> = Cow<'a, F::Row>;
    type DrainIter<'a> = Drained<'a, F>;

    fn drain(&mut self) -> Drained<'_, F> {
        match &mut self.0 {
            BatchRows::Here { rows, written } => {
                written.take();
                Drained::Here(rows.drain(..))
            }
            BatchRows::Received(batch) => Drained::Received(0..batch.rows(), batch),
        }
    }
}

/// The rows of a batch, one after the other: moved out of it if it was never sent to another process.
pub enum Drained<'a, F: Format> {
    #[doc(hidden)]
    Here(vec::Drain<'a, F::Row>),
    #[doc(hidden)]
    Received(Range<usize>, &'a F),
}

impl<'a, F: Format> Iterator for Drained<'a, F> {
    type Item = Cow<'a, F::Row>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Drained::Here(rows) => rows.next().map(Cow::Owned),
            Drained::Received(left, batch) => left.next().map(|i| batch.row(i)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Drained::Here(rows) => rows.size_hint(),
            Drained::Received(left, _) => left.size_hint(),
        }
    }
}

impl<F: Format> SizableContainer for Batch<F> {
    fn at_capacity(&self) -> bool {
        matches!(&self.0, BatchRows::Here { rows, .. } if rows.at_capacity())
    }

    fn ensure_capacity(&mut self, stash: &mut Option<Self>) {
        if let BatchRows::Received(_) = self.0 {
            *self = Batch::default();
        }
        let BatchRows::Here { rows, .. } = &mut self.0 else { unreachable!("it was just made one that is here") };
        let mut spare = match stash.take() {
            Some(Batch(BatchRows::Here { rows, .. })) => Some(rows),
            _ => None,
        };
        rows.ensure_capacity(&mut spare);
        *stash = spare.map(Batch::from);
    }
}

impl<F: Format> PushInto<Cow<'_, F::Row>> for Batch<F> {
    fn push_into(&mut self, row: Cow<'_, F::Row>) {
        let BatchRows::Here { rows, .. } = &mut self.0 else { panic!("a batch that was received takes no more rows") };
        rows.push(row.into_owned());
    }
}

impl<F: Format> ContainerBytes for Batch<F> {
    fn from_bytes(wire: Bytes) -> Self {
        Batch(BatchRows::Received(F::receive(wire)))
    }

    fn length_in_bytes(&self) -> usize {
        self.written().len()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        writer.write_all(self.written()).expect("the mesh takes what was announced");
    }
}

impl<F: Format> Batch<F> {
    /// The encoded rows. Timely asks for the length and then for the bytes: they are written once.
    fn written(&self) -> &[u8] {
        let BatchRows::Here { rows, written } = &self.0 else { panic!("a batch is sent once, by whoever filled it") };
        written.get_or_init(|| {
            let mut bytes = Vec::with_capacity(size_of_val(rows.as_slice()));
            F::write(rows, &mut bytes);
            bytes
        })
    }
}

/// Builds batches.
pub type BatchBuilder<F> = CapacityContainerBuilder<Batch<F>>;

/// Sends each of `rows` to worker `route(row)` modulo the number of workers, in format `F`, by two operators: `name`
/// followed by `.pack`, and `name`. A row's epoch does not change. For a stage of one's own that needs the rows of a
/// key on one worker:
/// ```
/// use tidewatch::flow::timely::dataflow::operators::vec::Filter;
/// use tidewatch::operators::exchange::{Columns, KeyedRow, exchange};
/// use tidewatch::prelude::*;
/// use tidewatch::state::key::key_group;
///
/// #[derive(Event)]
/// struct Login {
///     #[event(time)]
///     at: EventTime,
///     user: Text,
///     host: Text,
/// }
///
/// impl KeyedRow for Login {
///     type Key = Text;
///     type Value = Text;
///
///     fn columns(&self) -> (EventTime, &Text, &Text) {
///         (self.at, &self.user, &self.host)
///     }
///
///     fn of_columns(at: EventTime, user: Text, host: Text) -> Self {
///         Login { at, user, host }
///     }
/// }
///
/// fn first_seen(flow: &Flow, _: &NoParams) -> Result<()> {
///     let logins = flow.source::<Login>("logins")?;
///     let first = logins.with_timely("first", |logins| {
///         let by_user = exchange::<Columns<Login>>("by-user", logins, |login| key_group(&login.user));
///         let mut seen = std::collections::BTreeSet::new();
///         by_user.filter(move |login| seen.insert(login.user.clone()))
///     });
///     first.map("user", |login| login.user).sink("users")
/// }
/// # use tidewatch::testing::{TestRun, assert_same_rows, item};
/// # let login = |user: &str| item(serde_json::json!({ "at": 1, "user": user, "host": "h" }));
/// # let run = TestRun::new(dataflow("first-seen", first_seen));
/// # let results = run.partitions("logins", [["ann", "bob"], ["bob", "bob"]].map(|users| users.map(login))).everywhere()?;
/// # assert_same_rows(["ann", "bob"], results.json("users"));
/// # Ok::<(), tidewatch::error::Error>(())
/// ```
pub fn exchange<'s, F: Format>(
    name: &str,
    rows: StreamVec<'s, Epoch, F::Row>,
    route: impl Fn(&F::Row) -> u64 + 'static,
) -> StreamVec<'s, Epoch, F::Row> {
    let packed = rows.unary::<BatchBuilder<F>, _, _, _>(Pipeline, &format!("{name}.pack"), |_, _| {
        move |input, output| {
            input.for_each(|capability, rows| {
                output.session(&capability).give_container(&mut Batch::from(std::mem::take(rows)));
            });
        }
    });
    let by_route = ExchangeCore::new(move |row: &Cow<'_, F::Row>| route(row));
    packed.unary::<CapacityContainerBuilder<Vec<F::Row>>, _, _, _>(by_route, name, |_, _| {
        move |input, output| {
            input.for_each(|capability, batch| {
                output.session(&capability).give_iterator(batch.drain().map(Cow::into_owned));
            });
        }
    })
}
