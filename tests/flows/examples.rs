//! The examples of `docs/writing-dataflows.md`.

#![allow(dead_code, reason = "their main functions are not part of the test")]

#[path = "../../examples/05_baseline.rs"]
pub mod baseline;
#[path = "../../examples/06_brute_force.rs"]
pub mod brute_force;
#[path = "../../examples/02_clean.rs"]
pub mod clean;
#[path = "../../examples/07_escape_hatch.rs"]
pub mod escape_hatch;
#[path = "../../examples/01_hello.rs"]
pub mod hello;
#[path = "../../examples/04_own_aggregate.rs"]
pub mod own_aggregate;
#[path = "../../examples/08_testing.rs"]
pub mod testing;
#[path = "../../examples/03_windows.rs"]
pub mod windows;
