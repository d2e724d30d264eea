//! Detectors, and the alerts they raise.

pub mod alert;
pub mod baseline;
