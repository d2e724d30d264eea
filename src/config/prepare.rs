//! From layers of configuration to what can be run: merges them, reads what the engine needs, and checks the dataflow against
//! them. All faults are reported together.

use std::sync::Arc;

use super::{EngineConfig, Layers, fingerprint, report};
use crate::error::Result;
use crate::flow::launch::check;
use crate::flow::{Dataflow, Environment};
use crate::runtime::source::FlowControl;
use crate::settings::{Node, Section, Value};
use crate::time::Clock;

/// A dataflow that was checked, and what it runs in.
pub(crate) struct Prepared {
    pub(crate) dataflow: Dataflow,
    pub(crate) environment: Environment,
    pub(crate) engine: EngineConfig,
    /// The same for the same configuration, whatever its layers.
    pub(crate) fingerprint: String,
}

/// The tables and keys that a configuration may have.
const ROOT: [&str; 6] = ["dataflow", "params", "sources", "sinks", "dead_letters", "engine"];

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
    root.finish();

    let fingerprint = fingerprint(&tree);
    let mut environment = Environment::with_clock(dataflow.name(), tree, clock, engine.tick);
    environment.keys_max = engine.keys_max;
    environment.flow_control = FlowControl {
        epochs_in_flight_max: engine.epochs_in_flight_max as u64,
        records_per_epoch_max: engine.records_per_epoch_max as u64,
        ..environment.flow_control
    };
    wire(&mut environment);
    let found = check(dataflow, &environment);
    let params = found.iter().any(|fault| fault.key == "params" || fault.key.starts_with("params."));
    faults.extend(found);
    if params && let Some(usual) = usual_params(dataflow) {
        // With faulty parameters nothing was built: with the usual ones it shows what else is wrong.
        let mut settings = environment.settings.clone();
        if let Value::Table(tables) = &mut settings.value {
            tables.insert("params".to_owned(), usual);
        }
        faults.extend(check(dataflow, &Environment { settings, ..environment.clone() }));
    }
    if !faults.is_empty() {
        return Err(report(dataflow.name(), &faults));
    }
    Ok(Prepared { dataflow: dataflow.clone(), environment, engine, fingerprint })
}

/// The parameters of a dataflow's default configuration.
fn usual_params(dataflow: &Dataflow) -> Option<Node> {
    let defaults = Layers::new(dataflow.name()).defaults(dataflow.defaults_text()?).merge().ok()?;
    match defaults.value {
        Value::Table(mut tables) => tables.remove("params"),
        _ => None,
    }
}
