//! Reads the plainest form of JSON from the front of a record, and gives up at anything else.
//!
//! `None` never means "wrong", only "not that plain": the general parser decides then. What is read here is therefore
//! free to be narrow, but must be exactly what the general parser would have read. The text is UTF-8 already; strings
//! and numbers are scanned eight bytes at a time.

use crate::record::{TEXT_INLINE_MAX, TEXT_WINDOW, Text};

/// The most digits of a number that is read here; any such number fits 64 bits.
const DIGITS_MAX: usize = 18;

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// A position in the text of one record.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The start of `text`.
    #[inline]
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    /// Nothing follows.
    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Steps over `expected` if that is what follows. Its length is known at compile time, which makes it a few
    /// compares.
    #[inline(always)]
    pub fn literal<const N: usize>(&mut self, expected: &[u8; N]) -> bool {
        let found = self.rest().first_chunk() == Some(expected);
        if found {
            self.at += N;
        }
        found
    }

    /// A string without escapes, without its quotes.
    #[inline]
    pub fn string(&mut self) -> Option<&'a str> {
        let start = self.opening_quote()?;
        let end = self.plain(start);
        self.closing_quote(end)?;
        self.text.get(start..end)
    }

    /// As [`string`](Self::string), as a text of its own.
    #[inline]
    pub fn text(&mut self) -> Option<Text> {
        let start = self.opening_quote()?;
        let window = self.rest().first_chunk::<TEXT_WINDOW>();
        let end = self.plain(start);
        self.closing_quote(end)?;
        match window {
            Some(window) if end - start <= TEXT_INLINE_MAX => Some(Text::from_window(window, end - start)),
            _ => self.text.get(start..end).map(Text::from),
        }
    }

    /// Steps over a string, which may have escapes other than `\u`; returns it with its quotes.
    #[inline]
    pub fn skip_string(&mut self) -> Option<&'a str> {
        let start = self.opening_quote()?;
        let mut end = self.plain(start);
        if self.byte(end) == Some(b'\\') {
            end = self.plain_or_escaped(end)?;
        }
        self.closing_quote(end)?;
        self.text.get(start - 1..=end)
    }

    /// As `plain`, from a backslash on, and over simple escapes; a separate function, since few strings have any.
    #[inline(never)]
    fn plain_or_escaped(&self, mut at: usize) -> Option<usize> {
        while self.byte(at) == Some(b'\\') {
            if !matches!(self.byte(at + 1)?, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') {
                return None;
            }
            at = self.plain(at + 2);
        }
        Some(at)
    }

    /// A whole number without sign, of at most 18 digits.
    #[inline]
    pub fn unsigned(&mut self) -> Option<u64> {
        let start = self.at;
        let (mut at, mut value) = (start, 0u64);
        loop {
            let (digits, part) = match self.word(at) {
                Some(word) => leading_digits(word),
                None => match self.byte(at) {
                    Some(digit @ b'0'..=b'9') => (1, u64::from(digit - b'0')),
                    _ => (0, 0),
                },
            };
            if digits == 0 {
                break;
            }
            at += digits;
            if at - start > DIGITS_MAX {
                return None;
            }
            value = value * POWERS_OF_TEN[digits] + part;
        }
        if at == start || (self.byte(start) == Some(b'0') && at - start > 1) {
            return None;
        }
        self.at = at;
        Some(value)
    }

    /// A whole number of at most 18 digits; not `-0`, which JSON parsers take for a fraction.
    #[inline]
    pub fn signed(&mut self) -> Option<i64> {
        let negative = self.literal(b"-");
        let magnitude = i64::try_from(self.unsigned()?).ok()?;
        if negative && magnitude == 0 {
            return None;
        }
        Some(if negative { -magnitude } else { magnitude })
    }

    /// Steps over a string, a number, `true`, `false` or `null`, and returns its text, which is not checked further.
    #[inline]
    pub fn scalar(&mut self) -> Option<&'a str> {
        if self.byte(self.at) == Some(b'"') {
            return self.skip_string();
        }
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'+' | b'-' | b'.' | b'E') = self.byte(self.at) {
            self.at += 1;
        }
        self.text.get(start..self.at)
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The eight bytes from `at`, the first one lowest.
    #[inline]
    fn word(&self, at: usize) -> Option<u64> {
        self.text.as_bytes().get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
    }

    #[inline]
    fn opening_quote(&mut self) -> Option<usize> {
        self.literal(b"\"").then_some(self.at)
    }

    #[inline]
    fn closing_quote(&mut self, at: usize) -> Option<()> {
        self.at = at + 1;
        (self.byte(at) == Some(b'"')).then_some(())
    }

    /// Where the plain text from `at` ends: at a quote, a backslash, a control byte or the end.
    #[inline]
    fn plain(&self, mut at: usize) -> usize {
        let Some(rest) = self.text.as_bytes().get(at..) else { return at };
        let (words, rest) = rest.as_chunks();
        for word in words {
            let special = specials(u64::from_le_bytes(*word));
            if special != 0 {
                return at + special.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        at + rest.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ').unwrap_or(rest.len())
    }
}

/// The high bit of the lowest byte of `word` that ends plain text; higher bits are meaningless.
///
/// Subtracting one from a byte below 128 borrows if it was 0, and so sets its high bit; likewise for a space.
#[inline]
fn specials(word: u64) -> u64 {
    let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * u64::from(b' '));
    (quote | backslash | control) & !word & HIGHS
}

