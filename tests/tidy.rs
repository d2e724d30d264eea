//! The rules of this repository that no compiler checks, read from the source tree itself: layers, sizes, places.
//!
//! One test per rule. A test that fails lists every offender as `file:line` and says what to do about it. The checkers
//! are functions on text (`tidy/rules.rs`), and each has a test below that shows it can fail.

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/tree.rs"]
mod tree;

use rules::{FILE_LINES_MAX, FILE_LINES_MEDIAN_MAX, Finding};
use tree::{Tree, dashed};

/// Fails with every finding and the advice, if there are findings.
fn expect_none(findings: &[Finding], advice: &str) {
    assert!(
        findings.is_empty(),
        "{} offender(s):\n  {}\n{advice}",
        findings.len(),
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
    );
}

#[test]
fn imports_point_down() {
    let findings: Vec<_> = Tree::read().under("src").flat_map(|f| rules::imports_upward(&f.path, &f.text)).collect();
    expect_none(&findings, "Move the code to the layer that needs it, or hand it down as a value or a trait.");
}

#[test]
fn dependencies_stay_where_they_belong() {
    let findings: Vec<_> =
        Tree::read().under("src").flat_map(|f| rules::dependency_out_of_place(&f.path, &f.text)).collect();
    expect_none(&findings, "Put a function or type of ours in the module that owns the dependency, and call that.");
}

#[test]
fn the_data_path_reads_no_clock() {
    let findings: Vec<_> = Tree::read().under("src").flat_map(|f| rules::reads_clock(&f.path, &f.text)).collect();
    expect_none(
        &findings,
        "Take the time from the record or the epoch; the time of day comes from `time::Clock` alone.",
    );
}

#[test]
fn only_the_command_line_prints() {
    let tree = Tree::read();
    let findings: Vec<_> = tree.under("src").flat_map(|f| rules::prints(&f.path, &f.text)).collect();
    expect_none(&findings, "Return it, or log it with `tracing`.");
}

#[test]
fn one_file_has_unsafe_code() {
    let tree = Tree::read();
    let mut findings: Vec<_> = tree.rust().flat_map(|f| rules::unsafe_out_of_place(&f.path, &f.text)).collect();
    findings.extend(rules::FORBIDDING.iter().filter_map(|path| rules::forbids_no_unsafe(path, tree.text(path))));
    expect_none(&findings, "Write it without; only the feature `abomonation` has some, in one file, and says why.");
}

#[test]
fn files_are_short() {
    let tree = Tree::read();
    let findings: Vec<_> = tree.rust().filter_map(|f| rules::too_long(&f.path, &f.text)).collect();
    expect_none(&findings, &format!("Split it by idea; the limit is {FILE_LINES_MAX} lines."));
}

#[test]
fn the_median_file_is_short() {
    let median = rules::median(Tree::read().under("src").map(|f| f.text.lines().count()).collect());
    assert!(
        median <= FILE_LINES_MEDIAN_MAX,
        "the median file in src has {median} lines, over {FILE_LINES_MEDIAN_MAX}: split the longest ones by idea"
    );
}

#[test]
fn files_say_what_they_are_for() {
    let tree = Tree::read();
    let findings: Vec<_> = tree.rust().filter_map(|f| rules::without_header(&f.path, &f.text)).collect();
    expect_none(&findings, "Begin it with `//!`: what it is for, the invariant it keeps, what it does not do.");
}

#[test]
fn nothing_is_left_for_later() {
    let findings: Vec<_> = Tree::read().all().flat_map(|f| rules::left_for_later(&f.path, &f.text)).collect();
    expect_none(&findings, "Do it, or describe today's behaviour and open an issue.");
}

#[test]
fn no_path_of_one_machine() {
    let findings: Vec<_> = Tree::read().all().flat_map(|f| rules::machine_paths(&f.path, &f.text)).collect();
    expect_none(
        &findings,
        "Use a path relative to the repository, or `tempfile`; a path in a sample record is marked `tidy: sample`.",
    );
}

#[test]
fn every_connector_has_a_page() {
    let tree = Tree::read();
    let pages = tree.stems("docs/connectors", "md");
    let missing: Vec<_> = tree
        .modules("src/connectors")
        .into_iter()
        .filter(|name| !rules::WITHOUT_PAGE.contains(&name.as_str()))
        // One module reads standard input and writes standard output: two kinds, each with a page.
        .flat_map(|name| match name.as_str() {
            "stdio" => vec![(name.clone(), "stdin".to_owned()), (name, "stdout".to_owned())],
            _ => vec![(name.clone(), dashed(&name))],
        })
        .filter(|(_, page)| !pages.contains(page))
        .map(|(name, page)| Finding::file(&format!("src/connectors/{name}"), format!("no docs/connectors/{page}.md")))
        .collect();
    expect_none(&missing, "Write the page: options with units and defaults, delivery, limits, an example.");
}

