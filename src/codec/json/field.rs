//! How a field's type is read quickly; types without a quick reader go through serde, one scalar at a time.
//!
//! A reader here accepts a subset of what the type's `Deserialize` accepts from JSON, with the same result. The reader
//! of a field is chosen at compile time, by method lookup: a [`Probe`] is called through two references, and the first
//! trait that fits has the method.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::cursor::Cursor;
use super::plain;
use crate::record::{Ignored, Text};
use crate::time::EventTime;

/// A type with a quick reader.
pub trait FastField: Sized {
    /// Reads the value, or gives up.
    fn read(cursor: &mut Cursor<'_>) -> Option<Self>;

    /// Steps over a value without keeping it, or gives up.
    #[inline]
    fn skip(cursor: &mut Cursor<'_>) -> Option<()> {
        Self::read(cursor).map(drop)
    }

    /// The value of a missing field, if there is one.
    #[inline]
    fn absent() -> Option<Self> {
        None
    }
}

macro_rules! numbers {
    ($read:ident: $($number:ty),*) => {
        $(impl FastField for $number {
            #[inline]
            fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
                cursor.$read()?.try_into().ok()
            }
        })*
    };
}

numbers!(unsigned: u8, u16, u32, u64, usize);
numbers!(signed: i8, i16, i32, i64, isize);

macro_rules! strings {
    ($($string:ty),*) => {
        $(impl FastField for $string {
            #[inline]
            fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
                cursor.string().map(Self::from)
            }

            #[inline]
            fn skip(cursor: &mut Cursor<'_>) -> Option<()> {
                cursor.skip_string().map(drop)
            }
        })*
    };
}

strings!(String, Box<str>, Arc<str>);

impl FastField for Text {
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        cursor.text()
    }

    #[inline]
    fn skip(cursor: &mut Cursor<'_>) -> Option<()> {
        cursor.skip_string().map(drop)
    }
}

impl FastField for bool {
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        if cursor.literal(b"true") { Some(true) } else { cursor.literal(b"false").then_some(false) }
    }
}

impl FastField for EventTime {
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        cursor.signed().map(EventTime::from_millis)
    }
}

impl FastField for IpAddr {
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let text = cursor.string()?;
        match dotted_quad(text.as_bytes()) {
            Some(v4) => Some(IpAddr::V4(v4)),
            None => text.parse().ok(),
        }
    }
}

impl FastField for Ipv4Addr {
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        dotted_quad(cursor.string()?.as_bytes())
    }
}

impl FastField for Ipv6Addr {
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        cursor.string()?.parse().ok()
    }
}

impl<T: FastField> FastField for Option<T> {
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        if cursor.literal(b"null") { Some(None) } else { T::read(cursor).map(Some) }
    }

    #[inline]
    fn skip(cursor: &mut Cursor<'_>) -> Option<()> {
        if cursor.literal(b"null") { Some(()) } else { T::skip(cursor) }
    }

    #[inline]
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: FastField> FastField for Ignored<T> {
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        T::skip(cursor).map(|()| Ignored::new())
    }

    #[inline]
    fn absent() -> Option<Self> {
        T::absent().map(|_| Ignored::new())
    }
}

/// Four decimal numbers up to 255 without leading zeros: what the standard library accepts, in a third of its time.
#[inline]
fn dotted_quad(text: &[u8]) -> Option<Ipv4Addr> {
    let mut address: u32 = 0;
    let mut part: u32 = 0;
    let (mut digits, mut dots) = (0, 0);
    for &byte in text {
        match byte {
            b'0'..=b'9' if digits == 0 || (part != 0 && digits < 3) => {
                part = part * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && part <= 255 && dots < 3 => {
                address = address << 8 | part;
                (part, digits, dots) = (0, 0, dots + 1);
            }
            _ => return None,
        }
    }
    (dots == 3 && digits > 0 && part <= 255).then(|| Ipv4Addr::from(address << 8 | part))
}

/// Represents the type of a field while the compiler looks up how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T> Probe<T> {
    /// The only value.
    pub const NEW: Self = Probe(PhantomData);
}

/// Found first: the type has a quick reader.
pub trait ReadFast<T> {
    /// Reads the value, or gives up.
    fn read(&self, cursor: &mut Cursor<'_>) -> Option<T>;
    /// The value of a missing field, if there is one.
    fn absent(&self) -> Option<T>;
}

impl<T: FastField> ReadFast<T> for &Probe<T> {
    #[inline]
    fn read(&self, cursor: &mut Cursor<'_>) -> Option<T> {
        T::read(cursor)
    }

    #[inline]
    fn absent(&self) -> Option<T> {
        T::absent()
    }
}

/// Found next: any type of the user's own. Arrays and objects are left to the general parser.
pub trait ReadSerde<T> {
    /// Reads the value, or gives up.
    fn read(&self, cursor: &mut Cursor<'_>) -> Option<T>;
    /// Always gives up.
    fn absent(&self) -> Option<T>;
}

impl<T: DeserializeOwned> ReadSerde<T> for Probe<T> {
    #[inline]
    fn read(&self, cursor: &mut Cursor<'_>) -> Option<T> {
        let start = *cursor;
        if let Some(value) = cursor.string().and_then(plain::read) {
            return Some(value);
        }
        *cursor = start;
        serde_json::from_str(cursor.scalar()?).ok()
    }

    #[inline]
    fn absent(&self) -> Option<T> {
        None
    }
}

/// Found first: the type keeps nothing of the value.
pub trait KeptOrNot {
    /// The field is written to formats for people.
    fn is_kept(&self) -> bool;
}

impl<T> KeptOrNot for &Probe<Ignored<T>> {
    #[inline]
    fn is_kept(&self) -> bool {
        false
    }
}

/// Found next: any other type.
pub trait KeptByDefault {
    /// The field is written to formats for people.
    fn is_kept(&self) -> bool;
}

impl<T> KeptByDefault for Probe<T> {
    #[inline]
    fn is_kept(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn addresses_are_the_standard_librarys(
            text in prop_oneof![
                "[0-9]{0,4}(\\.[0-9]{0,4}){2,4}",
                "[0-2]?[0-9]?[0-9](\\.[0-2]?[0-9]?[0-9]){3}",
                "[0-9.:a]{0,20}"
            ],
        ) {
            prop_assert_eq!(dotted_quad(text.as_bytes()), text.parse().ok());
        }
    }

    #[test]
    fn addresses_at_the_limits() {
        for text in
            ["0.0.0.0", "255.255.255.255", "256.0.0.0", "0.0.0.256", "00.0.0.0", "1.2.3", "1.2.3.4.", "1.2.3.4.5"]
        {
            assert_eq!(dotted_quad(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }
}
