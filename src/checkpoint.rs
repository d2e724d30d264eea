//! What a run leaves on disk so that the next one goes on where it stopped, or was killed: the state directory.
//!
//! It holds the identity of the dataflow that it was made for, the number of the last generation, a lock, and the *bindings*:
//! which records of each source belong to which epoch. From these every epoch can be made again exactly as it was. Sources that cannot be
//! read twice have a *journal* in it.

pub mod bindings;
pub mod directory;
pub mod identity;
pub mod journal;
