//! The dataflows that ship.

#![allow(dead_code, reason = "their registry is not part of the test")]

/// Their folder, in which a module with files of its own finds them.
#[path = "../../dataflows"]
mod folder {
    pub mod auth_windows;
    pub mod nexmark;
    pub mod ssh_brute_force;
}

pub use folder::{auth_windows, nexmark, ssh_brute_force};
