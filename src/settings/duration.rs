//! Durations with their unit: `"250ms"`, `"5s"`, `"10 min"`, `"1h 30m"`, `"7d"`.
//!
//! A bare number is refused, since nobody remembers its unit. A day is 24 hours. In a struct of parameters, read by
//! serde:
//!
//! ```
//! use std::time::Duration;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Params {
//!     #[serde(with = "tidewatch::settings::duration", default = "five_minutes")]
//!     window: Duration,
//! }
//!
//! fn five_minutes() -> Duration {
//!     Duration::from_secs(5 * 60)
//! }
//!
//! let params: Params = serde_json::from_str(r#"{ "window": "90s" }"#).unwrap();
//! assert_eq!(params.window, Duration::from_secs(90));
//! assert!(serde_json::from_str::<Params>(r#"{ "window": 90 }"#).is_err());
//! ```

use std::time::Duration;

use jiff::fmt::friendly::{SpanParser, SpanPrinter};
use jiff::{SignedDuration, SpanRelativeTo};
use serde::{Deserializer, Serialize, Serializer};

use super::{Setting, Value, params};

/// Reads a duration from text such as `"5s"`.
///
/// # Errors
/// One line that says what is wrong with it.
pub fn parse(text: &str) -> Result<Duration, String> {
    // The longest sensible text is far shorter; the parser's messages repeat its input.
    const TEXT_BYTES_MAX: usize = 100;
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("longer than {TEXT_BYTES_MAX} bytes"));
    }
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("write a unit, as in \"{}s\"", text.trim()));
    }
    let units = || "allowed units: ms, s, min, h, d".to_owned();
    let span = SpanParser::new().parse_span(text).map_err(|_| units())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| units())?;
    Duration::try_from(signed).map_err(|_| "it must not be negative".to_owned())
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration such as \"5s\"";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => parse(text),
            Value::Integer(n) => Err(format!("write a unit, as in \"{n}s\"")),
            Value::Float(n) => Err(format!("write a unit, as in \"{n}s\"")),
            _ => Err(String::new()),
        }
    }

    fn show(&self) -> String {
        match SignedDuration::try_from(*self) {
            Ok(signed) => SpanPrinter::new().duration_to_string(&signed),
            Err(_) => format!("{self:?}"),
        }
    }
}

/// For `#[serde(with = "tidewatch::settings::duration")]` on a field of type [`Duration`].
///
/// # Errors
/// If it is not text such as `"5s"`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    params::setting(deserializer)
}

/// For `#[serde(with = "tidewatch::settings::duration")]` on a field of type [`Duration`].
///
/// # Errors
/// If the serializer fails, or the duration exceeds 292 billion years.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let signed = SignedDuration::try_from(*duration).map_err(serde::ser::Error::custom)?;
    SpanPrinter::new().duration_to_string(&signed).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        for (text, millis) in [
            ("250ms", 250),
            ("0s", 0),
            ("5s", 5_000),
            ("5 s", 5_000),
            ("1.5s", 1_500),
            ("10 min", 600_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h 30m", 5_400_000),
            ("1d", 86_400_000),
            ("2 weeks", 1_209_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for (text, why) in [
            ("5", "write a unit, as in \"5s\""),
            ("1.5", "write a unit, as in \"1.5s\""),
            ("", "allowed units"),
            ("5 parsecs", "allowed units"),
            ("1 month", "allowed units"),
            ("-5s", "negative"),
            ("5s ago", "negative"),
            ("99999999999999999999h", "allowed units"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(why), "{text:?}: {found}");
        }
        assert!(parse(&"1".repeat(200)).unwrap_err().contains("longer"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0u64..=1_000_000_000_000) {
            #[derive(serde::Serialize, serde::Deserialize)]
            struct S(#[serde(with = "super")] Duration);
            let written = serde_json::to_string(&S(Duration::from_millis(millis))).unwrap();
            let read: S = serde_json::from_str(&written).unwrap();
            proptest::prop_assert_eq!(read.0, Duration::from_millis(millis));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
