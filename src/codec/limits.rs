//! The limits that every decoder keeps.

/// The deepest nesting of JSON arrays and objects that is decoded, as in `serde_json`.
pub const NESTING_MAX: usize = 128;

/// The longest record that a source reads, unless configured otherwise, in bytes.
pub const RECORD_BYTES_MAX_DEFAULT: usize = 1024 * 1024;
