//! TOML text to a tree of located values.
//!
//! Its depth is bounded, because trees are walked recursively, not least when the parser drops them: the parser limits
//! brackets and dots each, but not their product.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::settings::{Fault, Location, Node, Value, join};

/// The most syntax errors that are reported of one text; what follows an error is often a consequence of it.
const SYNTAX_FAULTS_MAX: usize = 5;

/// The most dotted parts of one key or header.
pub(super) const KEY_PARTS_MAX: usize = 10;

/// The most tables and lists within each other.
const NESTING_MAX: usize = 32;

/// Where a text comes from.
pub(super) enum TextOrigin {
    /// A file.
    File(PathBuf),
    /// Compiled into a dataflow of this name.
    Builtin(String),
}

impl TextOrigin {
    fn at(&self, line: usize) -> Location {
        match self {
            TextOrigin::File(path) => Location::File(path.clone(), line),
            TextOrigin::Builtin(dataflow) => Location::Builtin(dataflow.clone(), line),
        }
    }
}

/// Reads a whole document. The root is located at line 1.
pub(super) fn parse(origin: &TextOrigin, bytes: &[u8]) -> Result<Node, Vec<Fault>> {
    let line_ends: Vec<usize> = memchr::memchr_iter(b'\n', bytes).collect();
    let locate = |offset: usize| origin.at(1 + line_ends.partition_point(|end| *end < offset));
    let fault = |offset, message| Fault { key: String::new(), location: Some(locate(offset)), message };
    let text = std::str::from_utf8(bytes).map_err(|e| vec![fault(e.valid_up_to(), "not UTF-8".to_owned())])?;
    if let Some(offset) = overlong_key(text) {
        return Err(vec![fault(offset, format!("a key has more than {KEY_PARTS_MAX} dotted parts"))]);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<Fault> = errors
        .iter()
        .map(|e| fault(e.span().map_or(0, |span| span.start), format!("not TOML: {}", e.message())))
        .collect();
    // Stable, so that the first error of each line stays, which is the cause of the others.
    faults.sort_by(|a, b| a.location.cmp(&b.location));
    faults.dedup_by(|a, b| a.location == b.location);
    faults.truncate(SYNTAX_FAULTS_MAX);
    if faults.is_empty() {
        let value = Convert { locate: &locate, depth: 0, faults: &mut faults }.table(table.into_inner(), "");
        if faults.is_empty() {
            return Ok(Node { location: origin.at(1), value });
        }
    }
    Err(faults)
}

/// Reads a single value, every part of it at `location`; `None` if it is not TOML.
pub(super) fn value(text: &str, location: &Location) -> Option<Node> {
    if overlong_key(text).is_some() {
        return None;
    }
    let value = DeValue::parse(text.trim()).ok()?.into_inner();
    let mut faults = Vec::new();
    let value = Convert { locate: &|_| location.clone(), depth: 0, faults: &mut faults }.value(value, 0, "");
    faults.is_empty().then(|| Node { location: location.clone(), value })
}

/// Where a key begins to have more than [`KEY_PARTS_MAX`] parts.
fn overlong_key(text: &str) -> Option<usize> {
    let mut dots = 0;
    Source::new(text).lex().find_map(|token| {
        dots = match token.kind() {
            TokenKind::Dot => dots + 1,
            TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString | TokenKind::Whitespace => dots,
            _ => 0,
        };
        (dots >= KEY_PARTS_MAX).then(|| token.span().start())
    })
}

/// Converts the parser's tree, down to [`NESTING_MAX`].
struct Convert<'a> {
    locate: &'a dyn Fn(usize) -> Location,
    depth: usize,
    faults: &'a mut Vec<Fault>,
}

