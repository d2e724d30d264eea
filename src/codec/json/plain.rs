//! A JSON string without escapes, as a source for serde: what most fields of a user's own type are, such as an enum.
//!
//! It answers as `serde_json` does on the same string. Requests that do not occur in practice it does not answer, and
//! records that in a flag, since the type may swallow the error.

use std::cell::Cell;

use serde::Deserializer;
use serde::de::value::Error;
use serde::de::{DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, VariantAccess, Visitor};

/// The value that `serde_json` reads from `"text"`; `None` if there is none, or if that is not certain.
#[inline]
pub fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    let unanswered = Cell::new(false);
    let value = T::deserialize(Plain { text, unanswered: &unanswered }).ok()?;
    (!unanswered.get()).then_some(value)
}

#[derive(Clone, Copy)]
struct Plain<'a> {
    text: &'a str,
    unanswered: &'a Cell<bool>,
}

impl Plain<'_> {
    #[cold]
    fn give_up<T>(self) -> Result<T, Error> {
        self.unanswered.set(true);
        Err(Error::custom("left to the general parser"))
    }
}

macro_rules! text {
    ($($method:ident)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_borrowed_str(self.text)
        })*
    };
}

macro_rules! unanswered {
    ($($method:ident($($argument:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $(_: $argument,)* _: V) -> Result<V::Value, Error> {
            self.give_up()
        })*
    };
}

impl<'de> Deserializer<'de> for Plain<'de> {
    type Error = Error;

    text!(deserialize_any deserialize_str deserialize_string deserialize_identifier);

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name.starts_with('$') {
            return self.give_up(); // a private protocol between a type and its parser
        }
        visitor.visit_newtype_struct(self)
    }

    unanswered! {
        deserialize_bool() deserialize_char() deserialize_bytes() deserialize_byte_buf()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_unit_struct(&'static str) deserialize_tuple(usize) deserialize_tuple_struct(&'static str, usize)
        deserialize_struct(&'static str, &'static [&'static str]) deserialize_ignored_any()
    }
}

impl<'de> EnumAccess<'de> for Plain<'de> {
    type Error = Error;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        Ok((seed.deserialize(self)?, self))
    }
}

/// A string names a variant without a payload.
impl<'de> VariantAccess<'de> for Plain<'de> {
    type Error = Error;

    #[inline]
    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        self.give_up()
    }

    unanswered! {
        tuple_variant(usize) struct_variant(&'static [&'static str])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fmt::Debug;

    use serde::Deserialize;
    use serde_json::Value;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Outcome {
        Success,
        Other(u8),
        Both(u8, u8),
        #[serde(other)]
        Unknown,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Name(String);

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Known(Option<Outcome>),
        Text(String),
    }

    /// Takes any refusal for a missing value.
    #[derive(Debug, PartialEq)]
    struct Forgiving(Option<Vec<u8>>);

    impl<'de> Deserialize<'de> for Forgiving {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Bytes;
            impl<'de> Visitor<'de> for Bytes {
                type Value = Vec<u8>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                    Ok(bytes.to_vec())
                }
            }
            Ok(Forgiving(deserializer.deserialize_bytes(Bytes).ok()))
        }
    }

    fn agrees<T: DeserializeOwned + Debug + PartialEq>(text: &str) {
        assert_eq!(read::<T>(text), serde_json::from_str(&format!("\"{text}\"")).ok(), "{text}");
    }

    #[test]
    fn answers_as_serde_json_does() {
        for text in ["success", "other", "both", "else", "", "12", "é"] {
            agrees::<Outcome>(text);
            agrees::<Option<Outcome>>(text);
            agrees::<Name>(text);
            agrees::<Either>(text);
            agrees::<Value>(text);
            agrees::<u64>(text);
        }
    }

    #[test]
    fn gives_up_even_if_the_type_swallows_the_error() {
        assert_eq!(serde_json::from_str::<Forgiving>("\"a\"").unwrap(), Forgiving(Some(b"a".to_vec())));
        assert_eq!(read::<Forgiving>("a"), None);
    }
}
