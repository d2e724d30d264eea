//! Tidewatch is a streaming detection engine on timely and differential dataflow.
//!
//! It reads events, cleans them, keeps aggregates per key and window of event time, and raises alerts. A program says
//! *what* with the names of [`prelude`]; a TOML configuration says *where and how much*; [`main`] adds the command
//! line:
//!
//! ```no_run
//! use tidewatch::prelude::*;
//!
//! #[derive(Event)]
//! struct Login {
//!     #[event(time)]
//!     at: EventTime, // in JSON: whole milliseconds since the Unix epoch
//!     source_ip: IpAddr,
//!     user: Text,
//!     success: bool,
//! }
//!
//! fn brute_force(flow: &Flow, _: &NoParams) -> Result<()> {
//!     flow.source::<Login>("logins")?
//!         .filter("failures", |login| !login.success)
//!         .key_by(|login| login.source_ip)
//!         .window("per-address", Tumbling::of(Duration::from_secs(300)))
//!         .aggregate((Count, Distinct::of(|login: &Login| &login.user)))
//!         .threshold("many", |window| window.value.0, 20)
//!         .map("alert", |w| Alert::new("brute-force", w.key).between(w.start, w.end).evidence("users", w.value.1))
//!         .sink("alerts")
//! }
//!
//! fn main() -> ExitCode {
//!     tidewatch::main([dataflow("brute-force", brute_force)])
//! }
//! ```
//!
//! Source and sink are standard input and output until a configuration says otherwise: `mine run brute-force
//! <logins.jsonl`, if `mine` is the program.
//!
//! # Layout
//!
//! Imports point down only, from [`cli`] through [`config`], [`flow`], [`runtime`], [`connectors`] and [`checkpoint`],
//! and the pure parts ([`operators`], [`detect`], [`codec`], [`state`]) to [`telemetry`] and the base ([`record`],
//! [`settings`], [`time`], [`error`]). What each is for, and what must stay true of it, is in `docs/architecture.md`;
//! what an event goes through, in `docs/tour.md`; what is promised about time, order, loss and limits, in
//! `docs/semantics.md`.
//!
//! With a state directory each row reaches files and Kafka exactly once, whatever is killed when:
//! `docs/reliability.md`. Not there yet: results that are corrected by late events; session and count windows.

#![cfg_attr(not(feature = "abomonation"), forbid(unsafe_code))]

extern crate self as tidewatch;

pub mod checkpoint;
pub mod cli;
pub mod codec;
pub mod config;
pub mod connectors;
pub mod detect;
pub mod error;
pub mod flow;
pub mod operators;
pub mod prelude;
pub mod record;
pub mod runtime;
pub mod settings;
pub mod state;
pub mod telemetry;
pub mod testing;
pub mod time;

pub use cli::main;
pub use record::Event;
/// ```
/// use std::net::IpAddr;
/// use tidewatch::Event;
/// use tidewatch::codec::json::JsonDecoder;
/// use tidewatch::record::{Decoder, Ignored, Text};
/// use tidewatch::time::EventTime;
///
/// #[derive(Event)] // nothing else is needed
/// struct Login {
///     #[event(time, rename = "ts")]
///     at: EventTime, // in JSON: whole milliseconds since the Unix epoch
///     source_ip: IpAddr,
///     user: Text, // up to 22 bytes without an allocation
///     outcome: Outcome,
///     bytes: u64,
///     message: Ignored<Text>, // must be there and text, is not kept
///     port: Option<u16>,      // may be missing or null
/// }
///
/// #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// #[serde(rename_all = "lowercase")]
/// enum Outcome {
///     Success,
///     Failure,
/// }
///
/// let json = br#"{"ts":1700000000000,"source_ip":"10.0.0.7","user":"ann","outcome":"failure","bytes":0,"message":""}"#;
/// let login: Login = JsonDecoder::new().decode(json, 0).unwrap();
/// assert_eq!(login.event_time(), EventTime::from_millis(1_700_000_000_000));
/// assert_eq!((login.outcome, login.port), (Outcome::Failure, None));
///
/// let refused = JsonDecoder::<Login>::new().decode(br#"{"ts":1700000000000}"#, 0).unwrap_err();
/// assert_eq!(refused.detail, "missing field `source_ip` at line 1 column 20");
/// ```
///
/// The decoder is quickest where records have exactly these fields, in this order and without spaces; see
/// [`codec::json`]. A field of a type that derives serde's traits, as `outcome` does, costs a little more than one of
/// the types known to Tidewatch; one that holds an array or an object is left to the general parser with its whole
/// record.
///
/// A source of several kinds of event is an enum of structs. One field of the object, the tag, says which it is; the
/// decoder is quickest where it comes first:
///
/// ```
/// use tidewatch::codec::json::JsonDecoder;
/// use tidewatch::prelude::*;
/// use tidewatch::record::Decoder;
///
/// #[derive(Event)]
/// #[event(tag = "type", rename_all = "snake_case")]
/// enum Change {
///     HostJoined(HostJoined),
///     #[event(rename = "gone")]
///     HostLeft(HostLeft),
/// }
///
/// #[derive(Event)]
/// struct HostJoined {
///     #[event(time)]
///     at: EventTime,
///     address: IpAddr,
/// }
///
/// #[derive(Event)]
/// struct HostLeft {
///     #[event(time)]
///     at: EventTime,
/// }
///
/// let change = JsonDecoder::new().decode(br#"{"type":"host_joined","at":5,"address":"10.0.0.7"}"#, 0).unwrap();
/// assert_eq!(Change::event_time(&change), EventTime::from_millis(5));
/// assert!(matches!(change, Change::HostJoined(joined) if joined.address.is_ipv4()));
///
/// let refused = JsonDecoder::<Change>::new().decode(br#"{"type":"renamed","at":5}"#, 0).unwrap_err();
/// assert!(refused.detail.starts_with("field `type`: unknown variant `renamed`, expected `host_joined` or `gone`"));
/// ```
///
/// A struct without `#[event(time)]` is a record, but no event:
///
/// ```compile_fail,E0277
/// #[derive(tidewatch::Event)]
/// struct User {
///     name: String,
/// }
/// fn windowed<T: tidewatch::Event>() {}
/// windowed::<User>();
/// ```
///
/// So it cannot be in an enum of events:
///
/// ```compile_fail,E0277
/// # #[derive(tidewatch::Event)]
/// # struct User {
/// #     name: String,
/// # }
/// #[derive(tidewatch::Event)]
/// #[event(tag = "type")]
/// enum Change {
///     User(User),
/// }
/// ```
///
/// Nor can a struct that has a field of the tag's name:
///
/// ```compile_fail,E0080
/// # use tidewatch::time::EventTime;
/// #[derive(tidewatch::Event)]
/// struct Sold {
///     #[event(time)]
///     at: EventTime,
///     r#type: String,
/// }
/// #[derive(tidewatch::Event)]
/// #[event(tag = "type")]
/// enum Trade {
///     Sold(Sold),
/// }
/// ```
pub use tidewatch_derive::Event;

/// `#[derive(Event)]` generates references to it; not for other use.
#[doc(hidden)]
pub mod __private {
    pub use crate::codec::json::{
        Cursor, JsonDecoder, JsonRecord, KeptByDefault, KeptOrNot, Probe, ReadFast, ReadSerde, assert_no_key,
    };
    pub use crate::record::{Decode, Event, Rejection, clock_named, clock_of};
    pub use crate::settings::Section;
    pub use crate::time::EventTime;
    pub use serde;
}