impl Convert<'_> {
    /// An entry is located at its key: that is the line of its header for a table, and the line people look for.
    fn table(&mut self, table: DeTable<'_>, path: &str) -> Value {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let offset = key.span().start;
            let key = key.into_inner().into_owned();
            let value = self.value(value.into_inner(), offset, &join(path, &key));
            entries.insert(key, Node { location: (self.locate)(offset), value });
        }
        Value::Table(entries)
    }

    fn value(&mut self, value: DeValue<'_>, offset: usize, path: &str) -> Value {
        if self.depth >= NESTING_MAX {
            return self.fault(offset, path, &format!("nested deeper than {NESTING_MAX}"));
        }
        self.depth += 1;
        let value = self.shallow(value, offset, path);
        self.depth -= 1;
        value
    }

    fn shallow(&mut self, value: DeValue<'_>, offset: usize, path: &str) -> Value {
        match value {
            DeValue::String(s) => Value::String(s.into_owned()),
            DeValue::Boolean(b) => Value::Bool(b),
            DeValue::Datetime(d) => Value::Datetime(d.to_string()),
            DeValue::Table(table) => self.table(table, path),
            DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => Value::Integer(n),
                Err(_) => self.fault(offset, path, "a whole number must fit in 64 bits"),
            },
            DeValue::Float(n) => match n.as_str().parse() {
                Ok(n) => Value::Float(n),
                Err(_) => self.fault(offset, path, "not a number"),
            },
            DeValue::Array(items) => {
                let mut nodes = Vec::new();
                for (i, item) in items.into_iter().enumerate() {
                    let offset = item.span().start;
                    let value = self.value(item.into_inner(), offset, &format!("{path}.{i}"));
                    nodes.push(Node { location: (self.locate)(offset), value });
                }
                Value::Array(nodes)
            }
        }
    }

    fn fault(&mut self, offset: usize, path: &str, message: &str) -> Value {
        self.faults.push(Fault {
            key: path.to_owned(),
            location: Some((self.locate)(offset)),
            message: message.to_owned(),
        });
        Value::Integer(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> TextOrigin {
        TextOrigin::File("x.toml".into())
    }

    fn line(node: &Node) -> usize {
        match node.location {
            Location::File(_, line) => line,
            _ => 0,
        }
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "# comment\r\n\na = [\n 1,\n 2]\n[b.c]\nd = '''\n\n'''\ne.f = 1\n[[g]]\n[[g]]\nh = { i = 1 }\n";
        let root = parse(&origin(), text.as_bytes()).unwrap();
        let get = |path: &str| path.split('.').fold(&root, |node, key| node.get(key).expect(key));
        for (path, expected) in
            [("a", 3), ("b", 6), ("b.c", 6), ("b.c.d", 7), ("b.c.e", 10), ("b.c.e.f", 10), ("g", 11)]
        {
            assert_eq!(line(get(path)), expected, "{path}");
        }
        let Value::Array(a) = &get("a").value else { panic!("no list") };
        assert_eq!(a.iter().map(line).collect::<Vec<_>>(), [4, 5]);
        let Value::Array(g) = &get("g").value else { panic!("no list") };
        assert_eq!(g.iter().map(line).collect::<Vec<_>>(), [11, 12]);
        assert_eq!(line(g[1].get("h").unwrap().get("i").unwrap()), 13);
    }

    #[test]
    fn every_syntax_error_up_to_the_limit_has_its_line() {
        let faults = parse(&origin(), "a = \nb = 1\nb = 2\n\nc = x\n".as_bytes()).unwrap_err();
        let lines: Vec<_> = faults.iter().map(|f| f.location.clone().unwrap().to_string()).collect();
        assert_eq!(lines, ["x.toml:1", "x.toml:3", "x.toml:5"]);
        assert_eq!(parse(&origin(), "=\n".repeat(100).as_bytes()).unwrap_err().len(), SYNTAX_FAULTS_MAX);
    }

    #[test]
    fn nesting_is_bounded_however_it_is_written() {
        let keys = |parts: usize| "a.".repeat(parts - 1) + "a";
        let inline = |parts, depth| {
            format!("{}={}1{}", keys(parts), format!("{{{}=", keys(parts)).repeat(depth), "}".repeat(depth))
        };
        let refused = |text: String| {
            let faults = parse(&origin(), text.as_bytes()).expect_err("too deep");
            faults[0].message.clone()
        };
        refused("[".repeat(100_000));
        refused(format!("a={}{}", "[".repeat(100_000), "]".repeat(100_000)));
        refused(format!("[{}]", keys(100_000)));
        refused(format!("[{}]\n{}", keys(80), inline(80, 70)));
        refused(format!("[{}]\n{}", keys(KEY_PARTS_MAX), inline(KEY_PARTS_MAX, 70)));
        assert_eq!(refused(keys(KEY_PARTS_MAX + 1) + "=1"), "a key has more than 10 dotted parts");
        assert_eq!(refused(inline(1, NESTING_MAX)), "nested deeper than 32");
        assert!(parse(&origin(), (keys(KEY_PARTS_MAX) + "=1").as_bytes()).is_ok());
        assert!(parse(&origin(), inline(1, NESTING_MAX - 1).as_bytes()).is_ok());
        assert!(
            parse(&origin(), format!("a='{}'\nb=['1.1.1.1', '1.1.1.1', '1.1.1.1', 1.5, 1.5]", keys(100)).as_bytes())
                .is_ok()
        );
    }
}
