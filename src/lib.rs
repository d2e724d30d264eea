//! A streaming detection engine on timely and differential dataflow.

pub mod codec;
pub mod connectors;
pub mod error;
pub mod record;
pub mod runtime;
pub mod settings;
pub mod telemetry;
pub mod time;
