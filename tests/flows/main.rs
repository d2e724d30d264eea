//! Dataflows run from their sources to their sinks, in this process, and held against independent answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cogroup;
mod conservation;
mod examples;
mod kit;
mod ladder;
mod live;
mod nexmark;
mod oracle;
mod real_data;
mod shipped;
mod ssh;
mod watermarks;
mod windows;
