//! The dataflows that ship.

#![allow(dead_code, reason = "their registry is not part of the test")]

#[path = "../../dataflows/auth_windows.rs"]
pub mod auth_windows;
#[path = "../../dataflows/ssh_brute_force.rs"]
pub mod ssh_brute_force;