#[test]
fn every_dataflow_has_a_config_and_is_registered() {
    let tree = Tree::read();
    let configs = tree.stems("config", "toml");
    let registry = tree.text("dataflows/main.rs");
    let flows: Vec<_> = tree.modules("dataflows").into_iter().filter(|name| name != "main").collect();
    let findings: Vec<_> = flows
        .iter()
        .flat_map(|name| {
            let members: Vec<_> =
                tree.under(&format!("dataflows/{name}")).map(|f| (f.path.as_str(), f.text.as_str())).collect();
            // A folder beside a dataflow that is registered itself has its parts.
            let is_one = members.is_empty() || registry.contains(&format!("\"{}\"", name.replace('_', "-")));
            match is_one {
                true => rules::unregistered(name, &configs, registry),
                false => {
                    let family = tree.text(&format!("dataflows/{name}.rs"));
                    rules::unregistered_family(name, &configs, registry, family, &members)
                }
            }
        })
        .collect();
    expect_none(
        &findings,
        "Add config/NAME.toml, `mod name;` and `dataflow(\"name\", …)` in dataflows/main.rs. Dataflows in a folder have one \
         configuration, and are registered in dataflows/FOLDER.rs as \"FOLDER-FILE\".",
    );
}

#[test]
fn every_config_has_a_dataflow() {
    let tree = Tree::read();
    let flows: Vec<_> = tree.modules("dataflows").iter().map(|name| dashed(name)).collect();
    let orphans: Vec<_> = tree
        .stems("config", "toml")
        .into_iter()
        .filter(|name| !flows.contains(name))
        .map(|name| Finding::file(&format!("config/{name}.toml"), "no dataflow of that name in dataflows/"))
        .collect();
    expect_none(&orphans, "Name the file after its dataflow, or remove it.");
}

#[test]
fn the_tour_can_be_walked() {
    let tree = Tree::read();
    let tour = tree.text("docs/tour.md");
    let mut findings = docs::missing_files("docs/tour.md", tour, &tree);
    findings.extend(docs::not_in_their_files("docs/tour.md", tour, &tree));
    expect_none(&findings, "Say where it is now: the tour follows an event through the code as it is.");
}

#[test]
fn the_architecture_is_that_of_the_code() {
    let tree = Tree::read();
    let page = "docs/architecture.md";
    let mut findings = docs::missing_files(page, tree.text(page), &tree);
    findings.extend(docs::code_map(page, tree.text(page), &tree));
    findings.extend(docs::layers(page, tree.text(page)));
    findings.extend(docs::not_in_picture("README.md", tree.text("README.md"), &tree));
    expect_none(&findings, "Bring the code map, the layers or the picture up to date.");
}

#[test]
fn documents_lead_somewhere_and_fit_a_screen() {
    let tree = Tree::read();
    let pages: Vec<_> = tree.all().filter(|f| f.path.ends_with(".md")).collect();
    let mut findings: Vec<_> = pages.iter().flat_map(|f| docs::dead_links(&f.path, &f.text, &tree)).collect();
    findings.extend(pages.iter().flat_map(|f| docs::wide_lines(&f.path, &f.text)));
    expect_none(&findings, "Mend the link; break the line.");
}

/// Each checker finds what it is for, and only that.
mod can_fail {
    use super::docs;
    use super::rules::*;
    use super::tree::Tree;

    fn lines(findings: impl IntoIterator<Item = Finding>) -> Vec<usize> {
        findings.into_iter().map(|f| f.line).collect()
    }

    #[test]
    fn imports() {
        let check = |path: &str, text: &str| lines(imports_upward(path, text));
        assert_eq!(check("src/codec/json.rs", "use crate::error::Error;\nuse crate::flow::Flow;\n"), [2]);
        assert_eq!(check("src/codec/json.rs", "use crate::{\n    error::Error,\n    config::{self, Config},\n};"), [3]);
        assert_eq!(check("src/time.rs", "fn f() { tidewatch::runtime::go() }"), [1]);
        assert_eq!(check("src/time.rs", "fn f() { super::runtime::go() }"), [1]);
        assert_eq!(check("src/codec/json.rs", "fn f() { super::limits::go() }"), []);
        assert_eq!(check("src/codec/json.rs", "use super::super::cli::X;"), [1]);
        assert_eq!(check("src/runtime.rs", "use crate::codec::X;\nuse crate::telemetry::Y;"), []);
        assert_eq!(
            check("src/codec.rs", "//! See [`crate::cli`].\n/* crate::cli::x */ let s = \"crate::cli::x\";"),
            []
        );
        assert_eq!(check("src/codec.rs", "#[cfg(test)]\nmod tests {\n    use crate::flow::Flow;\n}"), []);
        assert_eq!(check("src/codec/tests.rs", "use crate::flow::Flow;"), []);
        assert_eq!(check("src/unheard_of.rs", "use std::fmt;"), [1]);
        assert_eq!(check("src/runtime.rs", "#[cfg(test)]\nmod tests;\nuse crate::flow::Flow;"), [3]);
        assert_eq!(check("src/lib.rs", "pub use crate::cli::main;"), []);
    }

