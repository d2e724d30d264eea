//! The `[engine]` table: how every dataflow runs, whatever it computes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::runtime::durability::{CheckpointPlace, CheckpointRules};
use crate::settings::{Section, Setting, Value, path};
use crate::telemetry::LogFormat;

/// The longest host name, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// The settings of the engine itself, with defaults for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// `tick`: the length of an epoch, whole milliseconds from 1 ms to 10 s; default 100 ms. Results follow the input
    /// by about a tick; shorter ticks cost throughput.
    pub tick: Duration,
    /// `epochs_in_flight_max`: epochs begun but not finished before sources wait, from 1 to 1 000; default 8.
    pub epochs_in_flight_max: usize,
    /// `records_per_epoch_max`: records that a worker reads in one epoch, from 1 to 1 000 000 000; default 1 000 000.
    pub records_per_epoch_max: usize,
    /// `state_dir`: the folder from which the next run resumes exactly where this one stopped or was killed; default
    /// none. A folder on a local disk that all processes see, and no other dataflow uses.
    pub state_dir: Option<PathBuf>,
    /// `checkpoint_interval`: the time between two checkpoints of a run with a state directory, from 100 ms to 24 h;
    /// default 10 s. After a failure about as much is replayed.
    pub checkpoint_interval: Duration,
    /// `checkpoints_kept`: how many checkpoints are kept, from 1 to 1 000; default 3.
    pub checkpoints_kept: usize,
    /// `checkpoint_store`: where checkpoints are stored: a folder that all processes see, or the URL of an object
    /// store; default the folder `checkpoints` in `state_dir`.
    pub checkpoint_store: Option<String>,
    /// `keys_max`: entries (keys, times open windows) that a stage keeps on one worker before the dataflow stops, from
    /// 1 to 1 000 000 000; default 10 000 000.
    pub keys_max: usize,
    /// `admin`: where metrics and health are served, or `"off"`; default `127.0.0.1:9740`.
    pub admin: AdminAddress,
    /// `admin_hosts`: host names for which the admin port answers requests, beside addresses and `localhost`; default
    /// none. Others are refused, so that no page in a browser can read the port under a host name of its own.
    pub admin_hosts: Vec<String>,
    /// `log`: what is logged, as a filter such as `"info"` or `"info,tidewatch::runtime::mesh=debug"`; default
    /// `"info"`.
    pub log: String,
    /// `log_format`: `"text"` or `"json"`; default text.
    pub log_format: LogFormat,
    /// `shutdown_grace`: how long a stop waits for sinks to finish, from 0 s to 1 h; default 30 s.
    pub shutdown_grace: Duration,
    /// `drain`: whether a stop closes open windows and writes their rows, as the end of the input would; default false.
    /// Not with a state directory: there the next run resumes them.
    pub drain: bool,
}

/// Where metrics and health are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminAddress {
    /// The address, or `None` for `"off"`.
    pub address: Option<SocketAddr>,
    /// Whether it was written in a configuration. If not, and the port is taken, another one is used.
    pub explicit: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9740);
        EngineConfig {
            tick: Duration::from_millis(100),
            epochs_in_flight_max: 8,
            records_per_epoch_max: 1_000_000,
            state_dir: None,
            checkpoint_interval: Duration::from_secs(10),
            checkpoints_kept: 3,
            checkpoint_store: None,
            keys_max: 10_000_000,
            admin: AdminAddress { address: Some(address), explicit: false },
            admin_hosts: Vec::new(),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            shutdown_grace: Duration::from_secs(30),
            drain: false,
        }
    }
}

impl EngineConfig {
    /// How checkpoints are taken.
    pub(crate) fn checkpoints(&self) -> CheckpointRules {
        let place = self.checkpoint_store.clone().map_or(CheckpointPlace::StateDirectory, CheckpointPlace::At);
        CheckpointRules { place, interval: self.checkpoint_interval, keep: self.checkpoints_kept }
    }

    /// Reads and finishes the `[engine]` section; missing or faulty values have their defaults.
    pub fn read(mut section: Section<'_>) -> Self {
        let default = EngineConfig::default();
        let s = &mut section;
        let config = EngineConfig {
            tick: s.within("tick", Duration::from_millis(1)..=Duration::from_secs(10), default.tick),
            epochs_in_flight_max: s.within("epochs_in_flight_max", 1..=1_000, default.epochs_in_flight_max),
            records_per_epoch_max: s.within("records_per_epoch_max", 1..=1_000_000_000, default.records_per_epoch_max),
            state_dir: s.optional("state_dir"),
            checkpoint_interval: s.within(
                "checkpoint_interval",
                Duration::from_millis(100)..=Duration::from_secs(24 * 3600),
                default.checkpoint_interval,
            ),
            checkpoints_kept: s.within("checkpoints_kept", 1..=1_000, default.checkpoints_kept),
            checkpoint_store: s.optional("checkpoint_store").map(|Store(store)| store),
            keys_max: s.within("keys_max", 1..=1_000_000_000, default.keys_max),
            admin: s.or("admin", default.admin),
            admin_hosts: s
                .optional::<Vec<Host>>("admin_hosts")
                .unwrap_or_default()
                .into_iter()
                .map(|Host(h)| h)
                .collect(),
            log: s.or("log", Filter(default.log)).0,
            log_format: s.choice(
                "log_format",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                default.log_format,
            ),
            shutdown_grace: s.within(
                "shutdown_grace",
                Duration::ZERO..=Duration::from_secs(3600),
                default.shutdown_grace,
            ),
            drain: s.or("drain", default.drain),
        };
        if config.drain && config.state_dir.is_some() {
            section.fault(
                "drain",
                "is not for a run with a state directory, whose next run resumes the windows that are open",
            );
        }
        if !config.tick.subsec_nanos().is_multiple_of(1_000_000) {
            section.fault("tick", format!("expected whole milliseconds, found {}", config.tick.show()));
        }
        section.finish();
        config
    }
}

impl Setting for AdminAddress {
    const EXPECTED: &'static str = "an address such as \"127.0.0.1:9740\", or \"off\"";
    fn read(value: &Value) -> Result<Self, String> {
        let address = match value {
            Value::String(s) if s == "off" => None,
            _ => Some(SocketAddr::read(value)?),
        };
        Ok(AdminAddress { address, explicit: true })
    }
}

/// A folder, whose path is expanded, or a URL.
struct Store(String);

impl Setting for Store {
    const EXPECTED: &'static str = "a path, or the URL of an object store";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) if text.is_empty() => Err("it is empty".to_owned()),
            Value::String(text) => path::expand(text).map(Store),
            other => String::read(other).map(Store),
        }
    }
}

/// A name of the machine, as in a URL.
struct Host(String);

impl Setting for Host {
    const EXPECTED: &'static str = "a host name such as \"node-1.example.org\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        match !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.chars().all(fits) {
            true => Ok(Host(text.to_ascii_lowercase())),
            false => Err("without scheme, port or path".to_owned()),
        }
    }
}

/// The text of a log filter that was parsed successfully.
struct Filter(String);

impl Setting for Filter {
    const EXPECTED: &'static str = "a log filter such as \"info\" or \"info,tidewatch::runtime::mesh=debug\"";
    fn read(value: &Value) -> Result<Self, String> {
        let Value::String(text) = value else { return Err(String::new()) };
        EnvFilter::try_new(text).map_err(|e| e.to_string())?;
        Ok(Filter(text.clone()))
    }
}
