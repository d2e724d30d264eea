//! A streaming detection engine on timely and differential dataflow.

pub mod codec;
pub mod config;
pub mod connectors;
pub mod error;
pub mod record;
pub mod settings;
pub mod telemetry;
pub mod time;
