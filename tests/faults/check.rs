//! Compares actual and expected results, row by row.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// Rows by what identifies them.
pub(crate) type Rows = BTreeMap<String, Value>;

/// How the actual results differ, by row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    pub(crate) lost: Vec<String>,
    pub(crate) duplicated: Vec<String>,
    pub(crate) invented: Vec<String>,
    pub(crate) corrupt: Vec<String>,
}

impl Differences {
    /// Compares `rows`, each with what identifies it.
    pub(crate) fn between(expected: &Rows, rows: impl IntoIterator<Item = (String, Value)>) -> Self {
        let mut differences = Differences::default();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for (id, row) in rows {
            let count = seen.entry(id.clone()).or_default();
            *count += 1;
            match expected.get(&id) {
                _ if *count > 1 => differences.duplicated.push(id),
                None => differences.invented.push(id),
                Some(wanted) if *wanted != row => differences.corrupt.push(format!("{id}: {row}, not {wanted}")),
                Some(_) => {}
            }
        }
        differences.lost = expected.keys().filter(|id| !seen.contains_key(*id)).cloned().collect();
        differences
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Differences::default()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("invented", &self.invented),
            ("corrupt", &self.corrupt),
        ];
        for (what, ids) in all {
            write!(f, "{what} {}{}; ", ids.len(), ids.first().map(|id| format!(" ({id} …)")).unwrap_or_default())?;
        }
        Ok(())
    }
}

#[test]
fn every_kind_of_difference_is_seen() {
    let row = |n: u64| (format!("id{n}"), Value::from(n));
    let expected: Rows = (0..5).map(row).collect();
    assert!(Differences::between(&expected, (0..5).map(row)).is_none());
    let lost = Differences::between(&expected, (1..5).map(row));
    assert_eq!(lost, Differences { lost: vec!["id0".into()], ..Differences::default() });
    let twice = Differences::between(&expected, (0..5).chain([3]).map(row));
    assert_eq!(twice, Differences { duplicated: vec!["id3".into()], ..Differences::default() });
    let invented = Differences::between(&expected, (0..6).map(row));
    assert_eq!(invented, Differences { invented: vec!["id5".into()], ..Differences::default() });
    let mut rows: Vec<_> = (0..5).map(row).collect();
    rows[2].1 = Value::from(7);
    assert_eq!(Differences::between(&expected, rows).corrupt, ["id2: 7, not 2"]);
}
