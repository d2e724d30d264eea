//! The settings of the generator.

use std::time::Duration;

use super::{
    DISORDER_MAX, GeneratorConfig, KEYS_MAX, PARTITIONS_MAX, Profile, RATE_MAX, RATE_MIN, SKEW_MAX, START_MAX,
};
use crate::settings::{Section, Setting, Value};
use crate::time::EventTime;

/// Reads the section; missing or faulty values have their defaults.
pub(super) fn read(section: &mut Section<'_>) -> GeneratorConfig {
    let profiles = [("auth-events", Profile::AuthEvents), ("openssh", Profile::Openssh), ("nexmark", Profile::Nexmark)];
    let default = GeneratorConfig::of(section.choice("profile", &profiles, Profile::AuthEvents));
    let written = |section: &mut Section<'_>, key: &str| section.node(key).is_some();
    let rate_max = default.profile.rate_max();
    let start = section.or("start", Instant(default.start)).0;
    if !(EventTime::from_millis(0)..=START_MAX).contains(&start) {
        section.fault("start", format!("expected a time from 1970-01-01T00:00:00Z to {START_MAX}"));
    }
    // Events of an auction site have no addresses: there the keys are unknown.
    let (skew, keys) = match default.profile {
        Profile::Nexmark => (default.skew, default.keys),
        _ => (section.within("skew", 0.0..=SKEW_MAX, default.skew), section.within("keys", 1..=KEYS_MAX, default.keys)),
    };
    GeneratorConfig {
        events: written(section, "events").then(|| section.within("events", 0..=i64::MAX.unsigned_abs(), 0)),
        rate: written(section, "rate").then(|| section.within("rate", RATE_MIN..=RATE_MAX, RATE_MAX)),
        partitions: section.within("partitions", 1..=PARTITIONS_MAX, default.partitions),
        seed: section.or("seed", default.seed),
        skew,
        keys,
        disorder: section.within("disorder", Duration::ZERO..=DISORDER_MAX, default.disorder),
        malformed: section.within("malformed", 0.0..=1.0, default.malformed),
        start,
        events_per_second: section.within("events_per_second", RATE_MIN..=rate_max, default.events_per_second),
        ..default
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
