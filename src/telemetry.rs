//! What a running dataflow reports about itself: metrics, the graph with live figures, health, and logs.
//!
//! [`Metrics`] is the one registry of a process and run. Connectors, operators and sinks fetch plain handles from it
//! once and update them per batch; [`WorkerLog`] adds what timely and differential log; [`Admin`] serves all of it over
//! HTTP. Nothing here can change a result: the data path only ever writes to it.

mod admin;
mod bindings;
mod checkpoints;
mod distribution;
mod graph;
mod io;
mod log;
mod metrics;
mod sinks;
mod sources;
mod stages;
mod table;
mod timely_log;
mod totals;
mod usage;

pub use admin::{Admin, AdminLimits, AdminOptions, Readiness};
pub use bindings::BindingMetrics;
pub use checkpoints::CheckpointMetrics;
pub use distribution::{DURATION_MAX, Distribution};
pub use graph::{Arrangement, Channel, Frontier, Operator, WorkerGraph};
pub use io::IoThread;
pub use log::{LogFormat, LogOptions, init_log, unknown_targets};
pub use metrics::Metrics;
pub use sinks::SinkMetrics;
pub use sources::{PARTITION_LABELS_MAX, PartitionMetrics, SkipReason, SourceMetrics};
pub use stages::StageMetrics;
pub use table::{Definition, Metric, MetricKind, render_markdown};
pub use timely_log::{PUBLISH_INTERVAL, WorkerLog, arrangement_bytes};
pub use totals::{SinkTotals, SourceTotals, StageTotals, Totals};
pub use usage::Usage;
