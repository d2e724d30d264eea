//! What an external system must offer to be a source or a sink, and the connectors that ship.
//!
//! A connector is one folder. It does not depend on timely, on the types of records or on event time: a source hands
//! over bytes with their partition and offset, a sink takes encoded rows and reports when they are durable. Both run on
//! a worker's thread and must not block it for longer than a few milliseconds; a client that waits does so on threads
//! of its own.

pub mod capture;
pub mod file;
pub mod generator;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod kinds;
pub(crate) mod lines;
pub mod null;
pub mod paced;
pub mod script;
pub mod sink;
pub mod source;
pub mod stdio;