    #[test]
    fn dependencies() {
        let check = |path: &str, text: &str| lines(dependency_out_of_place(path, text));
        assert_eq!(check("src/codec.rs", "use rdkafka::Message;"), [1]);
        assert_eq!(check("src/connectors/kafka/source.rs", "use rdkafka::Message;"), []);
        assert_eq!(check("src/connectors/kafkaesque.rs", "use rdkafka::Message;"), [1]);
        assert_eq!(check("src/connectors/file.rs", "\nuse timely::progress::Antichain;"), [2]);
        assert_eq!(check("src/operators/map.rs", "use timely::progress::Antichain;"), []);
        assert_eq!(check("src/operators/map.rs", "use differential_dataflow::Collection;"), [1]);
        assert_eq!(check("src/codec.rs", "// rdkafka::x\nlet my_timely = untimely::x;"), []);
    }

    #[test]
    fn clocks() {
        let check = |path: &str, text: &str| lines(reads_clock(path, text));
        assert_eq!(check("src/operators/map.rs", "let t = std::time::Instant::now();"), [1]);
        assert_eq!(check("src/runtime.rs", "let t = Instant::now();"), []);
        assert_eq!(check("src/runtime.rs", "let t = SystemTime::now();"), [1]);
        assert_eq!(check("src/time.rs", "let t = SystemTime::now();"), []);
        assert_eq!(check("src/codec/tests.rs", "let t = Instant::now();"), []);
        assert_eq!(check("src/detect.rs", "#[cfg(test)]\nmod tests { fn f() { Instant::now(); } }"), []);
    }

    #[test]
    fn printing() {
        let check = |path: &str, text: &str| lines(prints(path, text));
        assert_eq!(check("src/flow.rs", "println!(\"x\");\nlet x = 1;\neprint!(\"y\");"), [1, 3]);
        assert_eq!(check("src/flow.rs", "/// ```\n/// println!(\"x\");\n/// ```\n"), []);
        assert_eq!(check("src/cli/run.rs", "println!(\"x\");"), []);
        assert_eq!(check("src/runtime/panic.rs", "eprintln!(\"x\");"), []);
    }

    #[test]
    fn unsafe_code() {
        let check = |path: &str, text: &str| lines(unsafe_out_of_place(path, text));
        assert_eq!(check("src/state.rs", "fn f() {\n    unsafe { g() }\n}"), [2]);
        assert_eq!(check("benches/window.rs", "#![expect(unsafe_code, reason = \"quick\")]"), [1]);
        assert_eq!(check("src/state.rs", "#![forbid(unsafe_code)] // nothing unsafe"), []);
        assert_eq!(check("src/operators/exchange/abomonated.rs", "unsafe impl Plain for u8 {}"), []);
        assert!(forbids_no_unsafe("src/lib.rs", "#![forbid(unsafe_code)]").is_none());
        assert!(forbids_no_unsafe("src/lib.rs", "// #![forbid(unsafe_code)]").is_some());
    }

    #[test]
    fn sizes() {
        assert!(too_long("a.rs", &"\n".repeat(FILE_LINES_MAX)).is_none());
        assert!(too_long("a.rs", &"\n".repeat(FILE_LINES_MAX + 1)).is_some());
        assert_eq!(median(vec![]), 0);
        assert_eq!(median(vec![9, 1, 5]), 5);
    }

    #[test]
    fn headers() {
        assert!(without_header("a.rs", "//! For this.\n").is_none());
        assert!(without_header("a.rs", "use std::fmt;\n").is_some());
        assert!(without_header("a.rs", "").is_some());
        assert!(without_header("src/codec/tests.rs", "use super::*;\n").is_none());
    }

    #[test]
    fn leftovers() {
        let check = |text: &str| lines(left_for_later("a.rs", text));
        assert_eq!(check(concat!("x\n// TO", "DO: y\n")), [2]);
        assert_eq!(check(concat!("FIX", "ME")), [1]);
        assert_eq!(check(concat!("to", "do!()")), [1]);
        assert_eq!(check("let todos = mastodon;"), []);
    }

