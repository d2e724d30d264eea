//! Paths in the folders of a source that are not read: each is reported once and counted once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::open::is_out_of_files;
use crate::connectors::source::Collector;
use crate::error::Shown;
use crate::telemetry::SkipReason;

/// How many skipped paths of a source each reader or catalog remembers. Further ones are neither named nor counted.
pub(super) const SKIPPED_PATHS_MAX: usize = 10_000;

/// The skipped paths that were reported.
#[derive(Debug, Default)]
pub(super) struct Skips {
    told: BTreeSet<PathBuf>,
    is_full: bool,
    /// What could not be looked at in the last look-up: its content is unknown.
    unseen: Vec<PathBuf>,
    /// Whether that was because no further file could be opened.
    out_of_files: bool,
    /// Not reported to a collector yet.
    new: BTreeMap<SkipReason, u64>,
}

impl Skips {
    /// Records that `path` is not read, and warns the first time.
    pub(super) fn add(&mut self, source: &str, path: &Path, reason: SkipReason, why: impl Display) {
        if self.is_new(source, path, reason) {
            tracing::warn!(source, path = %Shown::from(path), reason = reason.as_str(), %why, "not read");
        }
    }

    /// Records that `path`, or its content, cannot be looked at.
    pub(super) fn add_unseen(&mut self, source: &str, path: &Path, why: &io::Error) {
        self.unseen.push(path.to_owned());
        self.out_of_files |= is_out_of_files(why);
        let is_loop = why.raw_os_error().is_some_and(|code| Errno::from_raw_os_error(code) == Errno::LOOP);
        let reason = if is_loop { SkipReason::BrokenLink } else { SkipReason::Unreadable };
        self.add(source, path, reason, why);
    }

    /// What could not be looked at since the last call.
    pub(super) fn take_unseen(&mut self) -> Vec<PathBuf> {
        self.out_of_files = false;
        std::mem::take(&mut self.unseen)
    }

    /// Whether something could not be looked at because no further file could be opened.
    pub(super) fn is_out_of_files(&self) -> bool {
        self.out_of_files
    }

    /// Records that the folder `path` matches, which is common for `*`.
    pub(super) fn add_folder(&mut self, source: &str, path: &Path) {
        let reason = SkipReason::NotAFile;
        if self.is_new(source, path, reason) {
            tracing::info!(source, path = %Shown::from(path), reason = reason.as_str(), why = "a directory", "not read");
        }
    }

    fn is_new(&mut self, source: &str, path: &Path, reason: SkipReason) -> bool {
        if self.is_full || self.told.contains(path) {
            return false;
        }
        if self.told.len() >= SKIPPED_PATHS_MAX {
            self.is_full = true;
            tracing::warn!(
                source,
                paths = SKIPPED_PATHS_MAX,
                "more paths are not read; they are neither named nor counted"
            );
            return false;
        }
        self.told.insert(path.to_owned());
        *self.new.entry(reason).or_default() += 1;
        true
    }

    /// Takes over what `other` has not reported to a collector.
    pub(super) fn take_new(&mut self, other: &mut Skips) {
        for (reason, paths) in std::mem::take(&mut other.new) {
            *self.new.entry(reason).or_default() += paths;
        }
    }

    /// How many paths were reported.
    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    /// Reports new paths to the collector.
    pub(super) fn report(&mut self, collector: &mut dyn Collector) {
        for (reason, paths) in std::mem::take(&mut self.new) {
            collector.skipped(reason, paths);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::lines::tests::Calls;

    #[test]
    fn a_path_is_reported_once_and_there_is_a_limit() {
        let (mut skips, mut heard) = (Skips::default(), Calls::default());
        for i in 0..=SKIPPED_PATHS_MAX {
            for _ in 0..2 {
                skips.add("s", Path::new(&format!("{i}")), SkipReason::NotAFile, "a directory");
            }
            if i == 2 {
                skips.report(&mut heard);
                skips.report(&mut heard);
                assert_eq!(heard.skipped, [(SkipReason::NotAFile, 3)].into());
            }
        }
        skips.add("s", Path::new("other"), SkipReason::Unreadable, "");
        skips.report(&mut heard);
        assert_eq!(heard.skipped, [(SkipReason::NotAFile, SKIPPED_PATHS_MAX as u64)].into());
        assert_eq!(skips.len(), SKIPPED_PATHS_MAX);
    }
}
