//! The arguments of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand};

use super::bench::{BenchArgs, Replay};
use crate::checkpoint::manifest::CheckpointName;
use crate::runtime::durability::From;
use crate::settings::path;

/// Streaming detection on timely and differential dataflow.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

/// A path, in which `~/`, `$NAME` and `${NAME}` are expanded as in a configuration: most shells leave `--config=~/x`
/// alone. One that is not UTF-8 is taken as it is.
pub(super) fn a_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|written: OsString| match written.to_str() {
        Some(text) => path::expand(text).map(PathBuf::from),
        None => Ok(PathBuf::from(written)),
    })
}

const EXAMPLES: &str = "\
Examples:
  tidewatch demo
      an embedded broker, a generated log with planted attacks, and the alerts that find them
  tidewatch run ssh-brute-force --workers 2 --set sources.auth.path=/var/log/auth.log
      one process, two worker threads; rows and alerts as JSON lines under tidewatch-out/
  tidewatch check ssh-brute-force --config my.toml
      every fault of a configuration at once, with file and line
  tidewatch cluster auth-windows --processes 2 --workers 1 --set sources.events.path=in.jsonl
      two local processes under a supervisor
  tidewatch bench auth-windows --workers 1,2
      how many events a second, at what cost, on one worker and on two

Exit codes: 0 done, or stopped by a signal; 2 command line or configuration; 3 a source; 4 a sink; 5 state; 6 the mesh between \
processes; 70 a defect or a panic; 130 a second signal, or a stop that took too long.";

/// What `run` and `cluster` have in common.
const RUNNING: &str = "\
Ctrl-C or SIGTERM stops reading; what was read is still written, and the exit code is 0. A second signal ends the process at once, \
with exit code 130, if it comes a second later or more; before that it counts as the same signal.

In paths, on the command line and in the configuration, ~/ is the home folder, $NAME and ${NAME} are environment variables, and $$ is \
a dollar sign.

Exit codes: 0 done, or stopped by a signal; 2 command line or configuration; 3 a source; 4 a sink; 5 state; 6 the mesh between \
processes; 70 a defect or a panic; 130 a second signal, or a stop that took longer than engine.shutdown_grace (30 s).";

const RUN_EXAMPLES: &str = "\
Examples:
  tidewatch run ssh-brute-force --set sources.auth.path=auth.log --set sources.auth.year=2017
      a log whose times do not say their year; rows and alerts as JSON lines under tidewatch-out/
  tidewatch run ssh-brute-force --set sources.auth.follow=true --set sinks.alerts.kind=stdout --drain
      /var/log/auth.log as it grows, alerts on standard output; a stop writes the windows that are open, too
  tidewatch run auth-windows --workers 4 --config my.toml --state state/auth-windows
      resumes where the last run on that folder stopped or was killed; each row is written once
  tidewatch run auth-windows --process 0 --hosts hosts.txt --secret-file mesh.secret
      process 0 of several, one per line of hosts.txt (host:port)";

const CLUSTER_EXAMPLES: &str = "\
Examples:
  tidewatch cluster auth-windows --processes 2 --workers 2 --set sources.events.path=in.jsonl
      two processes with two worker threads each
  tidewatch cluster auth-windows --processes 2 --config my.toml --state state/auth-windows
      restarts and resumes by itself if a process is lost";

const CHECK_EXAMPLES: &str = "\
Opens no source and no sink. Also warns of what is hardly meant, such as a path that matches no file.

Examples:
  tidewatch check ssh-brute-force --config my.toml
  tidewatch check ssh-brute-force --set params.failures_min=20

Exit codes: 0 no fault; 2 at least one fault.";

const CHECKPOINT_EXAMPLES: &str = "\
Examples:
  tidewatch checkpoint list --state state/auth-windows
  tidewatch checkpoint verify --state state/auth-windows
  tidewatch checkpoint prune --keep 1 --state state/auth-windows

Exit codes: 0 done; 2 command line; 5 the state directory cannot be used, or a checkpoint is damaged.";

