//! Resolves patterns to files, in the same order on every worker.
//!
//! A pattern that is an existing path means that path, even if it looks like a glob: a mistake in it is an error. What
//! a glob matches and is not a readable file is [skipped](super::skips), since a stranger may have put it there.
//! there.

use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::skips::Skips;
use super::walk::{Glob, is_special};
use crate::error::{Error, Result};
use crate::telemetry::SkipReason;

/// Identifies a file whatever its name: the birth time tells apart files that reused an inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct FileKey {
    device: u64,
    inode: u64,
    born_ns: u128,
}

impl FileKey {
    /// The key of the file described by `metadata`; it has no birth time where the file system keeps none.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        FileKey { device: metadata.dev(), inode: metadata.ino(), born_ns: born.map_or(0, |d| d.as_nanos()) }
    }
}

/// A file that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    pub(super) key: FileKey,
    /// Whether a pattern is the path of the file, so that it must be read; otherwise a glob matches it.
    pub(super) named: bool,
}

/// The files that `pattern` names, in no order, some perhaps twice; finding none is not an error.
///
/// # Errors
/// If it is a path of something other than a regular file, or of something that cannot be looked at.
pub(super) fn find(source: &str, pattern: &str, skips: &mut Skips) -> Result<Vec<FoundFile>> {
    let named = Path::new(pattern);
    match fs::metadata(named) {
        Ok(metadata) if metadata.is_file() => {
            return Ok(vec![FoundFile { path: tidy(named), key: FileKey::of(&metadata), named: true }]);
        }
        Ok(metadata) => return Err(not_a_file(source, named, &metadata)),
        Err(why) if why.kind() == io::ErrorKind::NotFound || is_special(pattern) => {}
        Err(why) => {
            let hint = "check that the path is right and that this user may read it";
            return Err(Error::source(format!("source {source:?} cannot look at {named:?}")).because(why).hint(hint));
        }
    }
    let glob = Glob::new(pattern)
        .map_err(|e| Error::source(format!("source {source:?}: {pattern:?} is no glob")).because(e))?;
    let mut found = Vec::new();
    for path in glob.walk(source, skips) {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                found.push(FoundFile { path: tidy(&path), key: FileKey::of(&metadata), named: false });
            }
            Ok(metadata) if metadata.is_dir() => skips.add_folder(source, &path),
            Ok(metadata) => skips.add(source, &path, SkipReason::NotAFile, kind(metadata.file_type())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                // Otherwise it was renamed or deleted since the folder was read.
                if fs::symlink_metadata(&path).is_ok() {
                    skips.add(source, &path, SkipReason::BrokenLink, "a symbolic link to nothing");
                }
            }
            Err(why) => skips.add_unseen(source, &tidy(&path), &why),
        }
    }
    Ok(found)
}

/// `found` sorted by path, each path once.
pub(super) fn in_order(mut found: Vec<FoundFile>) -> Vec<FoundFile> {
    // Of those with one path, the named one comes first.
    found.sort_by(|a, b| (&a.path, !a.named).cmp(&(&b.path, !b.named)));
    found.dedup_by(|a, b| a.path == b.path);
    found
}

/// The files that all of `patterns` name now, in order. A pattern that cannot be looked up does not hide the files of
/// others.
pub(super) fn look_up(source: &str, patterns: &[String], skips: &mut Skips) -> Vec<FoundFile> {
    let mut found = Vec::new();
    for pattern in patterns {
        let path = Path::new(pattern);
        match find(source, pattern, skips) {
            Ok(more) => found.extend(more),
            // It was a file, or nothing, and may be one again: rotation may happen in steps.
            Err(_) if fs::metadata(path).is_ok_and(|now| !now.is_file()) => {
                skips.add(source, path, SkipReason::NotAFile, "waiting for a file of that name");
            }
            Err(_) => {
                let why = fs::metadata(path).err().unwrap_or_else(|| io::ErrorKind::NotFound.into());
                skips.add_unseen(source, &tidy(path), &why);
            }
        }
    }
    in_order(found)
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "not a regular file",
    }
}

