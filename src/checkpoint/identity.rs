//! Which dataflow a state directory belongs to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the layout of a state directory. Others are refused.
pub const FORMAT: u32 = 1;

/// What must be the same about a dataflow in every generation, or a replay would not produce the same epochs: its name,
/// the names of its parts, its parameters, and what is read and how. Keys and values as a person would write them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub BTreeMap<String, String>);

impl Fingerprint {
    /// How `now` differs, one line per key: up to `max` of them.
    pub fn differences(&self, now: &Fingerprint, max: usize) -> Vec<String> {
        let keys: std::collections::BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let shown = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
        keys.into_iter()
            .filter(|key| self.0.get(*key) != now.0.get(*key))
            .map(|key| format!("{key} was {} and is {}", shown(self.0.get(key)), shown(now.0.get(key))))
            .take(max)
            .collect()
    }
}

/// What is written to a state directory when it is created, and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateIdentity {
    /// See [`FORMAT`].
    pub format: u32,
    /// Identifies the directory in external systems: 16 hexadecimal digits, chosen at random.
    pub id: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// How many shards every sink has, whatever the number of workers.
    pub sink_shards: usize,
    /// The dataflow that it belongs to.
    pub fingerprint: Fingerprint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_what_was_and_what_is() {
        let of = |entries: &[(&str, &str)]| {
            Fingerprint(entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let was = of(&[("dataflow", "a"), ("params.size", "\"1m\""), ("stages.x", "")]);
        let now = of(&[("dataflow", "a"), ("params.size", "\"2m\""), ("stages.y", "")]);
        assert_eq!(was.differences(&was, 9), Vec::<String>::new());
        let told = was.differences(&now, 9);
        assert_eq!(told[0], "params.size was \"1m\" and is \"2m\"");
        assert_eq!(told.len(), 3);
        assert_eq!(was.differences(&now, 1).len(), 1);
    }
}
