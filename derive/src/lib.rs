//! The `Event` derive of Tidewatch: everything a record type needs, from one line.
//!
//! ```ignore
//! use tidewatch::prelude::*;
//!
//! #[derive(Event)]
//! struct Login {
//!     #[event(time, rename = "ts")]
//!     at: EventTime,
//!     user: Text,
//!     port: Option<u16>,
//! }
//! ```
//!
//! Use it through the crate `tidewatch`, which documents it with an example that runs. This crate reads the declaration
//! (`input`), names the fields (`names`) and writes the implementations (`expand`); it decides nothing at run time.

#![forbid(unsafe_code)]

mod expand;
mod input;
mod names;

use proc_macro::TokenStream;

/// Makes a struct with named fields a record, and an event if one of its fields is the event time; or an enum of such
/// events one event.
///
/// Implements `Clone`, `Debug`, `serde::Serialize`, `serde::Deserialize` and `Decode` (from JSON, with a reader
/// generated for exactly these fields), and `Event` if a field has `#[event(time)]`. Do not derive those as well.
///
/// In JSON, fields that the struct does not declare are ignored; a field that occurs twice is an error; so is a missing
/// one, unless it is an `Option`.
///
/// On a field:
/// * `#[event(time)]`: it is the event time. At most one field, of type `EventTime`.
/// * `#[event(rename = "name")]`: its name in JSON.
/// * `#[event(default)]`: it may be missing, and is `Default::default()` then.
///
/// On the struct: `#[event(rename_all = "camelCase")]`, or `lowercase`, `UPPERCASE`, `PascalCase`, `snake_case`,
/// `SCREAMING_SNAKE_CASE`, `kebab-case`, `SCREAMING-KEBAB-CASE`: the names in JSON of all fields without a `rename`.
///
/// An enum has one struct in each variant, which derives `Event` itself and has an event time. In JSON it is the
/// struct's object with one more field, the tag, which identifies the variant:
/// * on the enum, `#[event(tag = "type")]`: the name of that field. No struct may have a field of this name.
/// * on the enum, `#[event(rename_all = "…")]`: the rule for the tag's values of all variants without a `rename`;
///   without it, their names.
/// * on a variant, `#[event(rename = "name")]`: the tag's value.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    input::read(&item).map(|declaration| expand::expand(&declaration)).unwrap_or_else(|e| e.into_compile_error()).into()
}
