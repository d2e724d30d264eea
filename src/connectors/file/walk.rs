//! Finds the paths that match a glob.
//!
//! A problem in one folder hides nothing of another: an entry that cannot be used is reported and skipped. Symbolic
//! links to folders are followed where the glob names a folder or `*` matches it, but not below `**`, so there are no
//! loops.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, PatternError};

use super::skips::Skips;
use crate::telemetry::SkipReason;

/// A leading dot must be written in the glob: the unfinished files of a file sink are never read.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// How many folders deep `**` goes.
pub(super) const DEPTH_MAX: usize = 64;

/// A glob, split at its slashes.
#[derive(Debug)]
pub(super) struct Glob {
    root: PathBuf,
    parts: Vec<GlobPart>,
    /// It ends with a slash: no file has such a name.
    names_folders: bool,
}

#[derive(Clone, Debug)]
enum GlobPart {
    /// Literal text.
    Name(String),
    /// With `*`, `?` or `[`.
    Matching(Pattern),
    /// `**`: this folder and those below it.
    Below,
}

impl Glob {
    /// Parses `text`.
    ///
    /// # Errors
    /// If it is not a glob.
    pub(super) fn new(text: &str) -> Result<Self, PatternError> {
        // Parsed as a whole first, so that an error has the right column.
        Pattern::new(text)?;
        let root = PathBuf::from(if text.starts_with('/') { "/" } else { "" });
        let mut parts = Vec::new();
        for name in text.split('/').filter(|name| !name.is_empty() && *name != ".") {
            match name {
                "**" if matches!(parts.last(), Some(GlobPart::Below)) => {}
                "**" => parts.push(GlobPart::Below),
                _ if is_special(name) => parts.push(GlobPart::Matching(Pattern::new(name)?)),
                _ => parts.push(GlobPart::Name(name.to_owned())),
            }
        }
        if matches!(parts.last(), Some(GlobPart::Below)) {
            parts.push(GlobPart::Matching(Pattern::new("*")?));
        }
        Ok(Glob { root, parts, names_folders: text.ends_with('/') })
    }

    /// The paths that match, in no order, some perhaps twice. What cannot be looked at is added to `skips`.
    pub(super) fn walk(&self, source: &str, skips: &mut Skips) -> Vec<PathBuf> {
        let mut walk = Walk { source, skips, found: Vec::new() };
        if !self.names_folders {
            walk.descend(&self.root, &self.parts, 0);
        }
        walk.found
    }

    /// Whether a file `name` in the folder `folder`, existing or not, would match. Both the folder and the beginning of
    /// the glob may contain symbolic links.
    pub(super) fn would_match(&self, folder: &Path, name: &str) -> bool {
        let Some((last, parents)) = self.parts.split_last() else { return false };
        let fits = match last {
            GlobPart::Name(own) => own == name,
            GlobPart::Matching(pattern) => pattern.matches_with(name, OPTIONS),
            GlobPart::Below => true,
        };
        fits && !self.names_folders && covers(&resolve(&self.root), parents, &resolve(folder))
    }
}

/// Whether a component of a path is a pattern.
pub(super) fn is_special(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

struct Walk<'a> {
    source: &'a str,
    skips: &'a mut Skips,
    found: Vec<PathBuf>,
}

