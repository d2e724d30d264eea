//! What a run leaves on disk so that the next one resumes where it stopped or was killed: the state directory, and
//! checkpoints.
//!
//! The state directory holds the identity of its dataflow, the number of the last generation, a lock, and the
//! *bindings*: which records of each source belong to which epoch. From these every epoch can be replayed exactly. A
//! *checkpoint* is the state of all operators at the end of an epoch: with one, the epochs up to it need no replay.
//! Sources that cannot be read twice have a *journal* in the state directory.

pub mod bindings;
pub mod directory;
mod frame;
pub(crate) mod fuzz;
pub mod identity;
pub mod journal;
pub mod manifest;
mod object;
pub mod prune;
pub mod restore;
pub mod snapshots;
pub mod store;
pub mod writer;

#[cfg(test)]
mod tests;
