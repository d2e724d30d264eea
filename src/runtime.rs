//! What runs a dataflow: the operators at its edges, the step loop, the mesh between processes, and their supervision.

pub mod control;
pub mod durability;
pub mod execute;
pub mod mesh;
pub mod panic;
pub mod release;
pub mod sink;
pub mod source;
pub mod supervise;
