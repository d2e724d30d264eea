//! Text as records hold it: short texts inline, so that most fields cost no allocation and a key is compared in words.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// The longest text that is stored inline, in bytes.
pub const TEXT_INLINE_MAX: usize = 22;

/// Immutable UTF-8 text: 24 bytes, which hold texts of up to [`TEXT_INLINE_MAX`] bytes themselves; longer text is
/// allocated.
///
/// It is created, compared and hashed faster than a `String`, which matters for the fields and keys of millions of
/// records. It reads like a `&str`; to change text, convert it to a `String`.
///
/// ```
/// use tidewatch::record::Text;
/// let user = Text::from("root");
/// assert!(user == "root" && user.starts_with('r'));
/// assert_eq!(format!("{user}@{}", "web-1").len(), 10);
/// ```
#[derive(Clone)]
pub struct Text(Repr);

/// Text is inline if and only if it fits, so equal texts have equal forms.
#[derive(Clone)]
enum Repr {
    /// The bytes behind `len` are zero.
    Inline {
        len: u8,
        bytes: [u8; TEXT_INLINE_MAX],
    },
    Heap(Box<str>),
}

/// How many bytes of a buffer can be read at once to create a text of its beginning.
pub(crate) const TEXT_WINDOW: usize = 24;

impl Text {
    /// No text.
    pub const EMPTY: Text = Text(Repr::Inline { len: 0, bytes: [0; TEXT_INLINE_MAX] });

    /// The text as a slice.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Inline { len, bytes } => {
                let text = bytes.get(..usize::from(*len)).expect("the length is that of a text in line");
                std::str::from_utf8(text).expect("it was made from text")
            }
            Repr::Heap(text) => text,
        }
    }

    /// The bytes of the text; cheaper than [`as_str`](Self::as_str).
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(text) => text.as_bytes(),
        }
    }

    /// The first `len` bytes of `window`, which must be UTF-8 and fit inline.
    #[inline]
    pub(crate) fn from_window(window: &[u8; TEXT_WINDOW], len: usize) -> Self {
        let mut bytes = [0; TEXT_INLINE_MAX];
        // A mask per word rather than a copy of so many bytes: neither a call nor a branch.
        let word = |at: usize| u64::from_le_bytes(*window[at..].first_chunk().expect("the window has three words"));
        let mask = |at: usize| match len.saturating_sub(at) {
            0 => 0,
            n @ 1..8 => u64::MAX >> (64 - 8 * n),
            _ => u64::MAX,
        };
        bytes[..8].copy_from_slice(&(word(0) & mask(0)).to_le_bytes());
        bytes[8..16].copy_from_slice(&(word(8) & mask(8)).to_le_bytes());
        bytes[16..].copy_from_slice(&(word(16) & mask(16)).to_le_bytes()[..6]);
        Text(Repr::Inline { len: u8::try_from(len).expect("a text in line is short"), bytes })
    }
}

impl From<&str> for Text {
    #[inline]
    fn from(text: &str) -> Self {
        let bytes = text.as_bytes();
        if bytes.len() > TEXT_INLINE_MAX {
            return Text(Repr::Heap(text.into()));
        }
        let mut window = [0; TEXT_WINDOW];
        window[..bytes.len()].copy_from_slice(bytes);
        Text::from_window(&window, bytes.len())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        if text.len() > TEXT_INLINE_MAX { Text(Repr::Heap(text.into_boxed_str())) } else { Text::from(text.as_str()) }
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Text::from(text.as_str())
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        match text.0 {
            Repr::Heap(text) => text.into(),
            Repr::Inline { .. } => text.as_str().to_owned(),
        }
    }
}

impl FromStr for Text {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.into())
    }
}

impl Default for Text {
    fn default() -> Self {
        Text::EMPTY
    }
}

impl Deref for Text {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Text) -> bool {
        match (&self.0, &other.0) {
            (Repr::Inline { len: l, bytes: a }, Repr::Inline { len: m, bytes: b }) => l == m && a == b,
            (Repr::Heap(a), Repr::Heap(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self == other.as_str()
    }
}

/// The order of strings: by their bytes.
impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Text {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Repr::Inline { len, bytes } => {
                let word = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("it has 22 bytes"));
                state.write_u64(word(0));
                state.write_u64(word(8));
                // The last bytes but two are in the word before; the length takes the place of these.
                state.write_u64(word(14) >> 16 | u64::from(*len) << 48);
            }
            Repr::Heap(text) => text.hash(state),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Text {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText;
        impl Visitor<'_> for OfText {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(text.into())
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
                Ok(text.into())
            }
        }
        deserializer.deserialize_str(OfText)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(text: &Text) -> u64 {
        let mut hasher = siphasher::sip::SipHasher13::new();
        text.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn takes_as_much_room_as_a_string() {
        assert_eq!(size_of::<Text>(), size_of::<String>());
        assert_eq!(size_of::<Option<Text>>(), size_of::<Text>());
    }

    #[test]
    fn every_length_around_the_limit_is_kept_whole() {
        for len in 0..=2 * TEXT_INLINE_MAX {
            let plain: String = ('a'..='z').cycle().take(len).collect();
            for text in [Text::from(plain.as_str()), Text::from(plain.clone()), plain.parse().unwrap()] {
                assert_eq!((text.as_str(), text.as_bytes()), (plain.as_str(), plain.as_bytes()));
                assert_eq!(matches!(text.0, Repr::Inline { .. }), len <= TEXT_INLINE_MAX);
                assert_eq!(String::from(text), plain);
            }
        }
    }

    proptest! {
        #[test]
        fn is_made_of_the_beginning_of_a_window(window in any::<[u8; TEXT_WINDOW]>(), len in 0..=TEXT_INLINE_MAX) {
            let text = Text::from_window(&window, len);
            prop_assert_eq!(text.as_bytes(), &window[..len]);
        }

        #[test]
        fn is_compared_as_strings_are(a in "[ab\u{0}é]{0,30}", b in "[ab\u{0}é]{0,30}") {
            let (x, y) = (Text::from(a.as_str()), Text::from(b.as_str()));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x == y, a == b);
            prop_assert!(x == a && x == a.as_str() && x == *a.as_str());
            prop_assert_eq!(hash(&x) == hash(&y), a == b);
        }

        #[test]
        fn is_written_and_read_as_strings_are(plain in any::<String>()) {
            let text = Text::from(plain.as_str());
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&plain).unwrap());
            prop_assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text.clone());
            prop_assert_eq!((text.to_string(), format!("{text:?}")), (plain.clone(), format!("{plain:?}")));
        }
    }
}