impl Walk<'_> {
    /// Finds what matches `parts` in `folder`, which is `depth` folders below a `**`.
    fn descend(&mut self, folder: &Path, parts: &[GlobPart], depth: usize) {
        let Some((part, rest)) = parts.split_first() else { return };
        match part {
            GlobPart::Name(name) => {
                let path = folder.join(name);
                match fs::symlink_metadata(&path) {
                    Ok(_) => self.take(path, rest),
                    Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                    Err(why) => self.skips.add_unseen(self.source, &path, &why),
                }
            }
            GlobPart::Matching(pattern) => {
                for (name, path, _) in self.list(folder) {
                    match name {
                        Ok(name) if pattern.matches_with(&name, OPTIONS) => self.take(path, rest),
                        Err(name) if pattern.matches_with(&name, OPTIONS) => {
                            let why = "its name is not UTF-8: rename it";
                            self.skips.add(self.source, &path, SkipReason::NotUtf8, why);
                        }
                        _ => {}
                    }
                }
            }
            GlobPart::Below => {
                self.descend(folder, rest, depth);
                for (name, path, is_folder) in self.list(folder) {
                    if !is_folder || name.as_ref().unwrap_or_else(|lossy| lossy).starts_with('.') {
                        continue;
                    }
                    if name.is_err() {
                        let why = "its name is not UTF-8: rename it";
                        self.skips.add(self.source, &path, SkipReason::NotUtf8, why);
                    } else if depth == DEPTH_MAX {
                        let why = format!("it is {DEPTH_MAX} folders below `**`");
                        self.skips.add(self.source, &path, SkipReason::TooDeep, why);
                    } else {
                        self.descend(&path, parts, depth + 1);
                    }
                }
            }
        }
    }

    fn take(&mut self, path: PathBuf, rest: &[GlobPart]) {
        if rest.is_empty() {
            self.found.push(path);
        } else {
            self.descend(&path, rest, 0);
        }
    }

    /// The entries of `folder`: names (lossy ones if they are not UTF-8), paths, and whether they are folders, not
    /// counting links.
    fn list(&mut self, folder: &Path) -> Vec<(Result<String, String>, PathBuf, bool)> {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let entries = match fs::read_dir(here) {
            Ok(entries) => entries,
            // It is a file, or gone: it has no entries.
            Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Vec::new(),
            Err(why) => {
                self.skips.add_unseen(self.source, folder, &why);
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name().into_string().map_err(|name| name.to_string_lossy().into_owned());
                    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    all.push((name, folder.join(entry.file_name()), is_folder));
                }
                // The rest of the folder is unknown; the next look-up may see it.
                Err(why) => {
                    self.skips.add_unseen(self.source, folder, &why);
                    break;
                }
            }
        }
        all
    }
}

/// Whether the folders that `parts` name below `from` include `folder`, which is resolved.
fn covers(from: &Path, parts: &[GlobPart], folder: &Path) -> bool {
    let Some((part, rest)) = parts.split_first() else { return from == folder };
    let names = || folder.strip_prefix(from).ok().and_then(|below| below.iter().next()).and_then(|name| name.to_str());
    let matching = |fits: &dyn Fn(&str) -> bool| {
        let lexical = names().is_some_and(|name| fits(name) && covers(&from.join(name), rest, folder));
        // A link in an existing folder can lead to where `folder` is.
        lexical || links(from).iter().any(|(name, to)| fits(name) && covers(to, rest, folder))
    };
    match part {
        GlobPart::Name(name) => covers(&resolve(&from.join(name)), rest, folder),
        GlobPart::Matching(pattern) => matching(&|name| pattern.matches_with(name, OPTIONS)),
        GlobPart::Below => {
            covers(from, rest, folder)
                || names().is_some_and(|name| !name.starts_with('.') && covers(&from.join(name), parts, folder))
        }
    }
}

/// The links to folders in `folder`, with their targets.
fn links(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.filter_map(|link| Some((link.file_name().into_string().ok()?, fs::canonicalize(link.path()).ok()?))).collect()
}

