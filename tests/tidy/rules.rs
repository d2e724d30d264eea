//! The rules themselves: functions from one file's path and text to what is wrong with it.

use std::fmt;

use crate::code::{code_only, is_name, line_of, paths_from, shipped_code};
use crate::tree::dashed;

pub(crate) const FILE_LINES_MAX: usize = 600;
pub(crate) const FILE_LINES_MEDIAN_MAX: usize = 200;

/// The modules of the library, each with its layer: code may use its own layer and those below it.
pub(crate) const LAYERS: &[(&[&str], usize)] = &[
    (&["error", "time", "record", "settings"], 0),
    // Below the operators, since they count what they do.
    (&["telemetry"], 1),
    (&["operators", "detect", "codec", "state"], 2),
    (&["checkpoint", "connectors"], 3),
    (&["runtime"], 4),
    (&["flow"], 5),
    (&["config"], 6),
    (&["cli"], 7),
    // For tests and for users: on top of everything public.
    (&["testing", "prelude", "lib"], 8),
];

/// Where a dependency may be named, as module paths below `src`.
const PLACES: &[(&str, &[&str])] = &[
    ("rdkafka", &["connectors/kafka", "cli"]),
    ("timely", &["operators", "detect", "state", "telemetry", "runtime", "flow", "testing"]),
    ("differential_dataflow", &["flow", "telemetry"]),
    ("prometheus", &["telemetry"]),
    ("hdrhistogram", &["telemetry"]),
    ("hyper", &["telemetry", "connectors"]),
    ("clap", &["cli"]),
    ("bincode", &["operators/exchange"]),
    ("abomonation", &["operators/exchange/abomonated"]),
];

/// The one file with unsafe code, which only the feature `abomonation` compiles.
const UNSAFE: &str = "src/operators/exchange/abomonated.rs";
/// Roots of crates that forbid unsafe code; the first one unless that feature is on.
pub(crate) const FORBIDDING: [&str; 3] = ["src/lib.rs", "dataflows/main.rs", "derive/src/lib.rs"];

/// Modules in `src/connectors` that need no page: the contracts, what several connectors share, and the test doubles.
pub(crate) const WITHOUT_PAGE: [&str; 7] = ["source", "sink", "kinds", "lines", "paced", "script", "capture"];

/// Modules whose output must be a function of their input alone.
const DATA_PATH: &[&str] = &["operators", "detect", "codec", "state", "record"];

const PRINTERS: &[&str] = &["println!", "eprintln!", "print!", "eprint!"];
const MAY_PRINT: &[&str] = &["cli", "runtime/panic"];

