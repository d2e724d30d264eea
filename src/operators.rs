//! Timely operators that know nothing of connectors, configuration or processes.

pub mod admission;
pub mod aggregate;
pub mod collection;
pub mod exchange;
pub mod interval;
pub mod pending;
pub mod watermark;
pub mod window;