/// `path` from the root, without links as far as it exists; the rest is taken literally.
fn resolve(path: &Path) -> PathBuf {
    let mut written = std::env::current_dir().unwrap_or_default().join(path);
    let mut missing = Vec::new();
    loop {
        if let Ok(real) = fs::canonicalize(&written) {
            let mut real = real;
            for part in missing.iter().rev() {
                match part {
                    Some(name) => real.push::<&std::ffi::OsString>(name),
                    None => drop(real.pop()),
                }
            }
            return real;
        }
        missing.push(written.file_name().map(ToOwned::to_owned));
        // `..` has no file name, and goes back up in a path that does not exist.
        let mut parents = written.components();
        if parents.next_back().is_none() {
            return written;
        }
        written = parents.as_path().to_owned();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    /// What matches `glob` in `dir`, sorted, relative to `dir`; and how many paths were skipped.
    fn walked(dir: &Path, glob: &str) -> (Vec<String>, usize) {
        let mut skips = Skips::default();
        let found = Glob::new(&format!("{}/{glob}", dir.display())).unwrap().walk("s", &mut skips);
        let below = |path: &PathBuf| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        let mut found: Vec<String> = found.iter().map(below).collect();
        found.sort();
        found.dedup();
        (found, skips.len())
    }

    #[test]
    fn globs_name_what_they_always_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.log", "b.log", ".h.log", "x/a.log", "x/y/a.log", "x/.h/a.log", "[z].log", "q/b.txt"] {
            touch(&dir.path().join(name));
        }
        for (glob, expected) in [
            ("*.log", &["[z].log", "a.log", "b.log"][..]),
            (".*.log", &[".h.log"]),
            ("./*/a.log", &["x/a.log"]),
            ("**/a.log", &["a.log", "x/a.log", "x/y/a.log"]),
            ("**/**/y/*", &["x/y/a.log"]),
            ("x/**", &["x/a.log", "x/y", "x/y/a.log"]),
            ("x/../?.log", &["x/../a.log", "x/../b.log"]),
            ("[ab].log", &["a.log", "b.log"]),
            ("[!a].log", &["b.log"]),
            ("[[]z].log", &["[z].log"]),
            ("gone/*.log", &[]),
            ("a.log/*", &[]),
            ("*/", &[]),
        ] {
            assert_eq!(walked(dir.path(), glob), (expected.iter().map(|s| (*s).to_owned()).collect(), 0), "{glob}");
        }
    }

    #[test]
    fn what_stands_in_the_way_is_told_and_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a/1.log", "z/1.log"] {
            touch(&at(name));
        }
        symlink("loop", at("loop")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        touch(&dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9/1.log")));
        touch(&dir.path().join(std::ffi::OsStr::from_bytes(b"a/caf\xe9.log")));
        let both = vec!["a/1.log".to_owned(), "z/1.log".to_owned()];
        // The loop, the folder and the file whose names are not UTF-8.
        assert_eq!(walked(dir.path(), "*/*.log"), (both.clone(), 3));
        assert_eq!(walked(dir.path(), "**/*.log"), (both.clone(), 2));
        assert_eq!(walked(dir.path(), "*/*.txt").1, 2, "what would not match is not told");

        // A link to a folder above is followed where a folder is named, never below `**`.
        symlink(dir.path(), at("a/up")).unwrap();
        assert_eq!(walked(dir.path(), "**/1.log").0, both);
        assert_eq!(walked(dir.path(), "a/*/z/*.log").0, ["a/up/z/1.log"]);
    }

    #[test]
    fn two_stars_go_so_deep_and_no_deeper() {
        let dir = tempfile::tempdir().unwrap();
        let mut path = dir.path().to_owned();
        for depth in 0..=DEPTH_MAX + 1 {
            touch(&path.join(format!("{depth}.log")));
            path.push("d");
        }
        let (found, skipped) = walked(dir.path(), "**/*.log");
        assert_eq!((found.len(), skipped), (DEPTH_MAX + 1, 1));
    }

    #[test]
    fn a_glob_covers_the_folders_that_it_would_look_into() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("out/alerts")).unwrap();
        symlink(at("out"), at("link")).unwrap();
        fs::create_dir_all(at("data/day")).unwrap();
        symlink(at("out/alerts"), at("data/today")).unwrap();
        let covers = |glob: &str, folder: &str| {
            Glob::new(&format!("{}/{glob}", dir.path().display())).unwrap().would_match(&at(folder), "r.jsonl")
        };
        for (glob, folder) in [
            ("out/alerts/*", "out/alerts"),
            ("out/alerts/*.jsonl", "link/alerts"),
            ("link/alerts/*.jsonl", "out/alerts"),
            ("**/*.jsonl", "out/alerts"),
            ("**", "out/alerts"),
            ("*/*/r*", "out/../out/./alerts"),
            // Does not exist yet, below a link or not.
            ("out/new/*", "out/new"),
            ("out/*/*", "link/new"),
            ("out/new/**/*", "link/new/er"),
            ("out/new/../*", "out"),
            // A link among what matches.
            ("data/*/*.jsonl", "out/alerts"),
        ] {
            assert!(covers(glob, folder), "{glob} covers {folder}");
        }
        for (glob, folder) in [
            ("out/*", "out/alerts"),
            ("out/alerts/*.log", "out/alerts"),
            ("out/alerts/.*", "out/alerts"),
            ("data/*/*.jsonl", "data"),
            ("out/alert/*", "out/alerts"),
            ("out/alerts/*/", "out/alerts"),
            ("**/*", "out/.hidden"),
        ] {
            assert!(!covers(glob, folder), "{glob} does not cover {folder}");
        }
    }
}
