//! From what was typed to what can be run.

use std::sync::Arc;

use super::args::ConfigArgs;
use crate::config;
use crate::error::{Error, Result};
use crate::flow::Dataflow;
use crate::settings::path;
use crate::time::SystemClock;

pub(super) use crate::config::Prepared;

/// Logs what is allowed in the configuration and hardly meant.
pub(super) fn warn(prepared: &Prepared) {
    for warning in &prepared.warnings {
        tracing::warn!("{warning}");
    }
}

/// Lays the file and the single keys of the command line over the dataflow's defaults, and checks the result.
pub(super) fn prepare(dataflow: &Dataflow, args: &ConfigArgs) -> Result<Prepared> {
    let state = args.state.as_ref().map(|state| {
        let not_text = || Error::config(format!("--state: {state:?} is not UTF-8"));
        path::literal(state).ok_or_else(not_text)
    });
    let state = state.transpose()?;
    let layers = |defaults: config::Layers| {
        let layers = args.config.iter().fold(defaults, |layers, file| layers.file(file));
        let layers = args.set.iter().fold(layers, |layers, set| layers.set(set));
        // Quoted as JSON, which TOML reads as well: a folder may be called "1".
        let state = state.iter().map(|state| serde_json::Value::from(state.as_str()));
        let layers = if args.drain { layers.set("engine.drain=true") } else { layers };
        state.fold(layers, |layers, state| layers.set(format!("engine.state_dir={state}")))
    };
    config::prepare(dataflow, layers, Arc::new(SystemClock), |environment| {
        environment.sources.extend(args.replay.iter().map(|replay| (replay.source.clone(), replay.connector())));
    })
}
