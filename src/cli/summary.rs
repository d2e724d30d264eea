//! What a run came to, for people, on standard error: one summary, also of several processes.

use crate::runtime::supervise::Finished;

/// Prints the summary.
pub(super) fn print(dataflow: &str, finished: &Finished, stopped: bool) {
    let totals = &finished.totals;
    let seconds = finished.seconds.max(1e-9);
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
    if stopped && totals.windows_open() > 0 {
        let open = totals.windows_open();
        // A key's window counts on every worker that has records of it.
        eprintln!("  up to {open} windows were still open when the run was stopped; their rows were not written");
    }
}
