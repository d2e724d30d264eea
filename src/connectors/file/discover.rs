//! From patterns to the files they name, in one order on every worker.
//!
//! A pattern that is the path of something is that thing, even if it looks like a glob. Globs name regular files only, and
//! hidden files only if the pattern says so: the unfinished files of a file sink are never read.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use glob::MatchOptions;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const GLOB_OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What tells one file from another whatever it is called: the birth time keeps a reused inode number apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct FileKey {
    device: u64,
    inode: u64,
    born_ns: u128,
}

impl FileKey {
    /// The key of the file described by `metadata`; file systems that keep no birth time get along without.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        FileKey { device: metadata.dev(), inode: metadata.ino(), born_ns: born.map_or(0, |d| d.as_nanos()) }
    }
}

/// A file that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) key: FileKey,
}

/// The files that `pattern` names, sorted by path; none is no error.
///
/// # Errors
/// If it names a directory or something else that is no regular file, or if a folder cannot be read.
pub(super) fn find(source: &str, pattern: &str) -> Result<Vec<Found>> {
    let failed = |path: &Path, cause: io::Error| {
        let hint = "check that the path is right and that this user may read it";
        Error::source(format!("source {source:?} cannot look at {path:?}")).because(cause).hint(hint)
    };
    let literal = Path::new(pattern);
    match fs::metadata(literal) {
        Ok(metadata) if metadata.is_file() => {
            return Ok(vec![Found { path: tidy(literal), key: FileKey::of(&metadata) }]);
        }
        Ok(metadata) => return Err(not_a_file(source, literal, &metadata)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(literal, e)),
    }
    let paths = glob::glob_with(pattern, GLOB_OPTIONS)
        .map_err(|e| Error::source(format!("source {source:?}: {pattern:?} is no glob")).because(e))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|e| {
            let at = e.path().to_path_buf();
            failed(&at, e.into())
        })?;
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                found.push(Found { path: tidy(&path), key: FileKey::of(&metadata) });
            }
            Ok(_) => tracing::debug!(source, path = %path.display(), "not a regular file, left out"),
            // Renamed or deleted since the folder was read, or a symbolic link to nothing.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(&path, e)),
        }
    }
    found.sort();
    Ok(found)
}

/// The files that all of `patterns` name, sorted by path, each path once.
///
/// # Errors
/// As for [`find`].
pub(super) fn find_all(source: &str, patterns: &[String]) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for pattern in patterns {
        found.extend(find(source, pattern)?);
    }
    found.sort();
    found.dedup_by(|a, b| a.path == b.path);
    Ok(found)
}

/// The error for a pattern that names no file.
pub(super) fn nothing_found(source: &str, pattern: &str) -> Error {
    let is_glob = pattern.contains(['*', '?', '[']);
    let what = if is_glob { "no file matches" } else { "there is no file" };
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

    fn names(found: &[Found]) -> Vec<String> {
        found.iter().map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_are_sorted_unique_regular_and_not_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.log", "a.log", "c.txt", ".hidden.log", "[x].log"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("folder.log")).unwrap();
        let at = |name: &str| format!("{}/{name}", dir.path().display());
        let found = find_all("s", &[at("*.log"), at("./a.log"), at("*.txt")]).unwrap();
        assert_eq!(names(&found), ["[x].log", "a.log", "b.log", "c.txt"]);
        assert_eq!(names(&find("s", &at("[x].log")).unwrap()), ["[x].log"]);
        assert!(find("s", &at("*.gone")).unwrap().is_empty());
    }

    #[test]
    fn a_directory_is_an_error_that_says_what_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let error = find("logins", dir.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("\"logins\"") && error.contains("is a directory") && error.contains("*.log"), "{error}");
        let error = find("logins", "/dev/null").unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
