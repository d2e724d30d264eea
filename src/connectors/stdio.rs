//! Standard input as a source and standard output as a sink.
//!
//! Both can block for as long as the program at the other end likes, so threads of their own do the reading and the
//! writing, behind bounded channels; a worker never blocks.

mod chunks;
mod input;
mod journal_writer;
mod journaled;
mod output;
mod passing;

pub use input::{AtEnd, StdinSource};
pub use output::StdoutSink;
