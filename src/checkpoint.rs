//! What a run leaves on disk so that the next one goes on where it stopped, or was killed: the state directory, and checkpoints.
//!
//! It holds the identity of the dataflow that it was made for, the number of the last generation, a lock, and the *bindings*:
//! which records of each source belong to which epoch. From these every epoch can be made again exactly as it was. A *checkpoint* is
//! what all operators knew at the end of an epoch: with one, the epochs up to it need not be made again. Sources that cannot be
//! read twice have a *journal* in it.

pub mod bindings;
pub mod directory;
mod frame;
pub(crate) mod fuzz;
pub mod identity;
pub mod journal;
pub mod keeper;
pub mod manifest;
mod object;
pub mod prune;
pub mod restore;
pub mod snapshots;
pub mod store;

#[cfg(test)]
mod tests;
