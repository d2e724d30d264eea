//! The dataflows that ship with Tidewatch. They use what any user can use: `tidewatch`'s public API.

#![forbid(unsafe_code)]

mod auth_windows;
mod nexmark;
mod ssh_brute_force;

use tidewatch::prelude::*;

fn main() -> ExitCode {
    let detections = [
        dataflow("auth-windows", auth_windows::auth_windows)
            .about("authentication events per source address and minute, and addresses with many failures")
            .defaults(include_str!("../config/auth-windows.toml")),
        dataflow("ssh-brute-force", ssh_brute_force::ssh_brute_force)
            .about("brute force, password spraying, probing for users and successes after failures, from OpenSSH logs")
            .defaults(include_str!("../config/ssh-brute-force.toml")),
    ];
    tidewatch::main(detections.into_iter().chain(nexmark::dataflows()))
}