/// Something wrong at a line of a file.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    pub(crate) line: usize,
    what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Finding { path: path.to_owned(), line, what: what.into() }
    }

    /// About the file as a whole.
    pub(crate) fn file(path: &str, what: impl Into<String>) -> Self {
        Finding::new(path, 1, what)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Uses of a module in a higher layer, and modules without a layer.
pub(crate) fn imports_upward(path: &str, text: &str) -> Vec<Finding> {
    let module = module_path(path);
    if is_test_module(&module) {
        return Vec::new();
    }
    let top = module.split('/').next().unwrap_or_default();
    let Some(own) = layer(top) else {
        return vec![Finding::file(path, format!("module `{top}` has no layer: give it one in tests/tidy/rules.rs"))];
    };
    let code = shipped_code(text);
    let depth = if top == "lib" { 0 } else { module.split('/').count() };
    let mut findings = Vec::new();
    for (at, name) in modules_used(&code, depth) {
        // A name without a layer is an item at the root: a module would have been found as a file without one.
        if layer(&name).is_some_and(|used| used > own) {
            let what = format!("`{top}` uses `{name}`, which is above it");
            findings.push(Finding::new(path, line_of(&code, at), what));
        }
    }
    findings
}

/// Dependencies named outside the modules that own them.
pub(crate) fn dependency_out_of_place(path: &str, text: &str) -> Vec<Finding> {
    let code = shipped_code(text);
    let mut findings = Vec::new();
    for (name, places) in PLACES {
        if !in_any(path, places) {
            let hits = paths_from(&code, name);
            findings.extend(hits.map(|(at, _)| {
                Finding::new(path, line_of(&code, at), format!("`{name}` belongs in {}", places.join(", ")))
            }));
        }
    }
    findings
}

/// Clocks read where the output must not depend on them.
pub(crate) fn reads_clock(path: &str, text: &str) -> Vec<Finding> {
    if is_test_module(&module_path(path)) {
        return Vec::new();
    }
    let code = shipped_code(text);
    let mut clocks = Vec::new();
    if !in_any(path, &["time"]) {
        clocks.push("SystemTime::now");
    }
    if in_any(path, DATA_PATH) {
        clocks.push("Instant::now");
    }
    let hits = clocks.into_iter().flat_map(|clock| code.match_indices(clock));
    hits.map(|(at, clock)| Finding::new(path, line_of(&code, at), format!("reads the clock with `{clock}`"))).collect()
}

/// Printing macros outside the command line.
pub(crate) fn prints(path: &str, text: &str) -> Vec<Finding> {
    if in_any(path, MAY_PRINT) {
        return Vec::new();
    }
    let code = shipped_code(text);
    let line = |(n, line): (usize, &str)| {
        let printer =
            PRINTERS.iter().find(|p| line.match_indices(**p).any(|(at, _)| !line[..at].ends_with(is_name)))?;
        Some(Finding::new(path, n + 1, format!("prints with `{printer}`")))
    };
    code.lines().enumerate().filter_map(line).collect()
}

/// Unsafe code, and leave for it, outside the one file.
pub(crate) fn unsafe_out_of_place(path: &str, text: &str) -> Vec<Finding> {
    if path == UNSAFE {
        return Vec::new();
    }
    let words = ["unsafe", "allow(unsafe_code", "expect(unsafe_code", "warn(unsafe_code"];
    find_words(path, &code_only(text), &words, "unsafe code")
}

/// A root that does not forbid unsafe code.
pub(crate) fn forbids_no_unsafe(path: &str, text: &str) -> Option<Finding> {
    (!code_only(text).contains("forbid(unsafe_code)")).then(|| Finding::file(path, "does not forbid unsafe code"))
}

/// A file over the limit.
pub(crate) fn too_long(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (lines > FILE_LINES_MAX).then(|| Finding::new(path, FILE_LINES_MAX + 1, format!("{lines} lines")))
}

/// The middle value, or 0 of none.
pub(crate) fn median(mut values: Vec<usize>) -> usize {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// A file that does not begin with its purpose; a module's `tests.rs` has the purpose of its module.
pub(crate) fn without_header(path: &str, text: &str) -> Option<Finding> {
    (!path.ends_with("/tests.rs") && !text.starts_with("//!")).then(|| Finding::file(path, "no header comment"))
}

/// Work that was put off.
pub(crate) fn left_for_later(path: &str, text: &str) -> Vec<Finding> {
    // Spelled in halves: this file is checked too.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimple", "mented!(")];
    find_words(path, text, &marks, "left for later")
}

/// Absolute paths that exist on one machine only.
pub(crate) fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let roots = [
        concat!("/wo", "rk/"),
        concat!("/tm", "p/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let mut findings = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.contains("tidy: sample")) {
        for root in roots {
            // Part of a longer relative path, or of a URL, is not absolute.
            let absolute = |at: usize| !line[..at].ends_with(|c: char| is_name(c) || "~.}/".contains(c));
            if line.match_indices(root).any(|(at, _)| absolute(at)) {
                findings.push(Finding::new(path, n + 1, format!("a path below {root}")));
            }
        }
    }
    findings
}

/// What a dataflow lacks: its configuration, its `mod` line, its registration.
pub(crate) fn unregistered(module: &str, configs: &[String], registry: &str) -> Vec<Finding> {
    let (path, name) = (format!("dataflows/{module}.rs"), dashed(module));
    let mut findings = unwired(module, configs, registry);
    if !registry.contains(&format!("\"{name}\"")) {
        findings.push(Finding::file(&path, format!("\"{name}\" is not registered in dataflows/main.rs")));
    }
    findings
}

/// What a family of dataflows lacks, which are files in a folder: their one configuration, the module's `mod` line and
/// use, and the registration of each, unless it is a part that others use. `members` are the folder's files with their
/// texts.
pub(crate) fn unregistered_family(
    module: &str,
    configs: &[String],
    registry: &str,
    family: &str,
    members: &[(&str, &str)],
) -> Vec<Finding> {
    let mut findings = unwired(module, configs, registry);
    if !code_only(registry).contains(&format!("{module}::")) {
        let what = format!("`{module}::` is not used in dataflows/main.rs");
        findings.push(Finding::file(&format!("dataflows/{module}.rs"), what));
    }
    for (path, _) in members {
        let stem = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        let shared = members.iter().any(|(_, text)| code_only(text).contains(&format!("super::{stem}::")));
        let name = format!("{}-{}", dashed(module), dashed(stem));
        if !shared && !family.contains(&format!("\"{name}\"")) {
            findings.push(Finding::file(path, format!("\"{name}\" is not registered in dataflows/{module}.rs")));
        }
    }
    findings
}

/// What a module of dataflows lacks in any case.
fn unwired(module: &str, configs: &[String], registry: &str) -> Vec<Finding> {
    let (path, name) = (format!("dataflows/{module}.rs"), dashed(module));
    let mut findings = Vec::new();
    if !configs.contains(&name) {
        findings.push(Finding::file(&path, format!("no config/{name}.toml")));
    }
    if !code_only(registry).contains(&format!("mod {module};")) {
        findings.push(Finding::file(&path, format!("no `mod {module};` in dataflows/main.rs")));
    }
    findings
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().find(|(modules, _)| modules.contains(&module)).map(|(_, layer)| *layer)
}

/// `src/codec/json.rs` is `codec/json`.
fn module_path(path: &str) -> String {
    path.trim_start_matches("src/").trim_end_matches(".rs").to_owned()
}

fn is_test_module(module: &str) -> bool {
    module.split('/').any(|part| part == "tests")
}

/// Whether the file at `path` is one of `modules`, or inside one.
fn in_any(path: &str, modules: &[&str]) -> bool {
    let module = module_path(path);
    is_test_module(&module)
        || modules.iter().any(|m| module.strip_prefix(m).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Every top-level module that `code`, `depth` modules below the root, names: `crate::x`, `crate::{x, y}`, `super::x`.
fn modules_used(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for root in ["crate", "tidewatch"] {
        for (_, after) in paths_from(code, root) {
            names_at(code, after, &mut used);
        }
    }
    let up = "super::".repeat(depth);
    for (at, _) in code.match_indices(&up).filter(|_| depth > 0) {
        let longer = code[..at].ends_with("super::") || code[at + up.len()..].starts_with("super::");
        if !longer && !code[..at].ends_with(is_name) {
            names_at(code, at + up.len(), &mut used);
        }
    }
    used
}

/// The first names of the path, or of each path of the group, that begins at `at`.
fn names_at(code: &str, at: usize, used: &mut Vec<(usize, String)>) {
    let name = |at: usize| (at, code[at..].chars().take_while(|c| is_name(*c)).collect::<String>());
    if !code[at..].starts_with('{') {
        used.push(name(at));
        return;
    }
    let (mut depth, mut fresh) = (0, false);
    for (offset, c) in code[at..].char_indices() {
        match c {
            '{' => (depth, fresh) = (depth + 1, depth == 0),
            '}' if depth == 1 => return,
            '}' => depth -= 1,
            ',' => fresh = depth == 1,
            c if fresh && is_name(c) => {
                used.push(name(at + offset));
                fresh = false;
            }
            _ => {}
        }
    }
}

/// Lines with one of `words` as a whole word (to its left; the words say where they end).
fn find_words(path: &str, text: &str, words: &[&str], what: &str) -> Vec<Finding> {
    let line = |(n, line): (usize, &str)| {
        let whole = |word: &&&str| {
            line.match_indices(**word).any(|(at, _)| {
                !line[..at].ends_with(is_name) && (word.ends_with('(') || !line[at + word.len()..].starts_with(is_name))
            })
        };
        words.iter().find(whole).map(|word| Finding::new(path, n + 1, format!("{what}: {word}")))
    };
    text.lines().enumerate().filter_map(line).collect()
}
