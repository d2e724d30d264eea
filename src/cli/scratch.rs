//! Folders for as long as a command runs, in that for temporary files (`TMPDIR`).
//!
//! A command that is killed cannot delete its own, so the next one does. Whose owner is gone is seen by a lock, which the operating
//! system drops with the process.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::geteuid;
use tempfile::TempDir;

/// What the names of all such folders begin with.
const PREFIX: &str = "tidewatch-";

/// The file that the owner of a folder has locked.
const LOCK: &str = "owner.lock";

/// How old a folder must be for it to be deleted: a younger one may not be locked yet.
const AGE_MIN: Duration = Duration::from_secs(60);

/// How many folders are deleted at a time: one is made now and then, and whoever makes it does not wait for long.
const SWEPT_MAX: usize = 100;

/// A folder that only this user can enter, and that is gone when it is dropped.
pub(super) struct Scratch {
    // Dropped first, so that the folder is locked while it is there.
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a folder, whose name has `what` in it, and deletes those whose owner is gone.
    pub(super) fn new(what: &str) -> io::Result<Self> {
        Self::within(&std::env::temp_dir(), what)
    }

    fn within(temporary: &Path, what: &str) -> io::Result<Self> {
        sweep(temporary, AGE_MIN);
        let prefix = format!("{PREFIX}{what}");
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix(&prefix).permissions(Permissions::from_mode(0o700)).tempdir_in(temporary)?;
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.path().join(LOCK))?;
        lock.try_lock()?;
        Ok(Scratch { folder, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The file called `name` in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// Deletes the folders in `temporary` that this user made at least `age_min` ago and whose owners are gone. What cannot be deleted stays.
fn sweep(temporary: &Path, age_min: Duration) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    let ours = entries.filter_map(Result::ok).filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for entry in ours.filter(|entry| is_abandoned(&entry.path(), age_min)).take(SWEPT_MAX) {
        let _ = fs::remove_dir_all(entry.path());
    }
}

fn is_abandoned(folder: &Path, age_min: Duration) -> bool {
    // Anybody may make a link, or a folder of such a name, where temporary files are.
    let Ok(metadata) = fs::symlink_metadata(folder) else { return false };
    let is_own = metadata.is_dir() && metadata.uid() == geteuid().as_raw();
    let is_old = metadata.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age >= age_min));
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    is_own
        && is_old
        && OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(folder.join(LOCK))
            .is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_whose_owner_is_gone_are_deleted_and_no_others() {
        let temporary = tempfile::tempdir().unwrap();
        let temporary = temporary.path();
        let kept = Scratch::within(temporary, "").unwrap();
        let killed = Scratch::within(temporary, "bench-").unwrap();
        assert!(killed.path().file_name().unwrap().to_str().unwrap().starts_with("tidewatch-bench-"));
        // As after a kill: the lock is gone, the folder is not.
        let Scratch { folder, _lock: lock } = killed;
        let killed = folder.keep();
        fs::write(killed.join("secret"), "x").unwrap();
        drop(lock);
        let foreign = temporary.join("tidewatch-foreign");
        fs::create_dir(&foreign).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join(LOCK), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), temporary.join("tidewatch-link")).unwrap();

        sweep(temporary, AGE_MIN);
        assert!(killed.exists(), "it may be too young to be locked");
        sweep(temporary, Duration::ZERO);
        assert!(!killed.exists());
        assert!(kept.path().exists() && foreign.exists() && elsewhere.path().join(LOCK).exists());
        let path = kept.path().to_owned();
        drop(kept);
        assert!(!path.exists());
    }
}
