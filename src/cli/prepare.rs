//! From what was typed to what can be run: merges the configuration, reads what the engine needs of it, and checks the
//! dataflow against it. All faults are reported together.

use std::sync::Arc;

use super::args::ConfigArgs;
use crate::config::{self, EngineConfig, Layers};
use crate::error::Result;
use crate::flow::launch::check;
use crate::flow::{Dataflow, Environment};
use crate::runtime::source::FlowControl;
use crate::settings::{Section, Value};
use crate::time::SystemClock;

/// A dataflow that was checked, and what it runs in.
pub(super) struct Prepared {
    pub dataflow: Dataflow,
    pub environment: Environment,
    pub engine: EngineConfig,
    /// The same for the same configuration, whatever its layers.
    pub fingerprint: String,
}

/// The tables and keys that a configuration may have.
const ROOT: [&str; 6] = ["dataflow", "params", "sources", "sinks", "dead_letters", "engine"];

pub(super) fn prepare(dataflow: &Dataflow, args: &ConfigArgs) -> Result<Prepared> {
    let mut layers = Layers::new(dataflow.name());
    if let Some(defaults) = dataflow.defaults_text() {
        layers = layers.defaults(defaults);
    }
    if let Some(file) = &args.config {
        layers = layers.file(file);
    }
    layers = args.set.iter().fold(layers, |layers, set| layers.set(set));
    let tree = layers.merge().map_err(|faults| config::report(dataflow.name(), &faults))?;

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

    let fingerprint = config::fingerprint(&tree);
    let mut environment = Environment::with_clock(dataflow.name(), tree, Arc::new(SystemClock), engine.tick);
    environment.keys_max = engine.keys_max;
    environment.flow_control = FlowControl {
        epochs_in_flight_max: engine.epochs_in_flight_max as u64,
        records_per_epoch_max: engine.records_per_epoch_max as u64,
        ..environment.flow_control
    };
    faults.extend(check(dataflow, &environment));
    if !faults.is_empty() {
        return Err(config::report(dataflow.name(), &faults));
    }
    Ok(Prepared { dataflow: dataflow.clone(), environment, engine, fingerprint })
}
