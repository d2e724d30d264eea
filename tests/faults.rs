//! Runs with a state directory are killed, by signal and at every flush to the disk, and their results are compared
//! with those of one uninterrupted run. Over files here; over a real Kafka broker in `kafka_broker`.
//!
//! `TIDEWATCH_SEED=N` chooses the moments and `TIDEWATCH_ROUNDS=N` how many there are; a failure prints both.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

#[path = "faults/check.rs"]
mod check;
#[path = "faults/checkpoints.rs"]
mod checkpoints;
#[path = "faults/full_disk.rs"]
mod full_disk;
#[path = "faults/input.rs"]
mod input;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/oracle.rs"]
mod oracle;
#[path = "faults/pipe.rs"]
mod pipe;
#[path = "support/process.rs"]
mod process;
#[path = "faults/rounds.rs"]
mod rounds;
#[path = "faults/syscalls.rs"]
mod syscalls;
