//! From layers of configuration to what can be run: merges them, reads what the engine needs, and checks the dataflow against
//! them. All faults are reported together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::overlap::overlaps;
use super::warnings::warnings;
use super::{EngineConfig, Layers, bench, fingerprint, lineage, report};
use crate::checkpoint::directory::Purpose;
use crate::connectors::generator::GeneratorConfig;
use crate::error::Result;
use crate::flow::launch::{self, check};
use crate::flow::{Dataflow, Environment};
use crate::runtime::source::FlowControl;
use crate::settings::{Fault, Node, Section, Value};
use crate::time::Clock;

/// A dataflow that was checked, and what it runs in.
pub(crate) struct Prepared {
    pub(crate) dataflow: Dataflow,
    pub(crate) environment: Environment,
    pub(crate) engine: EngineConfig,
    /// The same for the same configuration, whatever its layers.
    pub(crate) fingerprint: String,
    /// What is allowed and hardly meant.
    pub(crate) warnings: Vec<Fault>,
    /// What to generate for which source, to measure the dataflow.
    pub(crate) bench: BTreeMap<String, GeneratorConfig>,
}

impl Prepared {
    /// What a state directory must be for, if `workers` run the dataflow.
    pub(crate) fn purpose(&self, workers: usize) -> Purpose {
        let environment = &self.environment;
        let parts = launch::parts(&self.dataflow, environment);
        let fingerprint = lineage(self.dataflow.name(), &parts, &environment.settings);
        Purpose { fingerprint, workers, now_ms: environment.ticker.now_ms() }
    }
}

/// The tables and keys that a configuration may have.
const ROOT: [&str; 7] = ["dataflow", PARAMS, "sources", "sinks", "dead_letters", "engine", "bench"];

const PARAMS: &str = "params";

/// Prepares `dataflow` with its defaults under `layers`; `wire` may put connectors into the environment before the check.
///
/// # Errors
/// One error with every fault that was found.
pub(crate) fn prepare(
    dataflow: &Dataflow,
    layers: impl FnOnce(Layers) -> Layers,
    clock: Arc<dyn Clock>,
    wire: impl FnOnce(&mut Environment),
) -> Result<Prepared> {
    let mut defaults = Layers::new(dataflow.name());
    if let Some(text) = dataflow.defaults_text() {
        defaults = defaults.defaults(text);
    }
    let tree = layers(defaults).merge().map_err(|faults| report(dataflow.name(), &faults))?;

    let mut faults = Vec::new();
    let mut root = Section::new("", Some(&tree), &mut faults);
    for key in ROOT {
        root.node(key);
    }
    if let Some(named) = root.optional::<String>("dataflow")
        && named != dataflow.name()
    {
        root.fault("dataflow", format!("this configuration is for {named:?}, not for {:?}", dataflow.name()));
    }
    for key in ["sources", "sinks", "engine"] {
        // These are tables of tables; a part that is no table is reported by whoever reads it.
        if let Some(node) = root.node(key)
            && !matches!(node.value, Value::Table(_))
        {
            root.fault(key, format!("expected a table, found {}", node.value.kind()));
        }
    }
    let engine = EngineConfig::read(root.section("engine"));
    let bench = bench::read(root.section("bench"));
    root.finish();

    let warnings = warnings(&tree, &engine.log);
    let fingerprint = fingerprint(&tree);
    let mut environment = Environment::with_clock(dataflow.name(), tree, clock, engine.tick);
    environment.keys_max = engine.keys_max;
    environment.is_durable = engine.state_dir.is_some();
    if engine.drain {
        environment.control.drain_at_stop();
    }
    environment.flow_control = FlowControl {
        epochs_in_flight_max: engine.epochs_in_flight_max,
        records_per_epoch_max: engine.records_per_epoch_max as u64,
    };
    wire(&mut environment);
    faults.extend(check_all(dataflow, &environment));
    faults.extend(overlaps(&environment.settings, &engine, environment.run_ms));
    if !faults.is_empty() {
        return Err(report(dataflow.name(), &faults));
    }
    Ok(Prepared { dataflow: dataflow.clone(), environment, engine, fingerprint, warnings, bench })
}

/// Checks the dataflow; with faulty parameters it cannot be built, so its other parts are checked with the default ones.
fn check_all(dataflow: &Dataflow, environment: &Environment) -> Vec<Fault> {
    let mut faults = check(dataflow, environment);
    let of_params = |fault: &Fault| fault.key == PARAMS || fault.key.starts_with("params.");
    if faults.iter().any(of_params)
        && let Some(defaults) = dataflow.defaults_text()
        && let Ok(defaults) = Layers::new(dataflow.name()).defaults(defaults).merge()
        && let Some(params) = defaults.get(PARAMS)
        && let Value::Table(mut root) = environment.settings.value.clone()
    {
        root.insert(PARAMS.to_owned(), params.clone());
        let settings = Node { location: environment.settings.location.clone(), value: Value::Table(root) };
        faults.extend(check(dataflow, &Environment { settings, ..environment.clone() }));
    }
    faults
}
