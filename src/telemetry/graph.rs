//! One worker's view of the running dataflow: its operators, its channels, and what has passed through them.

use serde::{Deserialize, Serialize};

use crate::time::Epoch;

/// What one worker published last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerGraph {
    /// The worker, from 0, over all processes.
    pub worker: usize,
    /// When it was published, in milliseconds since the Unix epoch.
    pub published_ms: u64,
    /// How long the worker has slept because there was nothing to do.
    pub parked_seconds: f64,
    /// In the order in which they were built.
    pub operators: Vec<Operator>,
    /// In the order in which they were built.
    pub channels: Vec<Channel>,
}

/// An operator, or a scope of operators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// Unique on its worker.
    pub id: usize,
    /// Its name; several operators may share one.
    pub name: String,
    /// Its path of indices from the worker down; the same on every worker.
    pub address: Vec<usize>,
    /// Whether it is a scope, whose busy time includes that of its operators.
    pub scope: bool,
    /// Records that arrived.
    pub records_in: u64,
    /// Records that were sent; an output with several readers counts once.
    pub records_out: u64,
    /// How often it was scheduled.
    pub activations: u64,
    /// Time spent inside.
    pub busy_seconds: f64,
    /// What can still arrive at its inputs.
    pub frontier: Frontier,
    /// What its arrangement holds, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub arrangement: Option<Arrangement>,
    /// Whether it has been dropped.
    pub shut_down: bool,
}

/// What can still arrive at an operator; for one without inputs, what it can still emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frontier {
    /// Its scope does not count time in epochs, or nothing was logged yet.
    Unknown,
    /// Records of this epoch and later.
    At(Epoch),
    /// Nothing.
    Closed,
}

/// The size of an operator's arrangement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrangement {
    /// Updates held.
    pub records: u64,
    /// Batches they are spread over.
    pub batches: u64,
    /// Heap bytes, where the operator measures them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
}

/// An edge between two operators of one scope, or between an operator and the boundary of its scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Unique on its worker.
    pub id: usize,
    /// The address of the scope.
    pub scope: Vec<usize>,
    /// The sending operator's id, `None` at the boundary, and its output.
    pub source: (Option<usize>, usize),
    /// The receiving operator's id, `None` at the boundary, and its input.
    pub target: (Option<usize>, usize),
    /// Records that this worker sent.
    pub sent: u64,
    /// Records that this worker received.
    pub received: u64,
}
