//! The files that a followed source reads, and which file each path is at present.
//!
//! A path is a partition permanently, numbered by a stable hash of its name: workers and processes agree on the number
//! without communicating, in whatever order they discover files. A file belongs to the path it was first seen under, so
//! a file that is renamed by rotation is not read again under its new name. The workers of a process share one catalog;
//! the patterns are looked up on a thread of its own, since a slow file system must not block a worker.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::Hasher;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::discover::{self, FileKey, FoundFile};
use super::skips::Skips;
use crate::connectors::source::{Collector, Partition};
use crate::error::{Error, Result};
use crate::telemetry::SkipReason;

/// For how many look-ups a file that was not seen still belongs to its path: a listing can miss a file that is renamed
/// during it.
const OWNER_SCANS: u64 = 5;

/// A path that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) partition: Partition,
    pub(super) path: PathBuf,
    /// The file of that name, if it belongs to the path; `None` if there is none, or one that belongs to another path.
    pub(super) file: Option<FileKey>,
    /// Whether it existed at the start.
    pub(super) initial: bool,
    /// Whether a pattern is its path.
    pub(super) named: bool,
}

/// The followed paths of a source, shared by the workers of a process.
#[derive(Debug)]
pub(super) struct Catalog {
    source: String,
    patterns: Vec<String>,
    rescan: Duration,
    version: AtomicU64,
    state: Mutex<CatalogState>,
    skips: Mutex<Skips>,
}

impl Catalog {
    /// Looks the patterns up now and every `rescan`, until the last handle is dropped.
    pub(super) fn start(source: &str, patterns: Vec<String>, rescan: Duration) -> Result<Arc<Self>> {
        let (mut skips, mut all) = (Skips::default(), Vec::new());
        for pattern in &patterns {
            let found = discover::find(source, pattern, &mut skips)?;
            if found.is_empty() {
                tracing::warn!(source, pattern, "no file matches yet; waiting for one");
            }
            all.extend(found);
        }
        let mut state = CatalogState::default();
        state.apply(discover::in_order(all), &skips.take_unseen());
        if let Some(Collision { path, with, .. }) = state.collisions.iter().find(|collision| collision.named) {
            let message = format!(
                "source {source:?} cannot follow both {with:?} and {path:?}: the hashes of their names are equal"
            );
            return Err(Error::source(message).hint("rename one of them, or follow them with two sources"));
        }
        state.tell_collisions(source, &mut skips);
        let mut for_readers = Skips::default();
        for_readers.take_new(&mut skips);
        let catalog = Arc::new(Catalog {
            source: source.to_owned(),
            patterns,
            rescan,
            version: AtomicU64::new(1),
            state: Mutex::new(state),
            skips: Mutex::new(for_readers),
        });
        let weak = Arc::downgrade(&catalog);
        std::thread::Builder::new()
            .name("file-catalog".to_owned())
            .spawn(move || watch(&weak, rescan, skips))
            .map_err(|e| Error::source(format!("source {source:?} cannot start a thread")).because(e))?;
        Ok(catalog)
    }

    /// The paths, if they changed since `version`, which is updated.
    pub(super) fn changes(&self, version: &mut u64) -> Option<Vec<Followed>> {
        let now = self.version.load(Ordering::Acquire);
        if now == *version {
            return None;
        }
        *version = now;
        Some(self.lock().paths.values().cloned().collect())
    }

    /// Records that `path` is not read.
    pub(super) fn skip(&self, path: &Path, reason: SkipReason, why: impl Display) {
        self.lock_skips().add(&self.source, path, reason, why);
    }

    /// Reports the paths that are not read and were not reported before, by any reader.
    pub(super) fn report_skips(&self, collector: &mut dyn Collector) {
        self.lock_skips().report(collector);
    }

    /// How often the patterns are looked up.
    pub(super) fn rescan(&self) -> Duration {
        self.rescan
    }

