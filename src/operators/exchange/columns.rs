//! Rows with a time, a key and a value, as columns: the times, then where each key and each value ends, then their
//! bytes.
//!
//! The words are little-endian and each column is padded to a word. Keys and values are written with bincode, lengths
//! and whole numbers in as few bytes as they need.

use std::borrow::Cow;
use std::marker::PhantomData;

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;
use timely::bytes::arc::Bytes;

use super::Format;
use crate::time::EventTime;

/// A row that is written as columns.
pub trait KeyedRow: Clone + Send + 'static {
    /// The key's type.
    type Key: Serialize + DeserializeOwned;
    /// The value's type.
    type Value: Serialize + DeserializeOwned;

    /// Its time, key and value.
    fn columns(&self) -> (EventTime, &Self::Key, &Self::Value);

    /// The row of a time, a key and a value.
    fn of_columns(time: EventTime, key: Self::Key, value: Self::Value) -> Self;
}

/// Rows as they were received: three words (how many rows there are, how many bytes the keys take, how many the
/// values), the times, the ends of the keys and those of the values (32 bits each), the keys, the values.
#[derive(Clone)]
pub struct Columns<R> {
    rows: usize,
    key_bytes: usize,
    wire: Bytes,
    of: PhantomData<fn() -> R>,
}

const WORD: usize = size_of::<u64>();
const HEAD_WORDS: usize = 3;

/// Where the columns of so many rows begin: the ends of the keys, those of the values, the bytes.
fn places(rows: usize) -> (usize, usize, usize) {
    let ends = (rows * size_of::<u32>()).next_multiple_of(WORD);
    let first = (HEAD_WORDS + rows) * WORD;
    (first, first + ends, first + 2 * ends)
}

fn format() -> impl Options {
    bincode::options()
}

impl<R: KeyedRow> Format for Columns<R> {
    type Row = R;

    fn write(rows: &[R], to: &mut Vec<u8>) {
        let (mut ends, mut values) = (Vec::with_capacity(rows.len()), Vec::new());
        let (key_ends_at, value_ends_at, keys_at) = places(rows.len());
        to.resize(keys_at, 0);
        for (i, row) in rows.iter().enumerate() {
            let (time, key, value) = row.columns();
            put(to, (HEAD_WORDS + i) * WORD, &time.millis().to_le_bytes());
            format().serialize_into(&mut *to, key).expect(WRITABLE);
            format().serialize_into(&mut values, value).expect(WRITABLE);
            ends.push((end(to.len() - keys_at), end(values.len())));
        }
        let key_bytes = to.len() - keys_at;
        for (i, (key, value)) in ends.into_iter().enumerate() {
            put(to, key_ends_at + i * size_of::<u32>(), &key);
            put(to, value_ends_at + i * size_of::<u32>(), &value);
        }
        for (i, count) in [rows.len(), key_bytes, values.len()].into_iter().enumerate() {
            put(to, i * WORD, &(count as u64).to_le_bytes());
        }
        to.resize(to.len().next_multiple_of(WORD), 0);
        to.extend(values);
        to.resize(to.len().next_multiple_of(WORD), 0);
    }

    fn receive(wire: Bytes) -> Self {
        let count = |at: usize| wire.get(at * WORD..).and_then(<[u8]>::first_chunk).map(|w| u64::from_le_bytes(*w));
        let [rows, key_bytes, value_bytes] =
            [0, 1, 2].map(|at| usize::try_from(count(at).expect("a batch has a head")).expect("a length fits"));
        let fits = [rows, key_bytes, value_bytes].iter().all(|n| *n <= wire.len());
        let needed = || places(rows).2 + key_bytes.next_multiple_of(WORD) + value_bytes.next_multiple_of(WORD);
        assert!(
            fits && needed() == wire.len(),
            "a batch of {rows} rows, with {key_bytes} bytes of keys and {value_bytes} of values, has {} bytes",
            wire.len()
        );
        Columns { rows, key_bytes, wire, of: PhantomData }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn row(&self, i: usize) -> Cow<'_, R> {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        let (key_ends, value_ends, keys) = places(self.rows);
        let values = keys + self.key_bytes.next_multiple_of(WORD);
        let time = EventTime::from_millis(i64::from_le_bytes(*chunk(&self.wire, (HEAD_WORDS + i) * WORD)));
        let key = format().deserialize(self.cell(key_ends, keys, i)).expect(READABLE);
        let value = format().deserialize(self.cell(value_ends, values, i)).expect(READABLE);
        Cow::Owned(R::of_columns(time, key, value))
    }
}

const WRITABLE: &str = "what a row holds can be written by serde, as `Record` asks for";
const READABLE: &str = "a process of the same build has written it";

impl<R> Columns<R> {
    /// The bytes of row `i` in a column, given where its ends and its bytes begin.
    fn cell(&self, ends: usize, bytes: usize, i: usize) -> &[u8] {
        let end = |i: usize| u32::from_le_bytes(*chunk(&self.wire, ends + i * size_of::<u32>())) as usize;
        let start = i.checked_sub(1).map_or(0, end);
        self.wire.get(bytes + start..bytes + end(i)).expect(READABLE)
    }
}

fn put<const N: usize>(to: &mut [u8], at: usize, bytes: &[u8; N]) {
    to[at..at + N].copy_from_slice(bytes);
}

fn chunk<const N: usize>(wire: &[u8], at: usize) -> &[u8; N] {
    wire[at..].first_chunk().expect("checked on receipt")
}

fn end(bytes: usize) -> [u8; size_of::<u32>()] {
    u32::try_from(bytes).expect("a batch is far smaller than 4 GiB").to_le_bytes()
}
