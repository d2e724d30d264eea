//! What the documents say of the source tree, held to it: files, functions, modules, layers, links.

use std::collections::BTreeSet;

use crate::rules::{Finding, LAYERS};
use crate::tree::Tree;

/// Columns of a line of prose. Tables cannot be broken.
pub(crate) const PROSE_COLUMNS_MAX: usize = 130;

/// Code in a document: the line it stands in, from 1, and what is between the backticks.
type Code = (usize, String);

/// The code in the prose of a document, outside of its blocks.
fn code(text: &str) -> Vec<Code> {
    let mut found = Vec::new();
    for (n, line) in prose(text) {
        let spans = line.split('`').skip(1).step_by(2);
        found.extend(spans.map(|code| (n, code.to_owned())));
    }
    found
}

/// The lines of a document that are in no block of code, by their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    })
}

/// Where a document says that a file is: from the root, or below `src`.
fn resolve<'t>(tree: &'t Tree, path: &str) -> Option<(&'t str, &'t str)> {
    let file = |path: &str| tree.all().find(|f| f.path == path);
    let found = file(path).or_else(|| file(&format!("src/{path}")))?;
    Some((&found.path, &found.text))
}

fn is_path(code: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
    code.chars().all(plain) && [".rs", ".toml", ".md"].iter().any(|extension| code.ends_with(extension))
}

/// A file that is named and is not there.
pub(crate) fn missing_files(path: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let missing = |(_, code): &Code| is_path(code) && resolve(tree, code).is_none();
    let found = code(text).into_iter().filter(missing);
    found.map(|(line, code)| Finding::new(path, line, format!("there is no {code}, nor src/{code}"))).collect()
}

/// Functions (`name()`, `Type::name()`) and types (`Type`) of a numbered step that are in none of the files the step
/// names.
pub(crate) fn not_in_their_files(path: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let begins = |line: &str| line.starts_with(|c: char| c.is_ascii_digit()) || line.starts_with('#');
    let starts: Vec<usize> = prose(text).filter(|(_, line)| begins(line)).map(|(n, _)| n).collect();
    let spans = code(text);
    let mut findings = Vec::new();
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(usize::MAX);
        let step: Vec<&Code> = spans.iter().filter(|(n, _)| (*start..end).contains(n)).collect();
        let files: Vec<&str> = step.iter().filter_map(|(_, code)| Some(resolve(tree, code)?.1)).collect();
        let names = step.into_iter().filter(|(_, code)| is_name_of_code(code));
        findings.extend(
            names
                .filter(|(_, name)| !files.iter().any(|file| has(file, name)))
                .map(|(line, name)| Finding::new(path, *line, format!("`{name}` is in no file that its step names"))),
        );
    }
    findings
}

/// A function, which has parentheses and nothing in them, or a type, which begins with a capital.
fn is_name_of_code(code: &str) -> bool {
    let name = code.strip_suffix("()").unwrap_or(code);
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_type = code.starts_with(|c: char| c.is_ascii_uppercase());
    name.split("::").all(is_word) && (is_type || code.ends_with("()"))
}

/// Whether a file has a function, or a type with a function or variant.
fn has(file: &str, name: &str) -> bool {
    let parts: Vec<&str> = name.trim_end_matches("()").split("::").collect();
    let (last, types) = parts.split_last().expect("a name has a part");
    let is_there = |word: &str| {
        let at_end = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        file.match_indices(word).any(|(at, _)| {
            at_end(&file[at + word.len()..]) && !file[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
        })
    };
    let last = if name.ends_with("()") { format!("fn {last}") } else { (*last).to_owned() };
    is_there(&last) && types.iter().all(|name| is_there(name))
}

/// The cells of the tables of a document whose first column is headed `head`, by line.
fn rows<'d>(text: &'d str, head: &str) -> Vec<(usize, Vec<&'d str>)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (n, line) in prose(text) {
        let Some(row) = line.strip_prefix('|') else {
            inside = false;
            continue;
        };
        let cells: Vec<&str> = row.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
        if inside && !cells[0].starts_with("---") {
            found.push((n, cells.clone()));
        }
        inside |= cells[0] == head;
    }
    found
}

