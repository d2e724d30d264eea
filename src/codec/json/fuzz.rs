//! Checks that the quick reader and the general parser agree, on any bytes.

use std::fmt::Debug;
use std::net::IpAddr;

use super::{Cursor, JsonRecord, general};
use crate::Event;
use crate::codec::line::utf8;
use crate::record::{Ignored, Text};
use crate::time::EventTime;

/// A record with a field of every kind that has its own reader.
#[derive(Event, PartialEq)]
pub(super) struct Sample {
    #[event(time, rename = "ts")]
    pub at: EventTime,
    pub host: Ignored<Text>,
    pub source: IpAddr,
    pub user: Text,
    pub outcome: Outcome,
    pub bytes: u64,
    pub delta: i32,
    pub ratio: f64,
    pub admin: bool,
    pub port: Option<u16>,
    pub note: Option<String>,
    #[event(default)]
    pub level: u8,
    pub hint: Option<Outcome>,
    pub size: Ignored<Option<u32>>,
    #[event(rename = "k\"\\é")]
    pub odd: Ignored<Outcome>,
    pub message: Ignored<Text>,
}

/// A type that implements serde's traits only.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Success,
    Failure,
    Other(Vec<u32>),
}

/// Two kinds of record, told apart by a tag.
#[derive(Event, PartialEq)]
#[event(tag = "kind", rename_all = "snake_case")]
pub(super) enum Mixed {
    Sample(Sample),
    Ping(Ping),
    #[event(rename = "p\"\\é")]
    OddPing(Ping),
}

/// A small one.
#[derive(Event, PartialEq)]
pub(super) struct Ping {
    #[event(time)]
    pub at: EventTime,
    pub note: Option<Text>,
}

/// Decodes `bytes` with both parsers, as one record and as one of several kinds.
///
/// # Panics
/// If the quick reader has a result that differs from the general parser's.
pub fn fuzz(bytes: &[u8]) {
    let Ok(text) = utf8(bytes) else { return };
    agree::<Sample>(text);
    agree::<Mixed>(text);
    // What serde alone reads from a tagged record, which is how rows are read back.
    if let Ok(mixed) = general::decode::<Mixed>(text) {
        assert_eq!(Mixed::read_general(text), Ok(mixed), "the general parser and serde differ on {text}");
    }
}

fn agree<T: JsonRecord + Event + PartialEq + Debug>(text: &str) {
    if let Some(fast) = T::read_fast(&mut Cursor::new(text)) {
        let general = T::read_general(text);
        assert_eq!(Ok(&fast), general.as_ref(), "the quick reader and the general parser differ on {text}");
    }
}
