//! What runs a dataflow: the mesh between processes, the step loop, supervision.
//!
//! Nothing here knows what a dataflow computes; it starts workers, connects them and takes the process down as a whole
//! when one of them is lost, because timely re-admits nobody.

pub mod mesh;
pub mod panic;
