//! What a detector reports to people and machines. The schema is in `docs/alerts.md`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::record::Event;
use crate::time::EventTime;

/// How bad it is, if it is true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth keeping.
    Low,
    /// Worth a look.
    #[default]
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody up.
    Critical,
}

/// One alert: what rule, about whom, when, and the evidence.
///
/// `alert_id` is a function of rule, key and window, so a receiver that sees an alert twice can drop the second.
///
/// ```
/// use tidewatch::prelude::*;
///
/// let alert = Alert::new("ssh-brute-force", "203.0.113.7")
///     .severity(Severity::High)
///     .between(EventTime::from_millis(0), EventTime::from_millis(300_000))
///     .evidence("failures", 25);
/// assert_eq!(alert.alert_id, "cdb7b6f6da178fa829f62ec023b2c63a".to_owned());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// 32 hexadecimal digits, stable over restarts and replays.
    pub alert_id: String,
    /// The rule that was broken.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whom it is about: an address, a user, a host.
    pub key: String,
    /// The first event time it is about, in milliseconds since the Unix epoch.
    pub window_start: EventTime,
    /// The first event time after it, in milliseconds since the Unix epoch.
    pub window_end: EventTime,
    /// What was seen, by name.
    #[serde(with = "evidence")]
    pub evidence: BTreeMap<String, Value>,
}

impl Alert {
    /// An alert of `rule` about `key`, of medium severity and without a window.
    pub fn new(rule: impl Into<String>, key: impl fmt::Display) -> Self {
        let mut alert = Alert {
            alert_id: String::new(),
            rule: rule.into(),
            severity: Severity::default(),
            key: key.to_string(),
            window_start: EventTime::from_millis(0),
            window_end: EventTime::from_millis(0),
            evidence: BTreeMap::new(),
        };
        alert.identify();
        alert
    }

    /// Sets the severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Sets the window: event times from `start` to before `end`.
    #[must_use]
    pub fn between(mut self, start: EventTime, end: EventTime) -> Self {
        (self.window_start, self.window_end) = (start, end);
        self.identify();
        self
    }

    /// Adds something that was seen.
    #[must_use]
    pub fn evidence(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.evidence.insert(name.into(), value.into());
        self
    }

    fn identify(&mut self) {
        let mut hash = Sha256::new();
        for text in [&self.rule, &self.key] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.update(self.window_start.millis().to_le_bytes());
        hash.update(self.window_end.millis().to_le_bytes());
        self.alert_id = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    }
}

impl Event for Alert {
    fn event_time(&self) -> EventTime {
        EventTime::from_millis(self.window_end.millis().saturating_sub(1).max(self.window_start.millis()))
    }
}

/// Evidence is JSON, which only self-describing formats can carry; between workers it travels as text.
mod evidence {
    use super::{BTreeMap, Value};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            map.serialize(serializer)
        } else {
            serde_json::to_string(map).map_err(S::Error::custom)?.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Value>, D::Error> {
        if deserializer.is_human_readable() {
            BTreeMap::deserialize(deserializer)
        } else {
            serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_rule_key_and_window_and_nothing_else() {
        let at = EventTime::from_millis;
        let alert = Alert::new("r", "k").between(at(0), at(10));
        assert_eq!(alert.alert_id, alert.clone().severity(Severity::Critical).evidence("n", 1).alert_id);
        let others = [Alert::new("r", "k2"), Alert::new("r2", "k"), Alert::new("rk", "")];
        let mut ids: Vec<String> = others.into_iter().map(|a| a.between(at(0), at(10)).alert_id).collect();
        ids.extend([alert.alert_id, Alert::new("r", "k").between(at(0), at(11)).alert_id]);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 5);
    }
}
