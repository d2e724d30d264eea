//! Rust source with comments, strings and tests blanked out, so that a rule sees only the code that ships.
//!
//! A small scanner, not a parser: it knows comments, string and character literals, and lifetimes. It keeps every line
//! break, so line numbers stay true.

/// `source` with every comment and literal replaced by spaces.
pub(crate) fn code_only(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if c == '"' {
            string(rest)
        } else if c == 'r' && !out.ends_with(is_name) {
            raw_string(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        let (taken, kept) = if skipped == 0 { (c.len_utf8(), true) } else { (skipped, false) };
        out.extend(rest[..taken].chars().map(|c| if kept || c == '\n' { c } else { ' ' }));
        rest = &rest[taken..];
    }
    out
}

/// `source` as [`code_only`], up to the unit tests at its end.
pub(crate) fn shipped_code(source: &str) -> String {
    let mut code = code_only(source);
    let inline = |at: &usize| code[*at..].lines().nth(1).is_some_and(|line| line.contains('{'));
    if let Some(at) = code.match_indices("#[cfg(test)]\nmod ").map(|(at, _)| at).find(inline) {
        code.truncate(at);
    }
    code
}

/// Whether `c` can be part of a name.
pub(crate) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `name` begins as a whole path segment followed by `::` in `code`, with the offset just behind the `::`.
pub(crate) fn paths_from<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    code.match_indices(name).filter_map(move |(at, _)| {
        let before = &code[..at];
        let whole = !before.ends_with(is_name) && (!before.ends_with("::") || before.ends_with(" ::"));
        (whole && code[at + name.len()..].starts_with("::")).then_some((at, at + name.len() + 2))
    })
}

/// The 1-based line of byte `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        match (rest[at..].find("/*"), rest[at..].find("*/")) {
            (Some(open), Some(close)) if open < close => (depth, at) = (depth + 1, at + open + 2),
            (_, Some(close)) => (depth, at) = (depth - 1, at + close + 2),
            (_, None) => return rest.len(),
        }
        if depth == 0 {
            return at;
        }
    }
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return 0;
    }
    let body = hashes + 2;
    let end = format!("\"{}", "#".repeat(hashes));
    rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len())
}

/// A character literal's length, or 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => rest[3..].find('\'').map_or(rest.len(), |at| 3 + at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[test]
fn blanks_comments_and_literals_and_keeps_lines() {
    let blank = |text: &str| code_only(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(blank("a // b\nc"), "a c");
    assert_eq!(blank("a /* b /* c */ d */ e"), "a e");
    assert_eq!(blank(r#"a("b \" c") d"#), "a( ) d");
    assert_eq!(blank("r#\"a \" b\"# c"), "c");
    assert_eq!(blank("for r in x"), "for r in x");
    assert_eq!(blank(r"f('\'', '\\', '{', '\u{1f}') &'a str"), "f( , , , ) &'a str");
    assert_eq!(blank("b\"x\" 'static \u{e9}"), "b 'static \u{e9}");
    assert_eq!(code_only("\"a\nb\"\nc").matches('\n').count(), 2);
    assert_eq!(
        shipped_code("a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\nc\n}").lines().last(),
        Some("b")
    );
}
