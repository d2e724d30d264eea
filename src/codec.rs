//! Bytes to values, without I/O.

pub mod json;
pub mod limits;
pub mod line;
pub mod openssh;
