//! What a dataflow needs: `use tidewatch::prelude::*;`.

pub use std::net::IpAddr;
pub use std::process::ExitCode;
pub use std::time::Duration;

pub use serde::{Deserialize, Serialize};

pub use crate::Event;
pub use crate::codec::line::Line;
pub use crate::detect::alert::{Alert, Severity};
pub use crate::detect::baseline::{Baseline, Scored};
pub use crate::error::{Error, Result};
pub use crate::flow::{Flow, NoParams, Source, Stream, dataflow};
pub use crate::operators::aggregate::{Aggregate, Count, Distinct, Max, MaxBy, Mean, Min, Sides, Sum, Variance};
pub use crate::operators::interval::{Hopping, Tumbling, Window};
pub use crate::record::{Ignored, Record, Text};
pub use crate::time::EventTime;
