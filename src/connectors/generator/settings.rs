//! The generator's part of a configuration.

use std::time::Duration;

use super::{
    DISORDER_MAX, GeneratorConfig, KEYS_MAX, PARTITIONS_MAX, Profile, RATE_MAX, RATE_MIN, SKEW_MAX, START_MAX,
};
use crate::settings::{Section, Setting, Value};
use crate::time::EventTime;

/// Reads the section; what is missing or faulty has its default.
pub(super) fn read(section: &mut Section<'_>) -> GeneratorConfig {
    let profiles = [("auth-events", Profile::AuthEvents), ("openssh", Profile::Openssh)];
    let mut config = GeneratorConfig::of(section.choice("profile", &profiles, Profile::AuthEvents));
    if let Some(Whole(events)) = section.optional("events") {
        config.events = Some(events);
    }
    if let Some(Whole(seed)) = section.optional("seed") {
        config.seed = seed;
    }
    if let Some(n) = whole(section, "partitions", u64::from(PARTITIONS_MAX)) {
        config.partitions = u32::try_from(n).expect("in range");
    }
    if let Some(n) = whole(section, "keys", KEYS_MAX) {
        config.keys = n;
    }
    config.rate = number(section, "rate", RATE_MIN, RATE_MAX);
    let event_time = number(section, "events_per_second", RATE_MIN, config.profile.rate_max());
    config.events_per_second = event_time.unwrap_or(config.events_per_second);
    config.skew = number(section, "skew", 0.0, SKEW_MAX).unwrap_or(config.skew);
    config.malformed = number(section, "malformed", 0.0, 1.0).unwrap_or(config.malformed);
    match section.optional("disorder") {
        Some(Span(disorder)) if disorder <= DISORDER_MAX => config.disorder = disorder,
        Some(_) => section.fault("disorder", format!("expected at most {} s", DISORDER_MAX.as_secs())),
        None => {}
    }
    match section.optional("start") {
        Some(Instant(start)) if (EventTime::from_millis(0)..=START_MAX).contains(&start) => config.start = start,
        Some(_) => section.fault("start", format!("expected a time from 1970-01-01T00:00:00Z to {START_MAX}")),
        None => {}
    }
    config
}

fn whole(section: &mut Section<'_>, key: &'static str, max: u64) -> Option<u64> {
    let Whole(n) = section.optional(key)?;
    if (1..=max).contains(&n) {
        return Some(n);
    }
    section.fault(key, format!("expected a whole number from 1 to {max}, found {n}"));
    None
}

fn number(section: &mut Section<'_>, key: &'static str, min: f64, max: f64) -> Option<f64> {
    let Number(n) = section.optional(key)?;
    if (min..=max).contains(&n) {
        return Some(n);
    }
    section.fault(key, format!("expected a number from {min} to {max}, found {n}"));
    None
}

struct Whole(u64);

impl Setting for Whole {
    const EXPECTED: &'static str = "a whole number, 0 or greater";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Integer(n) => u64::try_from(*n).map(Whole).map_err(|_| String::new()),
            _ => Err(String::new()),
        }
    }
}

struct Number(f64);

impl Setting for Number {
    const EXPECTED: &'static str = "a number";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Integer(n) => Ok(Number(*n as f64)),
            Value::Float(n) => Ok(Number(*n)),
            _ => Err(String::new()),
        }
    }
}

struct Span(Duration);

impl Setting for Span {
    const EXPECTED: &'static str = "a duration such as \"5s\"";
    fn read(value: &Value) -> Result<Self, String> {
        let Value::String(text) = value else { return Err(String::new()) };
        let span: jiff::SignedDuration = text.parse().map_err(|_| String::new())?;
        Duration::try_from(span).map(Span).map_err(|_| "it is negative".to_owned())
    }
}

struct Instant(EventTime);

impl Setting for Instant {
    const EXPECTED: &'static str = "a time such as \"2026-01-01T00:00:00Z\"";
    fn read(value: &Value) -> Result<Self, String> {
        let (Value::String(text) | Value::Datetime(text)) = value else { return Err(String::new()) };
        let time: jiff::Timestamp = text.parse().map_err(|_| String::new())?;
        Ok(Instant(EventTime::from_millis(time.as_millisecond())))
    }
}
