//! Dataflows run from their sources to their sinks, in this process, and held against independent answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../dataflows/auth_windows.rs"]
#[allow(dead_code, reason = "the test reads rows, not the fields of the flow's own types")]
mod auth_windows;
#[path = "../../dataflows/ssh_brute_force.rs"]
#[allow(dead_code, reason = "the test reads rows, not the fields of the flow's own types")]
mod ssh_brute_force;

mod conservation;
mod kit;
mod oracle;
mod real_data;
mod watermarks;
mod windows;