const DEMO_EXAMPLES: &str = "\
Examples:
  tidewatch demo
      a generated log, and for each attack planted in it the alert that finds it
  tidewatch demo --log auth.log --year 2017
      your own log by way of the embedded broker
  tidewatch demo --serve
      leaves the metrics up, to be looked at in a browser";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the dataflows of this program.
    List,
    /// Checks a dataflow's configuration and reports every fault at once; exit code 2 if there is one.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Runs a dataflow in this process, alone or as one of several.
    #[command(after_help = format!("{RUN_EXAMPLES}\n\n{RUNNING}"))]
    Run(RunArgs),
    /// Runs a dataflow in several local processes under a supervisor.
    #[command(after_help = format!("{CLUSTER_EXAMPLES}\n\n{RUNNING}"))]
    Cluster(ClusterArgs),
    /// Shows, checks and deletes the checkpoints of a state directory.
    #[command(subcommand, after_help = CHECKPOINT_EXAMPLES)]
    Checkpoint(CheckpointCommand),
    /// Measures a dataflow: throughput, CPU time and memory, and latency at a rate.
    Bench(BenchArgs),
    /// Shows brute-force detection end to end over an embedded Kafka broker; needs nothing installed.
    #[cfg(feature = "kafka")]
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(super) struct ConfigArgs {
    /// A TOML file whose keys take precedence over the dataflow's defaults.
    #[arg(long, value_name = "FILE", value_parser = a_path())]
    pub config: Option<PathBuf>,
    /// Overrides one key, such as sources.events.path=in.jsonl, also over --config; VALUE is TOML, or text if it is
    /// none. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A folder for what the next run needs to resume exactly where this one stopped or was killed; sets
    /// engine.state_dir [default: none: nothing is resumed].
    #[arg(long, value_name = "FOLDER", value_parser = a_path())]
    pub state: Option<PathBuf>,
    /// Lets a stop close the windows that are open and write their rows, as the end of the input would; sets
    /// engine.drain. Not with a state directory: there the next run resumes them.
    #[arg(long)]
    pub drain: bool,
    /// Files in place of a source, as JSON.
    #[arg(long, hide = true)]
    pub replay: Vec<Replay>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CheckArgs {
    /// The dataflow, as `list` names it.
    pub dataflow: String,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// The dataflow, as `list` names it.
    pub dataflow: String,
    /// Worker threads in this process, 1 to 256; the same number in every process.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Writes the summary of the run as JSON to a file: counts, seconds, latencies, CPU time and memory.
    #[arg(long, value_name = "FILE", value_parser = a_path())]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub recovery: RecoveryArgs,
    #[command(flatten)]
    pub mesh: MeshArgs,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(super) struct RecoveryArgs {
    /// The checkpoint to resume from, as `checkpoint list` names it, or "none" to replay every epoch without one
    /// [default: the newest that is undamaged].
    #[arg(long, value_name = "CHECKPOINT", value_parser = from_checkpoint)]
    pub from: Option<From>,
    /// Starts from scratch: what the state directory holds is moved to its folder "discarded".
    #[arg(long, conflicts_with = "from")]
    pub from_scratch: bool,
}

fn from_checkpoint(text: &str) -> Result<From, String> {
    if text == "none" { Ok(From::Bindings) } else { text.parse().map(From::Checkpoint) }
}

#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    /// Lists the checkpoints, oldest first.
    List(CheckpointArgs),
    /// Shows what a checkpoint holds: of which stages, how much, and where the sources were.
    Inspect(OneCheckpointArgs),
    /// Reads checkpoints whole and checks them; exit code 5 if one is damaged.
    Verify(OneCheckpointArgs),
    /// Deletes all checkpoints but the newest.
    Prune(PruneArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct CheckpointArgs {
    /// The state directory.
    #[arg(long, value_name = "FOLDER", value_parser = a_path())]
    pub state: PathBuf,
    /// Where its checkpoints are, if the run had engine.checkpoint_store: a folder or a URL [default: in the state
    /// directory].
    #[arg(long, value_name = "STORE", value_parser = path::expand)]
    pub store: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct OneCheckpointArgs {
    /// Its name, as `checkpoint list` shows it [default: the newest for `inspect`, all for `verify`].
    pub checkpoint: Option<CheckpointName>,
    #[command(flatten)]
    pub place: CheckpointArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct PruneArgs {
    /// How many are kept, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub keep: u16,
    #[command(flatten)]
    pub place: CheckpointArgs,
}

#[derive(Clone, Debug, Default, ClapArgs)]
pub(super) struct MeshArgs {
    /// The number of this process: its line in the host file, from 0.
    #[arg(long, value_name = "I", requires = "hosts")]
    pub process: Option<usize>,
    /// One host:port per process and line; the same file on every host.
    #[arg(long, value_name = "FILE", requires = "process", value_parser = a_path())]
    pub hosts: Option<PathBuf>,
    /// A file with the secret that all processes share (16 bytes to 4 KiB); needed if a host is not loopback.
    #[arg(long, value_name = "FILE", requires = "hosts", value_parser = a_path())]
    pub secret_file: Option<PathBuf>,
    /// Which start of the cluster this is; processes of different generations refuse each other.
    #[arg(long, value_name = "N", requires = "hosts", default_value_t = 0)]
    pub generation: u64,
    /// Allows a mesh without a secret between hosts: anyone who reaches the port can take part.
    #[arg(long, requires = "hosts")]
    pub insecure_mesh: bool,
    /// The socket of the supervisor that started this process.
    #[arg(long, value_name = "SOCKET", requires = "hosts", hide = true)]
    pub supervisor: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ClusterArgs {
    /// The dataflow, as `list` names it.
    pub dataflow: String,
    /// Processes to start, 1 to 64.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub processes: u16,
    /// Worker threads in each process, 1 to 256.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Writes the summary of the run as JSON to a file: counts, seconds, latencies, CPU time and memory.
    #[arg(long, value_name = "FILE", value_parser = a_path())]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub recovery: RecoveryArgs,
}

#[cfg(feature = "kafka")]
#[derive(Debug, ClapArgs)]
pub(super) struct DemoArgs {
    /// Your own log of OpenSSH instead of a generated one.
    #[arg(long, value_name = "FILE", value_parser = a_path())]
    pub log: Option<PathBuf>,
    /// The year of the first line of --log, if its lines do not say.
    #[arg(long, requires = "log")]
    pub year: Option<i32>,
    /// Keeps the broker and the metrics up until Ctrl-C or SIGTERM.
    #[arg(long)]
    pub serve: bool,
    /// Seed of the generated log.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Worker threads, 1 to 256.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// The folder for alerts and rows as files.
    #[arg(long, value_name = "FOLDER", default_value = "tidewatch-out/demo", value_parser = a_path())]
    pub out: PathBuf,
}
