//! The general parser: any order, spacing and spelling of a JSON object, and the reasons for refusing a record.
//!
//! It alone decides what is a record. `serde_json` does the work; added are the limit on nesting inside fields that the
//! record does not declare, the refusal of arrays (which serde would accept for a struct), integers that are written as
//! fractions, and the name of the field at fault.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::codec::limits::NESTING_MAX;
use crate::record::{Reason, Rejection};

/// Decodes exactly one JSON object.
///
/// # Errors
/// [`Reason::TooDeep`] or [`Reason::Malformed`].
#[inline(never)]
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Rejection> {
    if nests_too_deep(text.as_bytes()) {
        return Err(too_deep());
    }
    let start = text.trim_ascii_start();
    if !start.is_empty() && !start.starts_with('{') {
        return Err(Rejection::new(Reason::Malformed, "not a JSON object: it does not start with `{`"));
    }
    serde_json::from_str(text).or_else(|error| decode_integers(text, error))
}

/// How many numbers of one record may be integers that are written with a point or an exponent.
const INTEGERS_MAX: usize = 64;

/// Numbers beyond this are not exact where they are written with a point or an exponent.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Decodes a record in which integers are written as `1.0` or `1.7e12`, which is the same number in JSON, and to serde
/// another type; or says what `error` is.
#[cold]
fn decode_integers<T: DeserializeOwned>(text: &str, error: serde_json::Error) -> Result<T, Rejection> {
    let (mut rewritten, mut refused) = (Cow::Borrowed(text), error);
    for _ in 0..INTEGERS_MAX {
        let Some((start, end, integer)) = integer_at(&rewritten, &refused) else { break };
        rewritten.to_mut().replace_range(start..end, &integer);
        match serde_json::from_str(&rewritten) {
            Ok(record) => return Ok(record),
            Err(error) => refused = error,
        }
    }
    Err(refusal(&rewritten, &refused))
}

/// The place of a number that is refused because it is written as a fraction although it is an integer, and how that is
/// written.
fn integer_at(text: &str, error: &serde_json::Error) -> Option<(usize, usize, String)> {
    if error.classify() != Category::Data {
        return None;
    }
    let end = offset(text, error.line(), error.column());
    let number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let start = end - text.as_bytes()[..end].iter().rev().take_while(|byte| number(byte)).count();
    let written = text.get(start..end).filter(|written| written.contains(['.', 'e', 'E']))?;
    // Last, since the message of an error takes longer than all of this.
    let value: f64 = written.parse().ok()?;
    if !error.to_string().starts_with("invalid type: floating point") {
        return None;
    }
    (value.fract() == 0.0 && value.abs() <= EXACT_MAX).then(|| (start, end, format!("{}", value as i64)))
}

/// Where in `text` the place is that an error names.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let line_at = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    line_at.saturating_add(column).min(text.len())
}

#[cold]
fn refusal(text: &str, error: &serde_json::Error) -> Rejection {
    let message = error.to_string();
    if error.classify() == Category::Syntax && message.starts_with("recursion limit exceeded") {
        return too_deep();
    }
    // Only a value is wrong, and the text before its end is JSON.
    if error.classify() == Category::Data {
        let path = path_at(text, error.line(), error.column());
        if !path.is_empty() {
            return Rejection::new(Reason::Malformed, format!("field `{path}`: {message}"));
        }
    }
    Rejection::new(Reason::Malformed, message)
}

/// The path of names, such as `a.b[2].c`, to the value that ends at a position in JSON. Parsing again with the names
/// recorded would give the same, at several times the cost.
fn path_at(text: &str, line: usize, column: usize) -> String {
    enum Level<'t> {
        Object(&'t str),
        Array(usize),
    }
    let end = offset(text, line, column);
    let bytes = &text.as_bytes()[..end];
    let (mut levels, mut is_key, mut at) = (Vec::new(), false, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let start = at;
                loop {
                    match memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                        Some(next) if bytes[at + next] == b'"' => break at += next,
                        Some(next) => at += next + 2,
                        None => break at = bytes.len(),
                    }
                }
                if is_key && let Some(Level::Object(key)) = levels.last_mut() {
                    *key = text.get(start..at.min(end)).unwrap_or_default();
                }
                (is_key, at) = (false, at + 1);
            }
            b'{' => {
                levels.push(Level::Object(""));
                is_key = true;
            }
            b'[' => {
                levels.push(Level::Array(0));
                is_key = false;
            }
            b',' => match levels.last_mut() {
                Some(Level::Object(key)) => (*key, is_key) = ("", true),
                Some(Level::Array(index)) => *index += 1,
                None => {}
            },
            b'}' | b']' => {
                levels.pop();
                is_key = false;
            }
            _ => {}
        }
    }
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object("") => {}
            Level::Object(key) if path.is_empty() => path.push_str(key),
            Level::Object(key) => path.extend([".", key]),
            Level::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

fn too_deep() -> Rejection {
    Rejection::new(Reason::TooDeep, format!("nested deeper than {NESTING_MAX} levels"))
}

/// Whether arrays and objects nest deeper than [`NESTING_MAX`] somewhere in possible JSON.
fn nests_too_deep(text: &[u8]) -> bool {
    let mut openings = memchr::memchr2_iter(b'{', b'[', text);
    openings.nth(NESTING_MAX).is_some() && depth_reaches(text, NESTING_MAX + 1)
}

fn depth_reaches(text: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string) = (0usize, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth == limit {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}
