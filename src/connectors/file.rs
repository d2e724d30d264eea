//! Files: a source of lines and a sink of JSON lines.
//!
//! The source reads files by path or glob, once or as they grow. The sink writes a folder in which only finished files
//! are visible. Neither interprets records. Settings and promises: `docs/connectors/file.md`.

mod block;
mod catalog;
mod discover;
mod exact;
mod finisher;
mod finite;
mod follow;
mod followed;
mod list;
mod open;
mod output;
mod patterns;
mod sink;
mod skips;
mod source;
mod tail;
mod walk;

pub(crate) use exact::fuzz as fuzz_progress;
pub use sink::{FileSink, ROLL_AFTER_DEFAULT, ROLL_BYTES_DEFAULT};
pub use source::{FileSource, ReadFrom};
