//! Between configured values and serde, both ways: a node as the input of any `Deserialize`, and any deserializer as the
//! input of a [`Setting`].
//!
//! A fault names the dotted key that serde stopped at, and where that key was written; how all of them are found is in
//! `repair`.

use std::collections::BTreeMap;
use std::fmt;

use super::{Fault, Node, Setting, Value, repair};
use serde::de::value::{Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

impl Node {
    /// Reads the value as a `P`, such as the parameters of a dataflow; `path` is where this node is in the configuration.
    ///
    /// # Errors
    /// Every fault that could be found, each with its key and location: at least one, at most
    /// [`READ_FAULTS_MAX`](super::READ_FAULTS_MAX).
    pub fn read<P: DeserializeOwned>(&self, path: &str) -> Result<P, Vec<Fault>> {
        repair::read(self, path)
    }
}

impl<'de> IntoDeserializer<'de, Error> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::String(s) | Value::Datetime(s) => visitor.visit_borrowed_str(s),
            Value::Integer(n) => visitor.visit_i64(*n),
            Value::Float(n) => visitor.visit_f64(*n),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter());
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Value::Table(_) => {
                let mut entries = MapDeserializer::new(self.entries());
                let value = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::String(s) => StrDeserializer::new(s).deserialize_enum(name, variants, visitor),
            Value::Table(_) => {
                let entries = MapAccessDeserializer::new(MapDeserializer::new(self.entries()));
                entries.deserialize_enum(name, variants, visitor)
            }
            other => {
                Err(de::Error::custom(format!("expected one of {}, found {}", variants.join(", "), other.found())))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Reads a setting from any deserializer, with the same rules and messages as [`Section`](super::Section) has.
///
/// It goes through [`Value`], because serde's own messages would repeat the value of a secret.
pub(super) fn setting<'de, V: Setting, D: Deserializer<'de>>(deserializer: D) -> Result<V, D::Error> {
    let Raw(value) = Raw::deserialize(deserializer)?;
    V::read(&value).map_err(|why| de::Error::custom(V::misfit(&value, &why)))
}

/// A value as serde finds it.
struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configured value")
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<Raw, E> {
        Ok(Raw(Value::String(s.to_owned())))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Raw, E> {
        Ok(Raw(Value::Integer(n)))
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Raw, E> {
        i64::try_from(n).map(|n| Raw(Value::Integer(n))).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Raw, E> {
        Ok(Raw(Value::Float(n)))
    }

    fn visit_bool<E: de::Error>(self, b: bool) -> Result<Raw, E> {
        Ok(Raw(Value::Bool(b)))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut array = Vec::new();
        while let Some(Raw(value)) = items.next_element()? {
            array.push(Node::code(value));
        }
        Ok(Raw(Value::Array(array)))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut table = BTreeMap::new();
        while let Some((key, Raw(value))) = entries.next_entry()? {
            table.insert(key, Node::code(value));
        }
        Ok(Raw(Value::Table(table)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bytes, Location};
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Unit,
        Newtype(u8),
        Struct { side: f64 },
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Wrapped(String);

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct All {
        shapes: Vec<Shape>,
        wrapped: Option<Wrapped>,
        absent: Option<u8>,
        pair: (i64, bool),
        size: Bytes,
        #[serde(flatten)]
        rest: BTreeMap<String, f64>,
    }

    fn table(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
        let node = |(i, value)| Node { location: Location::File("x.toml".into(), i), value };
        let entries = entries.into_iter().enumerate();
        Value::Table(entries.map(|(i, (key, value))| (key.to_owned(), node((i + 1, value)))).collect())
    }

    fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::Array(items.into_iter().map(Node::code).collect())
    }

    fn text(s: &str) -> Value {
        Value::String(s.to_owned())
    }

    #[test]
    fn every_shape_is_read() {
        let square = table([("struct", table([("side", Value::Integer(2))]))]);
        let node = Node::code(table([
            ("shapes", list([text("unit"), table([("newtype", Value::Integer(7))]), square])),
            ("wrapped", text("w")),
            ("pair", list([Value::Integer(-1), Value::Bool(true)])),
            ("size", text("1KiB")),
            ("more", Value::Float(0.5)),
        ]));
        let all = All {
            shapes: vec![Shape::Unit, Shape::Newtype(7), Shape::Struct { side: 2.0 }],
            wrapped: Some(Wrapped("w".to_owned())),
            absent: None,
            pair: (-1, true),
            size: Bytes(1024),
            rest: [("more".to_owned(), 0.5)].into(),
        };
        assert_eq!(node.read::<All>("params"), Ok(all));
    }

    #[test]
    fn a_fault_names_the_key_and_its_line() {
        let node = Node::code(table([("unit", text("unit")), ("b.c", table([("newtype", Value::Integer(256))]))]));
        let fault = node.read::<BTreeMap<String, Shape>>("params").unwrap_err().remove(0);
        assert_eq!(fault.key, "params.\"b.c\".newtype");
        assert_eq!(fault.location, Some(Location::File("x.toml".into(), 1)), "the line within the inner table");
        assert!(fault.message.contains("256"), "{}", fault.message);
    }
}
