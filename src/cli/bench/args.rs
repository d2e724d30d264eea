//! The arguments of `bench`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::cli::args::{ConfigArgs, a_path};

const EXAMPLES: &str = "\
Input. Each source that --set or --config wires is read as it is; it must end. All others are generated: once, before anything \
is measured, into files that every run reads, with the generator that the configuration names in [bench.sources.NAME].

Output. Sinks that --set or --config wire are written; all others are files in a temporary folder. Standard output is discarded.

Exit codes: 0 done; 70 if two runs disagree on records, dead letters or rows; else as those of run.

Examples:
  tidewatch bench auth-windows --workers 1,2
      a million events as fast as they go, five times on one worker and five times on two, in turn
  tidewatch bench auth-windows --workers 2 --processes 1,2 --events 10000000 --json before.json
      two workers in one process, and in each of two; the results also as JSON
  tidewatch bench auth-windows --rate 500000 --set engine.tick=20ms
      events arrive at a rate: latency from read to release, with another tick
  tidewatch bench ssh-brute-force --set sources.auth.path=auth.log --set sources.auth.year=2017 --set sinks.alerts.kind=null
      your own log, and no alerts written
  tidewatch bench compare before.json after.json
      ratios of the medians";

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub(in crate::cli) struct BenchArgs {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BenchCommand {
    /// Shows the ratios between the medians of two results.
    Compare(CompareArgs),
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct CompareArgs {
    /// What to compare with: a file that --json wrote.
    #[arg(value_name = "A.json", value_parser = a_path())]
    pub a: PathBuf,
    /// What to compare.
    #[arg(value_name = "B.json", value_parser = a_path())]
    pub b: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct MeasureArgs {
    /// The dataflow, as `list` names it.
    #[arg(required = true)]
    pub dataflow: Option<String>,
    /// Worker threads in each process, 1 to 256; several numbers, with commas, are measured in turn.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Vec<u16>,
    /// Processes, 1 to 64; each number is measured with each number of workers.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub processes: Vec<u16>,
    /// Records to generate for each source that --set and --config do not wire [default: 1000000, or ten seconds of
    /// --rate].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000_000))]
    pub events: Option<u64>,
    /// Records per second that arrive at each generated source, whether or not they are read in time (an open loop).
    /// Their event times are as far apart, unless events_per_second of their generator is set. Without a rate they are
    /// read as fast as they go, and the latency, which would be that of a full queue, is not shown.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Runs of each combination that do not count, at the beginning.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=100))]
    pub warmup: u16,
    /// Runs of each combination that count.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub repeats: u16,
    /// Sinks whose rows are changes of a collection, beside those that the dataflow knows of: how many changes there
    /// are depends on the cut into epochs, so runs are held to what the changes add up to.
    #[arg(long, value_name = "SINK,…", value_delimiter = ',')]
    pub changes: Vec<String>,
    /// Writes all results as JSON to a file, or to standard output if it is "-".
    #[arg(long, value_name = "FILE", value_parser = a_path())]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
}
