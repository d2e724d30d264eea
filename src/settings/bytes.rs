//! Sizes in bytes: `"64KiB"`, `"1MB"`, or a whole number of bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Setting, Value, params};

/// A number of bytes, read from `"64KiB"`, `"1 MB"`, `"512B"` or a bare whole number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Units and their sizes in bytes; the ones with an `i` are powers of 1024, the others of 1000.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl Bytes {
    /// Reads a size such as `"64KiB"`; the case of the unit does not matter.
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim();
        if number.is_empty() {
            return Err("a whole number, then a unit".to_owned());
        }
        let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let (_, size) = known.ok_or_else(|| "allowed units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB".to_owned())?;
        let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*size));
        bytes.map(Bytes).ok_or_else(|| format!("at most {}B", u64::MAX))
    }
}

impl Setting for Bytes {
    const EXPECTED: &'static str = "a size such as \"64KiB\"";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Bytes::parse(text),
            Value::Integer(n) => u64::try_from(*n).map(Bytes).map_err(|_| "at least 0".to_owned()),
            _ => Err(String::new()),
        }
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that divides it, so that it reads back as the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, size): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*size);
        let (name, size) = UNITS.iter().find(divides).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / size)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        params::setting(deserializer)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        for (text, bytes) in
            [("0B", 0), ("512 b", 512), ("64KiB", 65_536), ("64kb", 64_000), ("1 MB", 1_000_000), ("2GiB", 2 << 30)]
        {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes::parse(&format!("{}B", u64::MAX)), Ok(Bytes(u64::MAX)));
        assert_eq!(Bytes::read(&Value::Integer(7)), Ok(Bytes(7)));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "KiB", "-1B", "1.5MB", "5", "5 parsecs", "99999999999999999999B", "99999999TiB", "5KiB x"] {
            assert!(Bytes::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64) {
            proptest::prop_assert_eq!(Bytes::parse(&Bytes(bytes).to_string()), Ok(Bytes(bytes)));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = Bytes::parse(&text);
        }
    }
}
