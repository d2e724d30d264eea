//! Settings that the file connectors need beyond the common ones: lists of patterns, sizes and durations.

use std::time::Duration;

use crate::settings::{Setting, Value};

/// One pattern or a list of them.
pub(super) struct Patterns(pub(super) Vec<String>);

impl Setting for Patterns {
    const EXPECTED: &'static str = "a path, a glob such as \"logs/*.log\", or a list of them";

    fn read(value: &Value) -> Result<Self, String> {
        let written = match value {
            Value::Array(nodes) if nodes.is_empty() => return Err("the list is empty".to_owned()),
            Value::Array(nodes) => nodes.iter().map(|node| String::read(&node.value)).collect::<Result<_, _>>()?,
            other => vec![String::read(other)?],
        };
        match written.iter().find_map(|pattern: &String| glob::Pattern::new(pattern).err().map(|e| (pattern, e))) {
            _ if written.iter().any(String::is_empty) => Err("a path is empty".to_owned()),
            Some((pattern, error)) => Err(format!("{pattern:?} is no glob: {} at column {}", error.msg, error.pos + 1)),
            None => Ok(Patterns(written)),
        }
    }
}

/// A number of bytes.
pub(super) struct Size(pub(super) u64);

impl Setting for Size {
    const EXPECTED: &'static str = "a size such as \"128 MiB\", at least 1 byte";

    fn read(value: &Value) -> Result<Self, String> {
        let text = match value {
            Value::Integer(n) => return u64::try_from(*n).ok().filter(|n| *n > 0).map(Size).ok_or_else(String::new),
            other => String::read(other)?,
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit: u64 = match text[digits..].trim() {
            "" | "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err("units are B, kB, MB, GB, KiB, MiB, GiB".to_owned()),
        };
        let number = text[..digits].parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
        number.filter(|n| *n > 0).map(Size).ok_or_else(String::new)
    }
}

/// A length of time.
pub(super) struct Span(pub(super) Duration);

impl Setting for Span {
    const EXPECTED: &'static str = "a duration such as \"5m\", at least 1 ms";

    fn read(value: &Value) -> Result<Self, String> {
        let span: jiff::SignedDuration = String::read(value)?.parse().map_err(|_| String::new())?;
        match Duration::try_from(span) {
            Ok(duration) if duration >= Duration::from_millis(1) => Ok(Span(duration)),
            _ => Err(String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Value {
        Value::String(s.to_owned())
    }

    #[test]
    fn sizes_and_spans_have_units() {
        assert_eq!(Size::read(&text("128 MiB")).map(|s| s.0), Ok(128 << 20));
        assert_eq!(Size::read(&Value::Integer(7)).map(|s| s.0), Ok(7));
        for bad in ["", "0", "5 parsecs", "MiB", "-1", "99999999999 GiB"] {
            assert!(Size::read(&text(bad)).is_err(), "{bad}");
        }
        assert_eq!(Span::read(&text("5m")).map(|s| s.0), Ok(Duration::from_secs(300)));
        for bad in ["", "0s", "-5s", "soon"] {
            assert!(Span::read(&text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_are_one_or_many() {
        assert_eq!(Patterns::read(&text("a/*.log")).map(|p| p.0), Ok(vec!["a/*.log".to_owned()]));
        assert!(Patterns::read(&text("a/***")).is_err_and(|why| why.contains("column")));
        assert!(Patterns::read(&Value::Array(vec![])).is_err());
        assert!(Patterns::read(&text("")).is_err());
    }
}
