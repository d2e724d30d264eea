//! The limits that every decoder keeps.

/// The deepest nesting of JSON arrays and objects that is decoded, in levels with the record itself as the first: as deep as
/// `serde_json` goes.
pub const NESTING_MAX: usize = 127;

/// The longest record that a source reads, unless configured otherwise, in bytes.
pub const RECORD_BYTES_MAX_DEFAULT: usize = 1024 * 1024;
