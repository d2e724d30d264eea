//! Bytes to values, without I/O.

pub mod limits;
pub mod openssh;
