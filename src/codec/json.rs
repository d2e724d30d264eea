//! One JSON object to one record, by a reader generated for its type, with a general parser as fallback.
//!
//! `#[derive(Event)]` writes the reader: it expects the fields in the order of their declaration and the compact form
//! that programs write (`{"ts":1,"host":"a"}`), and gives up at anything else. `serde_json` decides then, and it alone
//! can refuse a record. So the order of fields, spaces and escapes cost time, but never change the result: wherever the
//! quick reader has one, it is the general parser's.

mod cursor;
mod field;
mod fuzz;
mod general;
mod plain;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::line::utf8;
use crate::record::{Decoder, Rejection};

#[doc(hidden)]
pub use cursor::Cursor;
#[doc(hidden)]
pub use field::{FastField, KeptByDefault, KeptOrNot, Probe, ReadFast, ReadSerde};
#[doc(hidden)]
pub use fuzz::fuzz;

/// A record that is written as a JSON object. `#[derive(Event)]` implements it.
///
/// For a type that has `Deserialize` by other means, an empty implementation is enough.
pub trait JsonRecord: DeserializeOwned {
    /// The names of its fields.
    #[doc(hidden)]
    const KEYS: &'static [&'static str] = &[];

    /// Reads a whole record in its usual form, or gives up; must agree with `Deserialize` wherever it does not.
    #[doc(hidden)]
    #[inline]
    fn read_fast(_: &mut Cursor<'_>) -> Option<Self> {
        None
    }

    /// As [`read_fast`](Self::read_fast), for an object whose first field, the tag, has been read.
    #[doc(hidden)]
    #[inline]
    fn read_behind_tag(_: &mut Cursor<'_>) -> Option<Self> {
        None
    }

    /// Reads a whole record in any form, or returns why it is not one; must agree with `Deserialize`.
    ///
    /// # Errors
    /// [`Reason::TooDeep`](crate::record::Reason::TooDeep) or [`Reason::Malformed`](crate::record::Reason::Malformed).
    #[doc(hidden)]
    fn read_general(text: &str) -> Result<Self, Rejection> {
        general::decode(text)
    }
}

/// Fails the compilation if `tag` is one of `keys`: the same field would be written twice.
#[doc(hidden)]
pub const fn assert_no_key(keys: &[&str], tag: &str) {
    let mut i = 0;
    while i < keys.len() {
        assert!(!same(keys[i].as_bytes(), tag.as_bytes()), "a struct in the enum has a field of the tag's name");
        i += 1;
    }
}

/// `a == b`, which traits cannot express in a constant.
const fn same(mut a: &[u8], mut b: &[u8]) -> bool {
    loop {
        match (a, b) {
            ([], []) => return true,
            ([x, more_a @ ..], [y, more_b @ ..]) if *x == *y => (a, b) = (more_a, more_b),
            _ => return false,
        }
    }
}

/// Decodes JSON objects, one per record.
///
/// A byte order mark at the start of a record and a carriage return at its end are dropped. Anything but exactly one
/// object is refused.
pub struct JsonDecoder<T>(PhantomData<fn() -> T>);

impl<T> JsonDecoder<T> {
    /// A decoder; it keeps no state.
    pub fn new() -> Self {
        JsonDecoder(PhantomData)
    }
}

impl<T> Default for JsonDecoder<T> {
    fn default() -> Self {
        JsonDecoder::new()
    }
}

impl<T> Clone for JsonDecoder<T> {
    fn clone(&self) -> Self {
        JsonDecoder::new()
    }
}

impl<T> fmt::Debug for JsonDecoder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonDecoder")
    }
}

impl<T: JsonRecord + 'static> Decoder<T> for JsonDecoder<T> {
    const STATELESS: bool = true;

    // A record is built in place: returned through memory, it would be copied twice.
    #[inline(always)]
    fn decode(&mut self, bytes: &[u8], _: u64) -> Result<T, Rejection> {
        let text = utf8(bytes)?;
        match T::read_fast(&mut Cursor::new(text)) {
            Some(record) => Ok(record),
            None => T::read_general(text),
        }
    }
}
