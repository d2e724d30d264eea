//! Checks a dataflow and runs it on the workers of this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

use super::dataflow::{BuildError, Dataflow};
use super::{Cut, Environment, Flow, PartKind};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::execute::{Peers, RunPlan, execute};
use crate::settings::Fault;
use crate::time::Epoch;

/// Builds the dataflow once without opening anything and returns every fault of its configuration and construction.
pub fn check(dataflow: &Dataflow, environment: &Environment) -> Vec<Fault> {
    let environment = Arc::new(Environment { planning: true, ..environment.clone() });
    let dataflow = dataflow.clone();
    timely::execute_directly(move |worker| build(worker, &dataflow, &environment).err().unwrap_or_default())
}

/// The names of a dataflow's parts, in order.
pub(crate) struct DataflowParts {
    pub(crate) sources: Vec<String>,
    pub(crate) stages: Vec<String>,
    pub(crate) sinks: Vec<String>,
    /// What the cut into epochs does to the rows of each sink.
    pub(crate) cuts: BTreeMap<String, Cut>,
}

impl DataflowParts {
    /// The sinks whose rows are so affected by the cut into epochs.
    pub(crate) fn sinks_with(&self, cut: Cut) -> impl Iterator<Item = &str> {
        self.cuts.iter().filter(move |(_, of)| **of == cut).map(|(name, _)| name.as_str())
    }
}

/// Builds the dataflow once without opening anything and returns what it consists of.
pub(crate) fn parts(dataflow: &Dataflow, environment: &Environment) -> DataflowParts {
    let environment = Arc::new(Environment { planning: true, ..environment.clone() });
    let dataflow = dataflow.clone();
    timely::execute_directly(move |worker| {
        worker.dataflow_named::<Epoch, _, _>(&dataflow.name, |scope| {
            let flow = Flow::new(scope, Arc::clone(&environment));
            // Who asks has checked it; what a faulty one has until its fault will do.
            let _ = (dataflow.build)(&flow, environment.node(&["params"]));
            DataflowParts {
                sources: flow.names(PartKind::Source),
                stages: flow.names(PartKind::Stage),
                sinks: flow.names(PartKind::Sink),
                cuts: flow.0.cuts.take(),
            }
        })
    })
}

/// Runs a dataflow to its end on `workers` threads of this process, and with `peers` in others.
///
/// # Errors
/// The first failure of a source, a sink or a stage. Faults of the configuration are found by [`check`], which comes
/// first.
pub fn run(dataflow: &Dataflow, environment: Environment, workers: usize, peers: Option<Peers>) -> Result<()> {
    let control = environment.control.clone();
    let plan = RunPlan { workers, peers, control, metrics: environment.metrics.clone() };
    execute(plan, builder(dataflow, environment, workers))
}

/// What builds a dataflow on each of the `threads` workers of a process, for whoever steps them.
#[doc(hidden)]
pub fn builder(
    dataflow: &Dataflow,
    environment: Environment,
    threads: usize,
) -> impl Fn(&mut Worker) -> Result<ProbeHandle<Epoch>> + Send + Sync + use<> {
    let (dataflow, environment) =
        (dataflow.clone(), Arc::new(Environment { threads, configured: Arc::default(), ..environment }));
    move |worker| {
        build(worker, &dataflow, &environment).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
            Error::new(ErrorKind::Config, format!("dataflow {:?} cannot be built: {}", dataflow.name, lines.join("; ")))
        })
    }
}

fn build(
    worker: &mut Worker,
    dataflow: &Dataflow,
    environment: &Arc<Environment>,
) -> Result<ProbeHandle<Epoch>, Vec<Fault>> {
    worker.dataflow_named::<Epoch, _, _>(&dataflow.name, |scope| {
        let flow = Flow::new(scope, Arc::clone(environment));
        let built = (dataflow.build)(&flow, environment.node(&["params"]));
        // A function that stopped half way names fewer parts than it has, so those are not checked then.
        match built {
            Ok(()) => flow.finish(),
            Err(BuildError::Params(faults)) => Err(flow.faults_and(faults)),
            Err(BuildError::Failed(error)) => {
                let key = format!("dataflow {:?}", dataflow.name);
                Err(flow.faults_and(vec![Fault { key, location: None, message: error.to_string() }]))
            }
        }
    })
}
