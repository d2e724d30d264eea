//! The general parser: any order, spacing and spelling of a JSON object, and the reasons for refusing what is none.
//!
//! It alone decides what is a record. `serde_json` does the work; added are the limit on nesting inside fields that the
//! record does not declare, the refusal of arrays (which serde would take for a struct) and the name of the field at fault.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::codec::limits::NESTING_MAX;
use crate::record::{Reason, Rejection};

/// Decodes one JSON object and nothing behind it.
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
    serde_json::from_str(text).map_err(|e| refusal::<T>(text, &e))
}

fn refusal<T: DeserializeOwned>(text: &str, error: &serde_json::Error) -> Rejection {
    let message = error.to_string();
    if error.classify() == Category::Syntax && message.starts_with("recursion limit exceeded") {
        return too_deep();
    }
    // Only the value is wrong, so reading it again gets to the same place; this time with the names on the way there.
    if error.classify() == Category::Data {
        let json = &mut serde_json::Deserializer::from_str(text);
        if let Err(e) = serde_path_to_error::deserialize::<_, T>(json)
            && e.path().iter().next().is_some()
        {
            return Rejection::new(Reason::Malformed, format!("field `{}`: {message}", e.path()));
        }
    }
    Rejection::new(Reason::Malformed, message)
}

fn too_deep() -> Rejection {
    Rejection::new(Reason::TooDeep, format!("nested deeper than {NESTING_MAX} levels"))
}

/// Whether arrays and objects are open deeper than [`NESTING_MAX`] somewhere in what may be JSON.
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
