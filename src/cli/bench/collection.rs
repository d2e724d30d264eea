//! The collection that the changes in a sink add up to, as a hash to compare.
//!
//! How many changes there are depends on the cut into epochs, and so on workers and chance; what they add up to does
//! not. Rows are not kept: each is hashed, and the hashes are summed as often as the row is there, in whatever order it
//! was written.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::flow::Change;

/// How many rows a collection has, and a hash that only equal collections share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Collection {
    pub rows: i64,
    /// In hexadecimal.
    pub hash: String,
}

/// The collection that the rows in the files of `folder` add up to.
///
/// # Errors
/// A description: a file that cannot be read, or a row that is not a [`Change`].
pub(super) fn of(folder: &Path) -> Result<Collection, String> {
    let cannot = |path: &Path, why: &dyn std::fmt::Display| format!("cannot read {path:?}: {why}");
    let mut sum = CollectionSum::default();
    for entry in std::fs::read_dir(folder).map_err(|why| cannot(folder, &why))? {
        let path = entry.map_err(|why| cannot(folder, &why))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Names that begin with a dot are the sink's own.
        if name.starts_with('.') || !path.is_file() {
            continue;
        }
        let file = File::open(&path).map_err(|why| cannot(&path, &why))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|why| cannot(&path, &why))?;
            let change: Change<Value> = serde_json::from_str(&line).map_err(|why| cannot(&path, &why))?;
            sum.add(&change);
        }
    }
    Ok(Collection { rows: sum.rows, hash: format!("{:032x}", sum.hash) })
}

#[derive(Default)]
struct CollectionSum {
    rows: i64,
    hash: u128,
}

impl CollectionSum {
    fn add(&mut self, change: &Change<Value>) {
        let mut hasher = SipHasher13::new();
        // Keys are in order, however they were written.
        std::hash::Hasher::write(&mut hasher, change.row.to_string().as_bytes());
        // A row that is removed as often as it was inserted adds nothing: arithmetic is modulo 2^128.
        let times = i128::from(change.by).cast_unsigned();
        self.hash = self.hash.wrapping_add(hasher.finish128().as_u128().wrapping_mul(times));
        self.rows += change.by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come_to(files: &[&str]) -> Result<Collection, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".progress"), "not a row").unwrap();
        for (i, text) in files.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{i}.jsonl")), text).unwrap();
        }
        of(folder.path())
    }

    #[test]
    fn the_steps_on_the_way_do_not_count() {
        let at_once = come_to(&["{\"row\":{\"k\":1,\"v\":9},\"by\":1}\n{\"row\":7,\"by\":2}\n"]).unwrap();
        let in_steps = "{\"row\":{\"v\":3,\"k\":1},\"by\":1}\n{\"row\":7,\"by\":1}\n";
        let more =
            "{\"row\":{\"k\":1,\"v\":3},\"by\":-1}\n{\"by\":1,\"row\":{\"v\":9,\"k\":1}}\n{\"row\":7,\"by\":1}\n";
        assert_eq!(come_to(&[in_steps, more]).unwrap(), at_once);
        assert_eq!(come_to(&[more, in_steps]).unwrap(), at_once);
        assert_eq!(at_once.rows, 3);
        let none = come_to(&["{\"row\":7,\"by\":3}\n", "{\"row\":7,\"by\":-3}\n"]).unwrap();
        assert_eq!(none, come_to(&[]).unwrap());
        for other in ["{\"row\":7,\"by\":3}\n", "{\"row\":8,\"by\":2}\n{\"row\":{\"k\":1,\"v\":9},\"by\":1}\n"] {
            assert_ne!(come_to(&[other]).unwrap(), at_once, "{other}");
        }
    }

    #[test]
    fn rows_that_are_no_changes_are_refused() {
        for text in ["{\"key\":1}\n", "7\n", "x\n"] {
            assert!(come_to(&[text]).unwrap_err().contains("0.jsonl"), "{text}");
        }
    }
}
