//! State that a key has on the one worker that owns it.

pub mod key;
pub mod snapshot;
pub mod windows;
