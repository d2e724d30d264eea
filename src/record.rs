//! Records, events, and what becomes of bytes that are neither: dead letters.
//!
//! Every record that a source reads is in exactly one of three places: processed, filtered by a named stage, or in the
//! dead letters with a [`Reason`]. The counters add up; a test holds them to it.

mod ignored;
mod text;

use std::fmt;

use std::hash::Hasher;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use siphasher::sip::SipHasher13;

use crate::settings::Section;
use crate::time::EventTime;

pub use ignored::Ignored;
pub(crate) use text::TEXT_WINDOW;
pub use text::{TEXT_INLINE_MAX, Text};

/// A value that can travel between workers. Implemented for every type that has these traits.
pub trait Record: Clone + Serialize + DeserializeOwned + Send + 'static {}

impl<T: Clone + Serialize + DeserializeOwned + Send + 'static> Record for T {}

/// A record that has an event time. Derive it: `#[derive(Event)]` with `#[event(time)]` on one field.
pub trait Event: Record {
    /// When it happened.
    fn event_time(&self) -> EventTime;
}

/// A record that a source can make from bytes. `#[derive(Event)]` implements it for JSON.
pub trait Decode: Record {
    /// What the source's configuration says about decoding, such as the year of a log without years.
    type Options: Clone + 'static;
    /// The decoder of one partition; it may keep state, which must depend only on the partition's records so far.
    type Decoder: Decoder<Self>;

    /// Reads the options from the source's section of the configuration; faults go to the section.
    fn options(section: &mut Section<'_>) -> Self::Options;

    /// A decoder for a partition that has not been read yet.
    fn decoder(options: &Self::Options) -> Self::Decoder;

    /// The event time, or `None` for records that have none: they are never late and move no watermark.
    fn time(&self) -> Option<EventTime>;

    /// The names of the fields that the source's `clock_field` may name, such as the host that stamped the record. Default: none.
    fn clock_fields() -> &'static [&'static str] {
        &[]
    }

    /// The clock that stamped the record: a number that is the same for equal values of field number `field` of
    /// [`clock_fields`](Self::clock_fields), such as [`clock_of`] gives. Default: 0, the same for all.
    fn clock(&self, _field: usize) -> u64 {
        0
    }
}

/// A number for a value that names a clock: the same for equal values, on any machine and in any version.
pub fn clock_of<V: Serialize + ?Sized>(value: &V) -> u64 {
    struct Hashing(SipHasher13);
    impl postcard::ser_flavors::Flavor for Hashing {
        type Output = u64;
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.write(&[byte]);
            Ok(())
        }
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.write(bytes);
            Ok(())
        }
        fn finalize(self) -> postcard::Result<u64> {
            Ok(self.0.finish())
        }
    }
    // A value that cannot be encoded shares the clock of all such.
    postcard::serialize_with_flavor(value, Hashing(SipHasher13::new())).unwrap_or(0)
}

/// Turns the bytes of one record into a value.
pub trait Decoder<T>: 'static {
    /// Whether a record can be decoded without the ones before it. Then several workers decode one partition, each some of its
    /// records, where there are fewer partitions than workers. Default: `false`.
    const STATELESS: bool = false;

    /// Decodes one record. `epoch_ms` is the epoch at which it is read, in milliseconds since the Unix epoch: the only
    /// "now" that a decoder may use, since a replay sees the same one.
    ///
    /// # Errors
    /// A [`Rejection`] if the bytes are not such a record; they become a dead letter.
    fn decode(&mut self, bytes: &[u8], epoch_ms: u64) -> Result<T, Rejection>;

    /// What it knows of the records before, for a checkpoint; `None` if it cannot say, and then the dataflow has no checkpoints.
    /// Default: nothing if it is [`STATELESS`](Self::STATELESS), else `None`.
    fn state(&self) -> Option<Vec<u8>> {
        Self::STATELESS.then(Vec::new)
    }

    /// Goes on from what another decoder with the same options said it knows.
    ///
    /// # Errors
    /// In words, if that is not what a decoder of this type says. Default: if it is not nothing.
    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        if state.is_empty() { Ok(()) } else { Err("this decoder knows nothing of the records before".to_owned()) }
    }
}

/// The clock that the field `name` of an event names; 0 if it has no such field.
#[doc(hidden)]
pub fn clock_named<T: Decode>(event: &T, name: &str) -> u64 {
    T::clock_fields().iter().position(|field| *field == name).map_or(0, |field| event.clock(field))
}

/// Why a record was not processed: a closed set, since it is a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The bytes are not of the source's format, or a field is missing or of the wrong type.
    Malformed,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The record is longer than the source's `record_bytes_max`.
    TooLarge,
    /// The record is nested deeper than [`NESTING_MAX`](crate::codec::limits::NESTING_MAX).
    TooDeep,
    /// The record was decoded, and a validation of the dataflow refused it.
    Invalid,
    /// The event is behind its partition's watermark.
    Late,
    /// The event is behind the source's watermark, which moved on while its partition was idle.
    LateAfterIdle,
    /// The event time is further in the future than the source's `future_max`.
    Future,
    /// The event time is further in the past than the source's `past_max`.
    Past,
}

impl Reason {
    /// Every reason, in declaration order.
    pub const ALL: [Reason; 9] = [
        Reason::Malformed,
        Reason::NotUtf8,
        Reason::TooLarge,
        Reason::TooDeep,
        Reason::Invalid,
        Reason::Late,
        Reason::LateAfterIdle,
        Reason::Future,
        Reason::Past,
    ];

    /// The reason as metrics and dead letters spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::NotUtf8 => "not_utf8",
            Reason::TooLarge => "too_large",
            Reason::TooDeep => "too_deep",
            Reason::Invalid => "invalid",
            Reason::Late => "late",
            Reason::LateAfterIdle => "late_after_idle",
            Reason::Future => "future",
            Reason::Past => "past",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A decoder's refusal: the reason, and one line for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The class, for metrics.
    pub reason: Reason,
    /// What exactly is wrong, for a person.
    pub detail: String,
}

impl Rejection {
    /// A refusal for `reason`; `detail` says what exactly is wrong.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Rejection { reason, detail: detail.into() }
    }
}

/// The most bytes of a record that its dead letter keeps.
pub const DEAD_LETTER_BYTES_MAX: usize = 4 * 1024;

/// A record that could not be processed: why, where it came from, and the head of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The class of the failure.
    pub reason: Reason,
    /// What exactly is wrong.
    pub detail: String,
    /// The source, by its name in the dataflow.
    pub source: String,
    /// The partition, as its connector labels it: a path, or a partition number.
    pub partition: String,
    /// The record's offset in the partition: bytes in a file, messages in a topic.
    pub offset: u64,
    /// How many bytes the record has.
    pub size: u64,
    /// At most [`DEAD_LETTER_BYTES_MAX`] bytes of it, if they are UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// The same in base64, if they are not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base64: Option<String>,
}
