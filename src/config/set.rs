//! `--set KEY=VALUE`: one key of the tree.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::layers::merge;
use super::text;
use crate::settings::{Fault, Location, Node, Value, join};

/// The longest assignment, in bytes.
const SET_BYTES_MAX: usize = 64 * 1024;

/// The longest key of an assignment, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// A key and the value it gets.
#[derive(Debug)]
pub(super) struct Assignment {
    path: Vec<String>,
    node: Node,
}

impl Assignment {
    /// Reads `KEY=VALUE`. No message repeats the value, which might be a secret.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |message: String| Fault { key: String::new(), location: None, message };
        if text.len() > SET_BYTES_MAX {
            return Err(fault(format!("--set: longer than {SET_BYTES_MAX} bytes")));
        }
        let Some((key, value)) = split(text) else {
            return Err(fault(format!("--set {}: expected KEY=VALUE", shown(text))));
        };
        let path = path(key)
            .ok_or_else(|| fault(format!("--set {}: expected a dotted key such as sources.events.path", shown(key))))?;
        let dotted = path.iter().fold(String::new(), |dotted, part| join(&dotted, part));
        let location = Location::CommandLine(dotted);
        let string = || Node { location: location.clone(), value: Value::String(value.to_owned()) };
        let node = text::value(value, &location).unwrap_or_else(string);
        Ok(Assignment { path, node })
    }

    /// Puts the value into the tree. Tables merge; a plain value on the way becomes a table.
    pub(super) fn apply(self, tree: &mut Node) -> Result<(), Fault> {
        let location = self.node.location.clone();
        let mut node = tree;
        let mut walked = String::new();
        for part in &self.path {
            if !matches!(node.value, Value::Table(_) | Value::Array(_)) {
                *node = Node { location: location.clone(), value: Value::Table(BTreeMap::new()) };
            }
            node = match &mut node.value {
                Value::Array(items) => {
                    let count = items.len();
                    let item = part.parse().ok().and_then(|i: usize| items.get_mut(i));
                    item.ok_or_else(|| {
                        let allowed = match count {
                            0 => "is an empty list".to_owned(),
                            1 => "is a list of 1: its entry is 0".to_owned(),
                            n => format!("is a list of {n}: its entries are 0 to {}", n - 1),
                        };
                        let message = format!("{walked} {allowed}, found {part:?}");
                        Fault { key: join(&walked, part), location: Some(location.clone()), message }
                    })?
                }
                Value::Table(entries) => entries
                    .entry(part.clone())
                    .or_insert_with(|| Node { location: location.clone(), value: Value::Table(BTreeMap::new()) }),
                _ => unreachable!("anything else was made a table above"),
            };
            walked = join(&walked, part);
        }
        merge(node, self.node);
        Ok(())
    }
}

/// Splits at the first `=` outside quotes.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '=') => return Some((&text[..i], &text[i + 1..])),
            _ => {}
        }
    }
    None
}

/// The parts of a dotted key, read by the TOML parser so that the rules are those of files.
fn path(key: &str) -> Option<Vec<String>> {
    // Anything but a key, such as a header before it, contains one of these.
    if key.contains(['\n', '\r']) {
        return None;
    }
    // Checked before the parser builds a table for each.
    if key.len() > KEY_BYTES_MAX {
        return None;
    }
    let document = format!("{key} = 0");
    let mut table = DeTable::parse(&document).ok()?.into_inner();
    let mut path = Vec::new();
    loop {
        let (key, value) = table.into_iter().next()?;
        path.push(key.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            _ => return (path.len() <= text::KEY_PARTS_MAX).then_some(path),
        }
    }
}

/// The beginning of a text on one line.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let head: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let rest = if head.len() < text.len() { "…" } else { "" };
    format!("{}{rest}", head.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Value) {
        let assignment = Assignment::parse(text).unwrap();
        (assignment.path.join("|"), assignment.node.value)
    }

    #[test]
    fn keys_are_dotted_and_values_are_toml_or_text() {
        for (text, key, value) in [
            ("a.b=IN.jsonl", "a|b", Value::String("IN.jsonl".into())),
            ("a.b = \"2017\"", "a|b", Value::String("2017".into())),
            ("a=x=y", "a", Value::String("x=y".into())),
            ("a=", "a", Value::String(String::new())),
            ("a={", "a", Value::String("{".into())),
            ("a=0x", "a", Value::String("0x".into())),
            ("a=99999999999999999999", "a", Value::String("99999999999999999999".into())),
            ("a=2017", "a", Value::Integer(2017)),
            ("a=true", "a", Value::Bool(true)),
            ("sinks.alerts.1.path=p", "sinks|alerts|1|path", Value::String("p".into())),
            ("a.\"b.c=d\".'e\\'=f", "a|b.c=d|e\\", Value::String("f".into())),
            ("\"a\\\"=b\".c=1", "a\"=b|c", Value::Integer(1)),
        ] {
            let (found_key, found) = parsed(text);
            assert_eq!(found_key, key, "{text}");
            assert_eq!(format!("{found:?}"), format!("{value:?}"), "{text}");
        }
    }

    #[test]
    fn what_is_no_assignment_is_refused_without_its_value() {
        for text in ["", "a", "=hunter2", "a..b=hunter2", "[a]\nb=hunter2", "a b=hunter2", "a.=hunter2", "#=hunter2"] {
            let message = Assignment::parse(text).unwrap_err().message;
            assert!(message.contains("expected") && !message.contains("hunter2"), "{text:?}: {message}");
        }
        assert!(Assignment::parse(&format!("{}=1", "a.".repeat(text::KEY_PARTS_MAX) + "a")).is_err());
        assert!(Assignment::parse(&format!("{}=1", "a.".repeat(text::KEY_PARTS_MAX - 1) + "a")).is_ok());
        assert!(Assignment::parse(&format!("{}=1", "a".repeat(KEY_BYTES_MAX + 1))).is_err());
        assert!(Assignment::parse(&format!("{}=1", "a".repeat(KEY_BYTES_MAX))).is_ok());
        assert!(Assignment::parse(&format!("a={}", "x".repeat(SET_BYTES_MAX - 1))).is_err());
        assert!(Assignment::parse(&format!("a={}", "x".repeat(SET_BYTES_MAX - 2))).is_ok());
    }
}
