//! The log of the demo: a generated one, or the user's own.

use std::path::Path;
use std::time::Duration;

use crate::connectors::generator::openssh::{self, Attack, AuthLog, Plan};
use crate::connectors::kafka::embedded::PARTITION_BYTES_MAX;
use crate::connectors::kafka::{Connection, client};
use crate::error::{Error, Result};

/// The year of the generated log, which half of its hosts do not write.
const GENERATED_YEAR: i32 = 2026;

/// How many bytes of a user's log go into one partition: an embedded broker forgets what a partition cannot hold.
const CHUNK_BYTES: usize = PARTITION_BYTES_MAX / 2;

/// The largest log that the demo reads, in bytes.
const LOG_BYTES_MAX: usize = 64 * CHUNK_BYTES;

/// A log on its way into the broker.
pub(super) struct DemoLog {
    /// Lines with the key that decides their partition.
    lines: Vec<(Option<String>, Vec<u8>)>,
    /// Its description.
    pub about: String,
    /// Partitions it needs.
    pub partitions: u32,
    /// The year of its first line.
    pub year: Option<i32>,
    /// What was planted in it.
    pub planted: Vec<Attack>,
}

impl DemoLog {
    /// Generates a log with planted attacks.
    pub(super) fn generate(seed: u64) -> DemoLog {
        let config = openssh::demo(seed);
        let lines = AuthLog::new(&config).map(|line| (Some(line.host.to_string()), line.bytes)).collect();
        let planted = Plan::new(&config).attacks().to_vec();
        DemoLog {
            lines,
            about: format!("6 hours of {} hosts, generated from seed {seed}", config.partitions),
            partitions: config.partitions,
            year: Some(GENERATED_YEAR),
            planted,
        }
    }

    /// Reads the user's log.
    pub(super) fn read(file: &Path, year: Option<i32>) -> Result<DemoLog> {
        let bytes = std::fs::read(file)
            .map_err(|why| Error::source(format!("cannot read log {:?}", file.display().to_string())).because(why))?;
        if bytes.len() > LOG_BYTES_MAX {
            let message = format!("log {:?} has {} bytes; the demo takes {LOG_BYTES_MAX}", file.display(), bytes.len());
            return Err(Error::config(message).hint(format!(
                "tidewatch run {} --set sources.auth.path={}",
                super::DATAFLOW,
                file.display()
            )));
        }
        let mut lines = Vec::new();
        let (mut partition, mut filled) = (0u32, 0);
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            filled += line.len();
            if filled > CHUNK_BYTES {
                (partition, filled) = (partition + 1, line.len());
            }
            lines.push((Some(partition.to_string()), line.to_vec()));
        }
        Ok(DemoLog { lines, about: file.display().to_string(), partitions: partition + 1, year, planted: Vec::new() })
    }

    /// Writes the log to a topic and returns how many lines it has.
    pub(super) fn produce(&self, topic: &Connection, deadline: Duration) -> Result<u64> {
        client::produce(topic, self.lines.iter().map(|(key, line)| (key.as_deref(), line)), deadline)
    }
}
