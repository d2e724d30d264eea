//! The setting `path` of the file source: one pattern or several.

use crate::settings::{Setting, Value, path};

/// One pattern or a list of them.
pub(super) struct Patterns(pub(super) Vec<String>);

impl Setting for Patterns {
    const EXPECTED: &'static str = "a path, a glob such as \"logs/*.log\", or a list of them";

    fn read(value: &Value) -> Result<Self, String> {
        let written = match value {
            Value::Array(nodes) if nodes.is_empty() => return Err("the list is empty".to_owned()),
            Value::Array(nodes) => nodes.iter().map(|node| pattern(&node.value)).collect::<Result<_, _>>()?,
            other => vec![pattern(other)?],
        };
        match written.iter().find_map(|pattern: &String| glob::Pattern::new(pattern).err().map(|e| (pattern, e))) {
            _ if written.iter().any(String::is_empty) => Err("a path is empty".to_owned()),
            Some((pattern, error)) => Err(format!("{pattern:?} is no glob: {} at column {}", error.msg, error.pos + 1)),
            None => Ok(Patterns(written)),
        }
    }
}

/// A pattern, in which `~/` and variables are expanded.
fn pattern(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => path::expand_glob(text),
        other => String::read(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Value {
        Value::String(s.to_owned())
    }

    #[test]
    fn variables_are_expanded_to_themselves() {
        let home = glob::Pattern::escape(&std::env::var("CARGO_MANIFEST_DIR").unwrap());
        assert_eq!(Patterns::read(&text("$CARGO_MANIFEST_DIR/*.x")).map(|p| p.0), Ok(vec![format!("{home}/*.x")]));
        assert!(Patterns::read(&text("${TIDEWATCH_NO_SUCH}/*")).is_err_and(|why| why.contains("is not set")));
    }

    #[test]
    fn patterns_are_one_or_many() {
        assert_eq!(Patterns::read(&text("a/*.log")).map(|p| p.0), Ok(vec!["a/*.log".to_owned()]));
        assert!(Patterns::read(&text("a/***")).is_err_and(|why| why.contains("column")));
        assert!(Patterns::read(&Value::Array(vec![])).is_err());
        assert!(Patterns::read(&text("")).is_err());
    }
}
