//! Files that replace a source, as they are passed to the measured processes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::connectors::file::FileSource;
use crate::connectors::paced::Paced;
use crate::connectors::source::SourceConnector;

/// What a source reads instead of what is configured. As text it is JSON, so that any path can be passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cli) struct Replay {
    /// The source's name.
    pub source: String,
    /// Each file is a partition.
    pub files: Vec<PathBuf>,
    /// The pace; without one as fast as possible.
    pub bytes_per_second: Option<f64>,
}

impl Replay {
    pub(in crate::cli) fn connector(&self) -> Arc<dyn SourceConnector> {
        let files = Arc::new(FileSource::new(self.files.iter().map(|file| file.to_string_lossy())));
        match self.bytes_per_second {
            Some(bytes_per_second) => Arc::new(Paced::new(files, bytes_per_second)),
            None => files,
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Replay {
    type Err = serde_json::Error;
    fn from_str(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
