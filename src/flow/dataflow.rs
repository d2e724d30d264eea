//! A registered dataflow: its name, its default configuration, and the function that builds it.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Flow;
use crate::error::{Error, Result};
use crate::settings::{Fault, Node, nowhere};

type Build = dyn for<'a, 's> Fn(&'a Flow<'s>, Option<&'a Node>) -> Result<(), BuildError> + Send + Sync;

/// Why a build function did not get to its end.
pub(crate) enum BuildError {
    /// The parameters are faulty: every fault of them.
    Params(Vec<Fault>),
    /// The function said so.
    Failed(Error),
}

/// The parameters of a dataflow that has none.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// A dataflow that can be run by name.
#[derive(Clone)]
pub struct Dataflow {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) defaults: Option<&'static str>,
    pub(crate) build: Arc<Build>,
}

/// Registers `build` under `name`: 1 to 64 characters of a-z, 0-9, '-' and '_'.
///
/// `build` is called once to check the dataflow and once per worker; it must build the same each time. `P` is read from the
/// table `params` of the configuration; use [`NoParams`] if there are none.
pub fn dataflow<P, F>(name: &str, build: F) -> Dataflow
where
    P: DeserializeOwned,
    F: for<'a, 's> Fn(&'a Flow<'s>, &'a P) -> Result<()> + Send + Sync + 'static,
{
    let build = move |flow: &Flow<'_>, params: Option<&Node>| {
        let params = match params {
            Some(params) => params.read("params"),
            None => Node::empty().read("params").map_err(nowhere),
        };
        let params = params.map_err(BuildError::Params)?;
        build(flow, &params).map_err(BuildError::Failed)
    };
    Dataflow { name: name.to_owned(), about: String::new(), defaults: None, build: Arc::new(build) }
}

impl Dataflow {
    /// Says in one line what the dataflow is for; `list` prints it.
    #[must_use]
    pub fn about(mut self, about: &str) -> Self {
        self.about = about.to_owned();
        self
    }

    /// The configuration that holds unless another is given, as TOML: `.defaults(include_str!("../config/x.toml"))`.
    #[must_use]
    pub fn defaults(mut self, toml: &'static str) -> Self {
        self.defaults = Some(toml);
        self
    }

    /// What it is for.
    pub(crate) fn about_text(&self) -> &str {
        &self.about
    }

    /// Its default configuration.
    pub(crate) fn defaults_text(&self) -> Option<&'static str> {
        self.defaults
    }

    /// The name it is run by.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Dataflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataflow").field("name", &self.name).field("about", &self.about).finish_non_exhaustive()
    }
}
