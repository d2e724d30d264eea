//! Two streams grouped by one key.

use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::vec::Map;

use super::keyed::Keyed;
use super::stream::{Stream, least_watermark};
use crate::operators::aggregate::Side;
use crate::record::Record;
use crate::state::key::Key;

impl<'s, T: Record, K: Key, F: Fn(&T) -> K + Clone + 'static> Keyed<'s, T, K, F> {
    /// Groups the records of another stream by the same key, beside those of this one: for joins within a window.
    ///
    /// The records are [`Side`]s, under the least of both watermarks. [`Sides`](crate::operators::aggregate::Sides)
    /// aggregates each side of a window by an aggregate of its own, and says `None` for a side that has no record there; what
    /// to make of such keys is up to the next stage.
    ///
    /// ```
    /// use tidewatch::prelude::*;
    ///
    /// #[derive(Event)]
    /// struct Login {
    ///     #[event(time)]
    ///     at: EventTime,
    ///     user: Text,
    /// }
    ///
    /// #[derive(Event)]
    /// struct Upload {
    ///     #[event(time)]
    ///     at: EventTime,
    ///     owner: Text,
    ///     bytes: u64,
    /// }
    ///
    /// /// The bytes that users uploaded in a minute in which they also logged in.
    /// fn build(flow: &Flow, _: &NoParams) -> Result<()> {
    ///     let logins = flow.source::<Login>("logins")?;
    ///     let uploads = flow.source::<Upload>("uploads")?;
    ///     let per_user = logins
    ///         .key_by(|login| login.user.clone())
    ///         .cogroup(uploads.key_by(|upload| upload.owner.clone()))
    ///         .window("per-user", Tumbling::of(Duration::from_secs(60)))
    ///         .aggregate(Sides(Count, Sum::of(|upload: &Upload| upload.bytes)));
    ///     let both = per_user.flat_map("both", |window| match window.value {
    ///         (Some(_), Some(bytes)) => Some((window.key, bytes)),
    ///         _ => None,
    ///     });
    ///     both.sink("out")
    /// }
    /// # fn main() {}
    /// ```
    #[expect(clippy::type_complexity, reason = "the type of a closure has no name")]
    pub fn cogroup<U: Record, G: Fn(&U) -> K + Clone + 'static>(
        self,
        other: Keyed<'s, U, K, G>,
    ) -> Keyed<'s, Side<T, U>, K, impl Fn(&Side<T, U>) -> K + Clone + 'static> {
        let (left, right) = (self.stream, other.stream);
        let cut = left.cut.max(right.cut).behind_a_stage();
        let watermark = least_watermark(&left.flow, "cogroup", [left.watermark, right.watermark]);
        let scope = left.records.scope();
        let records = scope.concatenate([left.records.map(Side::Left), right.records.map(Side::Right)]);
        let (left_key, right_key) = (self.key, other.key);
        let key = move |record: &Side<T, U>| match record {
            Side::Left(record) => left_key(record),
            Side::Right(record) => right_key(record),
        };
        Keyed::new(Stream::new(left.flow, records, watermark).cut(cut), key)
    }
}