fn named(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

/// Modules that the code map lacks or that are not there, and what it says of their parts and is not there.
pub(crate) fn code_map(path: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let mut left: BTreeSet<String> = tree.modules("src").into_iter().filter(|name| name != "lib").collect();
    let mut findings = Vec::new();
    for (line, cells) in rows(text, "module") {
        for module in named(cells[0]) {
            if !left.remove(&module) {
                findings.push(Finding::new(path, line, format!("there is no module `{module}`, or it is there twice")));
                continue;
            }
            let inside = |f: &str| f == format!("src/{module}.rs") || f.starts_with(&format!("src/{module}/"));
            let files: Vec<_> = tree.rust().filter(|f| inside(&f.path)).collect();
            let is_there = |name: &str| {
                let file = format!("/{name}.rs");
                files.iter().any(|f| f.path.ends_with(&file) || has(&f.text, name))
            };
            let missing = cells[1..].iter().flat_map(|cell| named(cell)).filter(|name| !is_there(name));
            findings.extend(missing.map(|name| Finding::new(path, line, format!("`{module}` has no `{name}`"))));
        }
    }
    findings.extend(left.iter().map(|module| Finding::file(path, format!("the code map lacks `{module}`"))));
    findings
}

/// Layers that are not those that the imports are held to.
pub(crate) fn layers(path: &str, text: &str) -> Vec<Finding> {
    let said: BTreeSet<(String, usize)> = rows(text, "layer")
        .into_iter()
        .flat_map(|(_, cells)| {
            let layer = cells[0].parse().unwrap_or(usize::MAX);
            named(cells[1]).into_iter().map(move |module| (module, layer))
        })
        .collect();
    let layers = LAYERS.iter().flat_map(|(modules, layer)| modules.iter().map(|module| ((*module).to_owned(), *layer)));
    let held: BTreeSet<(String, usize)> = layers.collect();
    let differ = said.symmetric_difference(&held);
    differ
        .map(|(module, layer)| Finding::file(path, format!("`{module}` in layer {layer}: the two disagree")))
        .collect()
}

/// Modules that a picture of the layers, a block of text, does not name.
pub(crate) fn not_in_picture(path: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let picture = text.split("```").skip(1).step_by(2).find(|block| block.starts_with("text")).unwrap_or_default();
    let words: BTreeSet<&str> = picture.split(|c: char| !c.is_alphanumeric()).collect();
    let apart = ["lib", "prelude", "testing"];
    let missing = tree.modules("src").into_iter().filter(|name| !apart.contains(&name.as_str()));
    let missing = missing.filter(|name| !words.contains(name.as_str()));
    missing.map(|name| Finding::file(path, format!("the picture of the layers lacks `{name}`"))).collect()
}

/// Links to files of the repository, or to headings in them, that lead nowhere.
pub(crate) fn dead_links(path: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, words) in prose(text) {
        for link in words.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") || link.contains(' ') {
                continue;
            }
            let target = if file.is_empty() { path.to_owned() } else { beside(path, file) };
            let below = format!("{target}/");
            let found = tree.all().find(|f| f.path == target);
            // The licences are there, and not among our texts.
            if found.is_none() && !tree.all().any(|f| f.path.starts_with(&below)) && !target.starts_with("LICENSE-") {
                findings.push(Finding::new(path, line, format!("the link leads to {target}, which is not there")));
            } else if !heading.is_empty() && !found.is_some_and(|f| headings(&f.text).contains(heading)) {
                findings.push(Finding::new(path, line, format!("{target} has no heading #{heading}")));
            }
        }
    }
    findings
}

/// The path that `link` in the document at `path` means.
fn beside(path: &str, link: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a document's headings.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = prose(text).map(|(_, line)| line).filter(|line| line.starts_with('#'));
    let anchor = |title: &str| {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept: String = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).collect();
        kept.replace(' ', "-")
    };
    titles.map(anchor).collect()
}

/// Lines of prose that are longer than a screen is wide.
pub(crate) fn wide_lines(path: &str, text: &str) -> Vec<Finding> {
    let wide = prose(text).filter(|(_, line)| !line.starts_with('|') && line.chars().count() > PROSE_COLUMNS_MAX);
    wide.map(|(n, line)| Finding::new(path, n, format!("{} columns", line.chars().count()))).collect()
}
