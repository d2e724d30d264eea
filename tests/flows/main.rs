//! Dataflows run from their sources to their sinks, in this process, and compared with independent results.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

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