/// The error for a pattern that names no file, where `skips` were skipped.
pub(super) fn nothing_found(source: &str, pattern: &str, skips: &Skips) -> Error {
    let path = Path::new(pattern);
    let what = match fs::symlink_metadata(path) {
        Ok(_) => "there is only a symbolic link to nothing at",
        _ if is_special(pattern) && skips.len() > 0 => {
            "nothing that can be read (the log says what was left out) matches"
        }
        _ if is_special(pattern) => "no file matches",
        _ => "there is no file",
    };
    Error::source(format!("source {source:?}: {what} {pattern:?}")).hint(format!(
        "correct sources.{source}.path (relative paths start at the working directory), or set follow = true to wait for it"
    ))
}

fn not_a_file(source: &str, path: &Path, metadata: &Metadata) -> Error {
    if metadata.is_dir() {
        let inside = path.join("*.log");
        return Error::source(format!("source {source:?}: {path:?} is a directory"))
            .hint(format!("name the files in it, for example path = {inside:?}"));
    }
    Error::source(format!("source {source:?}: {path:?} is not a regular file"))
        .hint("a pipe or a device is read with kind = \"stdin\": run `tidewatch run … < PATH`")
}

/// `path` without `.` and doubled separators, so that a file has one name whatever pattern found it.
fn tidy(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[FoundFile]) -> Vec<String> {
        found.iter().map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn found(patterns: &[String], skips: &mut Skips) -> Vec<FoundFile> {
        look_up("s", patterns, skips)
    }

    #[test]
    fn files_are_sorted_unique_regular_and_not_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.log", "a.log", "c.txt", ".hidden.log", "[x].log"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("folder.log")).unwrap();
        let at = |name: &str| format!("{}/{name}", dir.path().display());
        let mut skips = Skips::default();
        let all = found(&[at("*.log"), at("./a.log"), at("*.txt")], &mut skips);
        assert_eq!(names(&all), ["[x].log", "a.log", "b.log", "c.txt"]);
        assert_eq!(all.iter().filter(|found| found.named).count(), 1, "a.log is named, and a glob matches it too");
        assert_eq!(names(&found(&[at("[x].log")], &mut skips)), ["[x].log"]);
        assert!(found(&[at("*.gone")], &mut skips).is_empty());
        assert_eq!(skips.len(), 1);
    }

    #[test]
    fn whatever_is_no_file_is_left_out_of_a_glob_and_told() {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;

        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.log"), "x").unwrap();
        fs::write(at("new\nline \x1b[31m.log"), "x").unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.log")), "x").unwrap();
        fs::create_dir(at("folder.log")).unwrap();
        symlink("nowhere", at("dangling.log")).unwrap();
        symlink("loop.log", at("loop.log")).unwrap();
        symlink("/dev/null", at("device.log")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket.log")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe.log")).status().unwrap().success());
        let mut skips = Skips::default();
        let pattern = [format!("{}/*.log", dir.path().display())];
        assert_eq!(names(&found(&pattern, &mut skips)), ["a.log", "new\nline \x1b[31m.log"]);
        let mut heard = crate::connectors::lines::tests::Calls::default();
        skips.report(&mut heard);
        let expected = [(SkipReason::NotUtf8, 1), (SkipReason::NotAFile, 4), (SkipReason::BrokenLink, 2)];
        assert_eq!(heard.skipped, expected.into());
    }

    #[test]
    fn a_pattern_that_cannot_be_looked_up_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.log"), "x").unwrap();
        let at = |name: &str| format!("{}/{name}", dir.path().display());
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let mut skips = Skips::default();
        let patterns = [at("loop/b.log"), at("loop"), at(""), at("loop/*.log"), at("a.log")];
        assert_eq!(names(&found(&patterns, &mut skips)), ["a.log"]);
        assert!(skips.len() >= 3, "{skips:?}");
    }

    #[test]
    fn a_directory_is_an_error_that_says_what_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let mut skips = Skips::default();
        let mut error = |path: &str| find("logins", path, &mut skips).unwrap_err().to_string();
        let directory = error(dir.path().to_str().unwrap());
        assert!(
            directory.contains("\"logins\"") && directory.contains("is a directory") && directory.contains("*.log"),
            "{directory}"
        );
        assert!(error("/dev/null").contains("not a regular file"));
    }
}