    fn lock(&self) -> MutexGuard<'_, CatalogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_skips(&self) -> MutexGuard<'_, Skips> {
        self.skips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks the patterns up once more; `skips` are those that earlier look-ups have reported.
    fn scan(&self, skips: &mut Skips) {
        let told = skips.len();
        let found = discover::look_up(&self.source, &self.patterns, skips);
        let unseen = skips.take_unseen();
        let mut state = self.lock();
        let changed = state.apply(found, &unseen);
        state.tell_collisions(&self.source, skips);
        drop(state);
        self.lock_skips().take_new(skips);
        if changed || skips.len() > told {
            self.version.fetch_add(1, Ordering::Release);
        }
    }
}

fn watch(catalog: &Weak<Catalog>, rescan: Duration, mut skips: Skips) {
    loop {
        std::thread::sleep(rescan);
        let Some(catalog) = catalog.upgrade() else { return };
        catalog.scan(&mut skips);
    }
}

/// A path that cannot be followed, since its partition number is that of another one.
#[derive(Debug, PartialEq, Eq)]
struct Collision {
    path: PathBuf,
    with: PathBuf,
    /// Whether both are named by patterns.
    named: bool,
}

/// The result of the scans so far.
#[derive(Debug, Default)]
struct CatalogState {
    scans: u64,
    paths: BTreeMap<PathBuf, Followed>,
    numbers: BTreeMap<Partition, PathBuf>,
    /// The partition that each file belongs to, and the last scan that saw the file.
    owners: HashMap<FileKey, (Partition, u64)>,
    /// The collisions of the last listing.
    collisions: Vec<Collision>,
}

impl CatalogState {
    /// Applies a listing, sorted by path, which does not cover the paths in `unseen` and below them; returns whether
    /// anything changed.
    fn apply(&mut self, found: Vec<FoundFile>, unseen: &[PathBuf]) -> bool {
        self.scans += 1;
        self.collisions.clear();
        let mut now: BTreeMap<PathBuf, (FileKey, bool)> =
            found.into_iter().map(|f| (f.path, (f.key, f.named))).collect();
        let mut changed = false;
        // Known paths come first: a file seen under an old and a new name at once stays with the old one.
        let mut paths = std::mem::take(&mut self.paths);
        for followed in paths.values_mut() {
            let is_unseen = || unseen.iter().any(|unseen| followed.path.starts_with(unseen));
            if !now.contains_key(&followed.path) && is_unseen() {
                // Paths that cannot be looked at any more are assumed unchanged: open files are still read.
                if let Some(key) = followed.file {
                    self.claim(key, followed.partition);
                }
                continue;
            }
            let file = now.remove(&followed.path).map(|(key, _)| key);
            let file = file.filter(|key| self.claim(*key, followed.partition));
            changed |= file != followed.file;
            followed.file = file;
        }
        for (path, (key, named)) in now {
            let partition = number(&path);
            if !self.claim(key, partition) {
                continue;
            }
            if let Some(with) = self.numbers.get(&partition).filter(|with| **with != path) {
                let named = named && paths.get(with).is_some_and(|other| other.named);
                self.collisions.push(Collision { path, with: with.clone(), named });
                continue;
            }
            changed = true;
            self.numbers.insert(partition, path.clone());
            let initial = self.scans == 1;
            paths.insert(path.clone(), Followed { partition, path, file: Some(key), initial, named });
        }
        self.paths = paths;
        self.owners.retain(|_, (_, seen)| *seen + OWNER_SCANS > self.scans);
        changed
    }

    fn tell_collisions(&self, source: &str, skips: &mut Skips) {
        for Collision { path, with, .. } in &self.collisions {
            let why = format!("the hash of its path is that of {with:?}: rename it");
            skips.add(source, path, SkipReason::Collision, why);
        }
    }

