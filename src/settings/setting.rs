//! The types that a configured value can be read as.
//!
//! A number is never read from text and text never from a number: what was written in quotes was meant as text.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use super::{Value, path};

/// A type that a configured value can be read as.
pub trait Setting: Sized {
    /// What is expected, for a person: `a duration such as "5s"`.
    const EXPECTED: &'static str;

    /// Whether what was written must never be shown.
    const SECRET: bool = false;

    /// Reads the value, or says why it cannot be (an empty text means just "not what is expected").
    ///
    /// # Errors
    /// One line that completes "`key`: expected …".
    fn read(value: &Value) -> Result<Self, String>;

    /// What is expected, for a type whose text depends on another's.
    fn expected() -> String {
        Self::EXPECTED.to_owned()
    }

    /// The value as a person would write it.
    fn show(&self) -> String
    where
        Self: fmt::Debug,
    {
        format!("{self:?}")
    }

    /// The message of a fault: what is expected, what was found, and `why` it does not fit.
    fn misfit(value: &Value, why: &str) -> String {
        let found = if Self::SECRET { value.kind().to_owned() } else { value.found() };
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        format!("expected {}, found {found}{why}", Self::expected())
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "a string";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(s) if path::is_meant_to_expand(s) => {
                Err("~ and $NAME are expanded in paths only: write the text itself".into())
            }
            Value::String(s) => Ok(s.clone()),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Datetime(_) => Err("put it in quotes".into()),
            _ => Err(String::new()),
        }
    }
}

/// `~/`, `$NAME` and `${NAME}` are expanded: see [`path`].
impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) if text.is_empty() => Err("it is empty".to_owned()),
            Value::String(text) => path::expand(text).map(PathBuf::from),
            other => String::read(other).map(PathBuf::from),
        }
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(b) => Ok(*b),
            _ => Err(String::new()),
        }
    }
}

impl Setting for f64 {
    const EXPECTED: &'static str = "a number";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Float(n) if n.is_finite() => Ok(*n),
            Value::Float(_) => Err("it must be finite".to_owned()),
            // Exact up to 2^53; beyond that a number with a fraction was hardly meant.
            Value::Integer(n) => Ok(*n as f64),
            _ => Err(String::new()),
        }
    }
}

impl Setting for SocketAddr {
    const EXPECTED: &'static str = "an address such as \"127.0.0.1:9740\"";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(s) => s.parse().map_err(|_| "an IP address, a colon and a port".to_owned()),
            _ => Err(String::new()),
        }
    }
}

/// A list; a single value reads as a list of one.
impl<T: Setting> Setting for Vec<T> {
    const EXPECTED: &'static str = "a list";
    const SECRET: bool = T::SECRET;

    fn read(value: &Value) -> Result<Self, String> {
        let Value::Array(items) = value else { return T::read(value).map(|item| vec![item]) };
        let one = |(i, item): (usize, &super::Node)| {
            let value = &item.value;
            T::read(value).map_err(|why| format!("item {i}: {}", T::misfit(value, &why)))
        };
        items.iter().enumerate().map(one).collect()
    }

    fn expected() -> String {
        format!("{} or a list of such", T::expected())
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const EXPECTED: &'static str = "a whole number";
            fn read(value: &Value) -> Result<Self, String> {
                match value {
                    Value::Integer(n) => <$type>::try_from(*n).map_err(|_| match *n < 0 {
                        true => format!("at least {}", <$type>::MIN),
                        false => format!("at most {}", <$type>::MAX),
                    }),
                    _ => Err(String::new()),
                }
            }
        }
    )*};
}

macro_rules! positive_integers {
    ($($type:ty => $plain:ty),*) => {$(
        impl Setting for $type {
            const EXPECTED: &'static str = "a whole number greater than 0";
            fn read(value: &Value) -> Result<Self, String> {
                match value {
                    Value::Integer(n) if *n <= 0 => Err(String::new()),
                    _ => <$plain>::read(value).and_then(|n| <$type>::new(n).ok_or_else(String::new)),
                }
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, usize, i32, i64);
positive_integers!(NonZeroU16 => u16, NonZeroU32 => u32, NonZeroU64 => u64, NonZeroUsize => usize);

#[cfg(test)]
mod tests {
    use super::super::Node;
    use super::*;

    fn text(s: &str) -> Value {
        Value::String(s.to_owned())
    }

    #[test]
    fn integers_stop_at_their_limits() {
        assert_eq!(u16::read(&Value::Integer(65_535)), Ok(65_535));
        assert_eq!(u16::read(&Value::Integer(65_536)), Err("at most 65535".to_owned()));
        assert_eq!(u32::read(&Value::Integer(-1)), Err("at least 0".to_owned()));
        assert_eq!(i32::read(&Value::Integer(i64::MIN)), Err("at least -2147483648".to_owned()));
        assert_eq!(NonZeroU16::read(&Value::Integer(1)).map(NonZeroU16::get), Ok(1));
        assert!(NonZeroU16::read(&Value::Integer(0)).is_err());
        assert_eq!(NonZeroU16::read(&Value::Integer(65_536)), Err("at most 65535".to_owned()));
        assert!(u64::read(&text("5")).is_err());
        assert!(u64::read(&Value::Float(5.0)).is_err());
    }

    #[test]
    fn only_paths_are_expanded() {
        let home = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        assert_eq!(PathBuf::read(&text("${CARGO_MANIFEST_DIR}/x")), Ok(PathBuf::from(home).join("x")));
        assert_eq!(PathBuf::read(&text("a$$b")), Ok(PathBuf::from("a$b")));
        assert!(PathBuf::read(&text("$TIDEWATCH_NO_SUCH/x")).unwrap_err().contains("is not set"));
        assert_eq!(PathBuf::read(&text("")), Err("it is empty".to_owned()));
        assert_eq!(PathBuf::read(&Value::Integer(1)), Err("put it in quotes".to_owned()));
        for other in ["${HOME}", "$HOME/x", "~/x"] {
            assert!(String::read(&text(other)).unwrap_err().contains("in paths only"), "{other}");
        }
        assert_eq!(String::read(&text("^a$")), Ok("^a$".to_owned()));
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(f64::read(&Value::Integer(2)), Ok(2.0));
        assert_eq!(f64::read(&Value::Float(f64::NAN)), Err("it must be finite".to_owned()));
    }

    #[test]
    fn a_single_value_reads_as_a_list_of_one() {
        assert_eq!(Vec::<String>::read(&text("a")), Ok(vec!["a".to_owned()]));
        let list = Value::Array(vec![Node::code(text("a")), Node::code(Value::Integer(7))]);
        let why = Vec::<String>::read(&list).unwrap_err();
        assert_eq!(why, "item 1: expected a string, found 7 (put it in quotes)");
    }
}
