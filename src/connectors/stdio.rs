//! Standard input as a source and standard output as a sink.
//!
//! Both can block for as long as the program at the other end likes, so threads of their own do the reading and the writing,
//! behind bounded channels; a worker never waits.

mod input;
mod output;

pub use input::StdinSource;
pub use output::StdoutSink;
