//! Lines of text as records, and what is dropped around any text record.

use serde::{Deserialize, Serialize};

use crate::record::{Decode, Decoder, Reason, Rejection, Text};
use crate::settings::Section;
use crate::time::EventTime;

/// One line of text; it has no event time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line {
    /// The line, without its end.
    pub text: Text,
}

impl Decode for Line {
    type Options = ();
    type Decoder = LineDecoder;

    fn options(_: &mut Section<'_>) -> Self::Options {}

    fn decoder(_: &Self::Options) -> Self::Decoder {
        LineDecoder
    }

    fn time(&self) -> Option<EventTime> {
        None
    }
}

/// Decodes UTF-8 text. A byte order mark at its start and a carriage return at its end are dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineDecoder;

impl Decoder<Line> for LineDecoder {
    const STATELESS: bool = true;

    #[inline]
    fn decode(&mut self, bytes: &[u8], _: u64) -> Result<Line, Rejection> {
        utf8(bytes).map(|text| Line { text: text.into() })
    }
}

/// The text of a record, without the byte order mark that some programs put before it and the carriage return that some
/// put after it.
///
/// # Errors
/// [`Reason::NotUtf8`], with the position of the first byte at fault, counted from 0.
#[inline]
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Rejection> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    simdutf8::basic::from_utf8(bytes).map_err(|_| not_utf8(bytes))
}

#[cold]
fn not_utf8(bytes: &[u8]) -> Rejection {
    let valid = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
    Rejection::new(Reason::NotUtf8, format!("not UTF-8 at byte {valid} of {}", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<String, Reason> {
        LineDecoder.decode(bytes, 0).map(|line| line.text.to_string()).map_err(|e| e.reason)
    }

    #[test]
    fn keeps_the_text_between_byte_order_mark_and_carriage_return() {
        assert_eq!(decode(b"\xEF\xBB\xBFa b \r").as_deref(), Ok("a b "));
        assert_eq!(decode(b"a\r\r").as_deref(), Ok("a\r"));
        assert_eq!(decode("gr\u{fc}n\u{feff}".as_bytes()).as_deref(), Ok("gr\u{fc}n\u{feff}"));
        assert_eq!(decode(b"\xEF\xBB\xBF\r").as_deref(), Ok(""));
        assert_eq!(decode(b"").as_deref(), Ok(""));
    }

    #[test]
    fn refuses_other_encodings_and_says_where() {
        assert_eq!(decode(b"caf\xe9"), Err(Reason::NotUtf8));
        assert_eq!(LineDecoder.decode(b"caf\xe9", 0).unwrap_err().detail, "not UTF-8 at byte 3 of 4");
    }
}
