//! From what was typed to what can be run.

use std::sync::Arc;

use super::args::ConfigArgs;
use crate::config;
use crate::error::Result;
use crate::flow::Dataflow;
use crate::time::SystemClock;

pub(super) use crate::config::Prepared;

/// Lays the file and the single keys of the command line over the dataflow's defaults, and checks the result.
pub(super) fn prepare(dataflow: &Dataflow, args: &ConfigArgs) -> Result<Prepared> {
    let layers = |defaults: config::Layers| {
        let layers = args.config.iter().fold(defaults, |layers, file| layers.file(file));
        let layers = args.set.iter().fold(layers, |layers, set| layers.set(set));
        // Quoted as JSON, which TOML reads as well: a folder may be called "1".
        let state = args.state.iter().map(|state| serde_json::Value::from(&*state.to_string_lossy()));
        let layers = if args.drain { layers.set("engine.drain=true") } else { layers };
        state.fold(layers, |layers, state| layers.set(format!("engine.state_dir={state}")))
    };
    config::prepare(dataflow, layers, Arc::new(SystemClock), |environment| {
        environment.sources.extend(args.replay.iter().map(|replay| (replay.source.clone(), replay.connector())));
    })
}