/// How many of the eight bytes, from the lowest one, are ASCII digits in a row, and the number that they write.
#[inline]
fn leading_digits(word: u64) -> (usize, u64) {
    let digits = word ^ (ONES * u64::from(b'0'));
    let others = (((digits & !HIGHS) + ONES * (0x80 - 10)) | digits) & HIGHS;
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    // The first digit is the lowest byte: zeros are put before it, and neighbours joined to pairs, fours and eight.
    let digits = digits << (64 - 8 * count);
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    (count, (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_at_their_quote_wherever_it_is() {
        for len in 0..40 {
            for tail in ["", "}", ",\"next\":\"é\"}"] {
                let inner = "é".repeat(len / 2) + &"x".repeat(len % 2);
                let text = format!("\"{inner}\"{tail}");
                let mut cursor = Cursor::new(&text);
                assert_eq!(cursor.string(), Some(inner.as_str()));
                assert!(cursor.rest() == tail.as_bytes());
            }
        }
    }

    #[test]
    fn every_byte_that_json_forbids_or_escapes_stops_a_string() {
        for special in (0..0x20u8).chain([b'\\']) {
            for before in 0..10 {
                let text = format!("\"{}{}bbbbbbbbb\"", "a".repeat(before), char::from(special));
                assert_eq!(Cursor::new(&text).string(), None, "{text:?}");
                let escape = special == b'\\';
                assert_eq!(Cursor::new(&text).skip_string(), escape.then_some(text.as_str()), "{text:?}");
            }
        }
        for cut in ["", "\"", "\"a", "\"a\\", "\"a\\\"", "\"\\u0041\"", "\"\\x\""] {
            assert_eq!(Cursor::new(cut).skip_string(), None, "{cut:?}");
        }
        let deleted = "\"\u{7f}\u{80}\u{10ffff}\"";
        assert_eq!(Cursor::new(deleted).skip_string(), Some(deleted));
    }

    #[test]
    fn numbers_are_read_up_to_18_digits() {
        for digits in 1..=DIGITS_MAX {
            for number in [10u64.pow(digits as u32) - 1, 10u64.pow(digits as u32 - 1), 123_456_789_012_345_678] {
                for tail in ["", "}", ",\"next\":12345678}"] {
                    let text = format!("{number}{tail}");
                    let mut cursor = Cursor::new(&text);
                    assert_eq!(cursor.unsigned(), Some(number), "{text}");
                    assert!(cursor.rest() == tail.as_bytes());
                    let mut cursor = Cursor::new(&text);
                    assert_eq!(cursor.signed(), Some(number as i64), "{text}");
                }
            }
        }
        assert_eq!(Cursor::new("-123456789}").signed(), Some(-123_456_789));
        for other in ["", "-", "+1", "-0", "00", "01", "-01", "1234567890123456789", "99999999999999999999", "a"] {
            assert_eq!(Cursor::new(other).signed(), None, "{other}");
        }
        for byte in (0..=255u8).filter(|b| !b.is_ascii_digit()) {
            for at in 0..8 {
                let mut word = *b"12345678";
                word[at] = byte;
                let expected = std::str::from_utf8(&word[..at]).unwrap().parse().unwrap_or(0);
                assert_eq!(leading_digits(u64::from_le_bytes(word)), (at, expected), "{word:?}");
            }
        }
    }
}
