//! What a run came to, for people, on standard error.

use std::time::Duration;

use crate::telemetry::Totals;

/// Prints the summary of a run of this process.
pub(super) fn print(dataflow: &str, totals: &Totals, elapsed: Duration, windows_open: u64, stopped: bool) {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    eprintln!("{dataflow}: {} records read in {seconds:.2} s ({:.0}/s)", totals.read(), totals.read() as f64 / seconds);
    for (name, source) in &totals.sources {
        eprintln!("  source {name}: {} read, {} processed", source.read, source.processed());
        for (reason, count) in source.dead_letters.iter().filter(|(_, count)| **count > 0) {
            eprintln!("    {count} dead letters: {reason}");
        }
    }
    for (name, stage) in totals.stages.iter().filter(|(_, stage)| stage.late > 0) {
        eprintln!("  stage {name}: {} late", stage.late);
    }
    if totals.windows_closed() > 0 {
        eprintln!("  {} windows closed", totals.windows_closed());
    }
    for (name, sink) in &totals.sinks {
        eprintln!("  sink {name}: {} rows", sink.records);
    }
    if stopped && windows_open > 0 {
        eprintln!("  {windows_open} windows were still open when the run was stopped; their rows were not written");
    }
}