    /// Whether the file belongs to `partition`; it does from now on if it belonged to none.
    fn claim(&mut self, key: FileKey, partition: Partition) -> bool {
        let owner = self.owners.entry(key).or_insert((partition, self.scans));
        owner.1 = self.scans;
        owner.0 == partition
    }
}

/// The partition of a followed path: 32 bits of SipHash-1-3 of its bytes, with the key 0.
fn number(path: &Path) -> Partition {
    let mut hasher = SipHasher13::new();
    hasher.write(path.as_os_str().as_bytes());
    Partition(u32::try_from(hasher.finish() & u64::from(u32::MAX)).expect("masked to 32 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path, name: &str) -> FileKey {
        let path = dir.join(name);
        std::fs::write(&path, "x").unwrap();
        FileKey::of(&std::fs::metadata(path).unwrap())
    }

    fn listing(files: &[(&str, FileKey)]) -> Vec<FoundFile> {
        files.iter().map(|(path, key)| FoundFile { path: PathBuf::from(path), key: *key, named: false }).collect()
    }

    fn seen(state: &CatalogState) -> Vec<(&str, Option<FileKey>)> {
        state.paths.values().map(|f| (f.path.to_str().unwrap(), f.file)).collect()
    }

    #[test]
    fn a_renamed_file_stays_with_its_first_path() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, three] = ["1", "2", "3"].map(|name| file(dir.path(), name));
        let mut state = CatalogState::default();
        assert!(state.apply(listing(&[("app.log", two), ("app.log.1", one)]), &[]));
        assert!(!state.apply(listing(&[("app.log", two), ("app.log.1", one)]), &[]));
        // Rotation: .1 becomes .2, the current one .1, and a new one appears.
        assert!(state.apply(listing(&[("app.log", three), ("app.log.1", two), ("app.log.2", one)]), &[]));
        assert_eq!(seen(&state), [("app.log", Some(three)), ("app.log.1", None)]);
        // A listing that misses files for a moment changes no ownership.
        state.apply(vec![], &[]);
        state.apply(listing(&[("app.log", three), ("app.log.1", two), ("app.log.2", one)]), &[]);
        assert_eq!(seen(&state), [("app.log", Some(three)), ("app.log.1", None)]);
    }

    #[test]
    fn what_cannot_be_looked_at_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, three] = ["1", "2", "3"].map(|name| file(dir.path(), name));
        let mut state = CatalogState::default();
        state.apply(listing(&[("a/1.log", one), ("b/2.log", two)]), &[]);
        for _ in 0..2 * OWNER_SCANS {
            assert!(!state.apply(listing(&[("b/2.log", two)]), &["a".into()]));
            assert!(!state.apply(listing(&[("a/1.log", one)]), &["b/2.log".into()]));
        }
        assert_eq!(seen(&state), [("a/1.log", Some(one)), ("b/2.log", Some(two))]);
        // A path that can be seen again is updated.
        assert!(state.apply(listing(&[("a/1.log", three)]), &["a/x".into()]));
        assert_eq!(seen(&state), [("a/1.log", Some(three)), ("b/2.log", None)]);
    }

    #[test]
    fn numbers_depend_on_the_name_alone_and_collisions_are_told() {
        assert_eq!(number(Path::new("var/log/auth.log")), Partition(PINNED));
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["1", "2"].map(|name| file(dir.path(), name));
        let mut state = CatalogState::default();
        state.apply(listing(&[("a", one)]), &[]);
        let path = state.numbers.remove(&number(Path::new("a"))).unwrap();
        state.numbers.insert(number(Path::new("b")), path);
        state.apply(listing(&[("a", one), ("b", two)]), &[]);
        assert_eq!(state.collisions, [Collision { path: "b".into(), with: "a".into(), named: false }]);
        assert_eq!(seen(&state), [("a", Some(one))], "the first one is still read");
    }

    /// A number that must never change: checkpoints refer to partitions by it.
    const PINNED: u32 = 2_336_579_361;
}