    #[test]
    fn paths() {
        let check = |text: &str| lines(machine_paths("a.md", text));
        assert_eq!(check(concat!("see /ho", "me/me/src")), [1]);
        assert_eq!(check(concat!("\n\"/tm", "p/x\"")), [2]);
        assert_eq!(check(concat!("cwd=/ho", "me/eve/x tidy: sample")), []);
        assert_eq!(check("target/tmp/x and ~/logs/x and docs/home/"), []);
    }

    #[test]
    fn tours() {
        let tree =
            Tree::of(&[("src/a/b.rs", "struct Reader; impl Reader { fn poll(&self) {} }"), ("x/c.rs", "enum Kind {}")]);
        let files = |text: &str| lines(docs::missing_files("t.md", text, &tree));
        assert_eq!(files("`a/b.rs` `src/a/b.rs` `x/c.rs` `c.rs`\n`a/d.rs`\n```sh\n`gone.rs`\n```"), [1, 2]);
        let names = |text: &str| lines(docs::not_in_their_files("t.md", text, &tree));
        assert_eq!(names("1. `Reader::poll()` `poll()` `Reader` (`a/b.rs`)\n   `Kind`\n2. `Kind` (`x/c.rs`)"), [2]);
        assert_eq!(names("1. `pol()` `Read` `Reader::seek()` `poll(fd)` `at` (`a/b.rs`)"), [1, 1, 1]);
    }

    #[test]
    fn maps_and_layers() {
        let tree = Tree::of(&[("src/time.rs", "struct Clock;"), ("src/flow/source.rs", ""), ("src/lib.rs", "")]);
        let map = |text: &str| lines(docs::code_map("a.md", text, &tree));
        assert_eq!(map("| module | is |\n| --- | --- |\n| `flow` | `source` |\n| **`time`** | `Clock` |"), []);
        assert_eq!(map("| module | is |\n| --- | --- |\n| `flow` | `sink` |\n| `gone` | |"), [3, 4, 1]);
        assert!(!docs::layers("a.md", "| layer | modules |\n| --- | --- |\n| 0 | `flow` |").is_empty());
        let picture = |text: &str| docs::not_in_picture("a.md", text, &tree).len();
        assert_eq!((picture("```sh\ntime\n```\n```text\nflow, time\n```"), picture("```text\nflow\n```")), (0, 1));
    }

    #[test]
    fn documents() {
        let tree = Tree::of(&[("docs/a.md", "# One word\n## `x` and *y*: 1.5"), ("src/x.rs", "")]);
        let links = |text: &str| lines(docs::dead_links("docs/b.md", text, &tree));
        assert_eq!(links("[a](a.md) [a](a.md#one-word) [s](../src) [x](../src/x.rs) [w](https://w.example/y)"), []);
        assert_eq!(links("[a](a.md#x-and-y-15)\n[b](c.md)\n[c](a.md#two)\n[d](../docs/a.md#one-word)"), [2, 3]);
        assert_eq!(lines(docs::wide_lines("a.md", &format!("{0}\n|{0}|\n{0}ä", "x".repeat(130)))), [3]);
    }

    #[test]
    fn registration() {
        let check = |configs: &[&str], registry: &str| {
            let configs: Vec<_> = configs.iter().map(ToString::to_string).collect();
            unregistered("ssh_brute_force", &configs, registry).len()
        };
        let registry = "mod ssh_brute_force;\nmain([dataflow(\"ssh-brute-force\", ssh_brute_force::build)])";
        assert_eq!(check(&["ssh-brute-force"], registry), 0);
        assert_eq!(check(&["ssh_brute_force"], registry), 1);
        assert_eq!(check(&["ssh-brute-force"], "mod ssh_brute_force;"), 1);
        assert_eq!(check(&[], ""), 3);
    }

    #[test]
    fn registration_of_a_family() {
        let check = |configs: &[&str], registry: &str, family: &str| {
            let configs: Vec<_> = configs.iter().map(ToString::to_string).collect();
            let members =
                [("dataflows/mark/q0.rs", "use super::parts::Part;"), ("dataflows/mark/parts.rs", "struct Part;")];
            unregistered_family("mark", &configs, registry, family, &members).len()
        };
        let registry = "mod mark;\nmain(mark::dataflows())";
        assert_eq!(check(&["mark"], registry, "dataflow(\"mark-q0\", q0::build)"), 0);
        assert_eq!(check(&[], registry, "dataflow(\"mark-q0\", q0::build)"), 1);
        assert_eq!(check(&["mark"], "mod mark;", "dataflow(\"mark-q0\", q0::build)"), 1);
        assert_eq!(check(&["mark"], registry, "dataflow(\"q0\", q0::build)"), 1);
        assert_eq!(check(&[], "", ""), 4);
    }
}
