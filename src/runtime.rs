//! What runs a dataflow: the operators at its edges, the step loop, and the mesh between processes.

pub mod control;
pub mod execute;
pub mod mesh;
pub mod panic;
pub mod sink;
pub mod source;
