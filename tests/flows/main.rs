//! Dataflows run from their sources to their sinks, in this process, and held against independent answers.

mod conservation;
mod examples;
mod kit;
mod ladder;
mod oracle;
mod real_data;
mod shipped;
mod watermarks;
mod windows;
