//! The setting `path` of the file source: one pattern or several.

use crate::settings::{Setting, Value};

/// One pattern or a list of them.
pub(super) struct Patterns(pub(super) Vec<String>);

impl Setting for Patterns {
    const EXPECTED: &'static str = "a path, a glob such as \"logs/*.log\", or a list of them";

    fn read(value: &Value) -> Result<Self, String> {
        let written = match value {
            Value::Array(nodes) if nodes.is_empty() => return Err("the list is empty".to_owned()),
            Value::Array(nodes) => nodes.iter().map(|node| String::read(&node.value)).collect::<Result<_, _>>()?,
            other => vec![String::read(other)?],
        };
        match written.iter().find_map(|pattern: &String| glob::Pattern::new(pattern).err().map(|e| (pattern, e))) {
            _ if written.iter().any(String::is_empty) => Err("a path is empty".to_owned()),
            Some((pattern, error)) => Err(format!("{pattern:?} is no glob: {} at column {}", error.msg, error.pos + 1)),
            None => Ok(Patterns(written)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Value {
        Value::String(s.to_owned())
    }

    #[test]
    fn patterns_are_one_or_many() {
        assert_eq!(Patterns::read(&text("a/*.log")).map(|p| p.0), Ok(vec!["a/*.log".to_owned()]));
        assert!(Patterns::read(&text("a/***")).is_err_and(|why| why.contains("column")));
        assert!(Patterns::read(&Value::Array(vec![])).is_err());
        assert!(Patterns::read(&text("")).is_err());
    }
}
