//! The report of a run, for programs: one JSON object in a file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::runtime::supervise::Finished;

/// The summary of a run, of one process or of several.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunReport {
    /// Whether it was stopped before its end.
    pub stopped: bool,
    #[serde(flatten)]
    pub finished: Finished,
}

/// Writes the report, if one was asked for.
pub(super) fn write(file: Option<&Path>, finished: Finished, stopped: bool) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_vec(&RunReport { stopped, finished }).expect("counts and names are JSON");
    std::fs::write(file, text).map_err(|why| {
        Error::sink(format!("cannot write the report {file:?}"))
            .because(why)
            .hint("--report must name a file in a folder that exists")
    })
}
