//! The repository's own text files, read once per test: no build output, no data, nothing that is hidden.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Folders that hold no text of ours. Log samples are full of other machines' paths.
const SKIPPED: [&str; 8] =
    ["target", "tidewatch-out", "data", "corpus", "artifacts", "golden", "proptest-regressions", "node_modules"];
/// The one hidden folder that is ours.
const CI: &str = ".ci";
const EXTENSIONS: [&str; 9] = ["rs", "toml", "md", "sh", "yml", "yaml", "json", "html", ""];
/// Generated, or the text of others.
const NOT_OURS: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// A text file: its path from the root of the repository, and its text.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file of the repository, in the order of their paths.
pub(crate) struct Tree(Vec<File>);

impl Tree {
    /// Reads the tree this test was built from.
    pub(crate) fn read() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        walk(root, root, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(files.iter().any(|f| f.path == "src/lib.rs"), "found no src/lib.rs under {}", root.display());
        Tree(files)
    }

    /// A tree of these files, for tests of the rules.
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        Tree(files.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() }).collect())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter(|f| f.path.ends_with(".rs"))
    }

    /// The Rust files in `folder`, at any depth.
    pub(crate) fn under(&self, folder: &str) -> impl Iterator<Item = &File> {
        self.rust().filter(move |f| f.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The text of the file at `path`.
    pub(crate) fn text(&self, path: &str) -> &str {
        &self.0.iter().find(|f| f.path == path).unwrap_or_else(|| panic!("there is no {path}")).text
    }

    /// The names, without extension, of the files right in `folder` that end in `extension`.
    pub(crate) fn stems(&self, folder: &str, extension: &str) -> Vec<String> {
        let inside = |f: &File| {
            let name = f.path.strip_prefix(folder)?.strip_prefix('/')?;
            let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
            (!stem.contains('/')).then(|| stem.to_owned())
        };
        self.0.iter().filter_map(inside).collect()
    }

    /// The modules right in `folder`: its files, and its folders.
    pub(crate) fn modules(&self, folder: &str) -> BTreeSet<String> {
        let name = |f: &File| {
            let rest = f.path.strip_prefix(folder)?.strip_prefix('/')?;
            Some(rest.split('/').next()?.trim_end_matches(".rs").to_owned())
        };
        self.under(folder).filter_map(name).collect()
    }
}

/// A module's name as people write it: `ssh_brute_force` is `ssh-brute-force`.
pub(crate) fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder stays while we list it").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_symlink() || (name.starts_with('.') && name != CI) {
            continue;
        }
        if path.is_dir() {
            if !SKIPPED.contains(&name) {
                walk(root, &path, files);
            }
        } else if EXTENSIONS.contains(&path.extension().and_then(|e| e.to_str()).unwrap_or_default())
            && !NOT_OURS.contains(&name)
            && let Ok(text) = fs::read_to_string(&path)
        {
            let path = path.strip_prefix(root).expect("we walk below the root").to_string_lossy().replace('\\', "/");
            files.push(File { path, text });
        }
    }
}
