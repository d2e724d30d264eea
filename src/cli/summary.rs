//! The summary of a run, for people, on standard error: one summary, also of several processes.

use crate::flow::DEAD_LETTERS;
use crate::runtime::supervise::Finished;
use crate::telemetry::{StageTotals, Totals};

/// Records after which it is odd that no row was written. Fewer may well hold nothing of interest.
const READ_MUCH: u64 = 1_000;

/// Prints the summary.
pub(super) fn print(dataflow: &str, finished: &Finished, stopped: bool) {
    for line in lines(dataflow, finished, stopped) {
        note!("{line}");
    }
}

fn lines(dataflow: &str, finished: &Finished, stopped: bool) -> Vec<String> {
    let totals = &finished.totals;
    let (read, seconds) = (totals.read(), finished.seconds.max(1e-9));
    let mut lines = vec![format!("{dataflow}: {read} records read in {seconds:.2} s ({:.0}/s)", read as f64 / seconds)];
    for (name, source) in &totals.sources {
        lines.push(format!("  source {name}: {} read, {} processed", source.read, source.processed()));
        let letters = source.dead_letters.iter().filter(|(_, count)| **count > 0);
        lines.extend(letters.map(|(reason, count)| format!("    {count} dead letters: {reason}")));
    }
    for (name, stage) in &totals.stages {
        let counts = [(stage.filtered, "filtered"), (stage.late, "late")];
        let said: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if !said.is_empty() {
            lines.push(format!("  stage {name}: {}", said.join(", ")));
        }
    }
    if totals.windows_closed() > 0 {
        lines.push(format!("  {} windows closed", totals.windows_closed()));
    }
    for (name, sink) in &totals.sinks {
        lines.push(format!("  sink {name}: {} rows", sink.records));
    }
    if stopped && totals.windows_open() > 0 {
        let open = totals.windows_open();
        // A key's window counts on every worker that has records of it.
        lines.push(format!(
            "  up to {open} windows were still open when the run was stopped; their rows were not written"
        ));
    } else {
        lines.extend(nothing_kept(totals));
    }
    lines
}

/// A warning about a run that read much and wrote no row, with where most of it went.
fn nothing_kept(totals: &Totals) -> Option<String> {
    let rows: u64 = totals.sinks.iter().filter(|(name, _)| *name != DEAD_LETTERS).map(|(_, sink)| sink.records).sum();
    if rows > 0 || totals.read() < READ_MUCH {
        return None;
    }
    let dropped = |stage: &StageTotals| stage.filtered + stage.late;
    let stages = totals.stages.iter().map(|(name, stage)| (dropped(stage), "stage", name, stage.records_in));
    let sources = totals.sources.iter().map(|(name, source)| (source.dead(), "source", name, source.read));
    let most = match sources.chain(stages).max_by_key(|(count, ..)| *count) {
        Some((count, part, name, of)) if count > 0 => format!("{part} {name} dropped the most, {count} of {of}"),
        _ => "no stage dropped any".to_owned(),
    };
    Some(format!("  warning: {} records were read and no sink got a row; {most}", totals.read()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Reason;
    use crate::telemetry::{SinkTotals, SourceTotals};

    /// So many read and dead, dropped by the stages `a` and `b`, and written.
    fn finished(read: u64, dead: u64, [a, b]: [u64; 2], rows: u64) -> Finished {
        let stage = |filtered| StageTotals { records_in: read, filtered, ..StageTotals::default() };
        let source = SourceTotals { read, dead_letters: [(Reason::Malformed, dead)].into(), ..SourceTotals::default() };
        let sink = |records| SinkTotals { records, bytes: 0 };
        let totals = Totals {
            sources: [("logins".to_owned(), source)].into(),
            stages: [("a".to_owned(), stage(a)), ("b".to_owned(), stage(b))].into(),
            sinks: [("alerts".to_owned(), sink(rows)), (DEAD_LETTERS.to_owned(), sink(dead))].into(),
        };
        Finished { totals, seconds: 2.0, ..Finished::default() }
    }

    #[test]
    fn every_stage_that_dropped_something_is_named() {
        let mut finished = finished(3, 1, [0, 2], 1);
        finished.totals.stages.get_mut("b").unwrap().late = 4;
        let expected = [
            "flow: 3 records read in 2.00 s (2/s)",
            "  source logins: 3 read, 2 processed",
            "    1 dead letters: malformed",
            "  stage b: 2 filtered, 4 late",
            "  sink alerts: 1 rows",
            "  sink dead_letters: 1 rows",
        ];
        assert_eq!(lines("flow", &finished, false), expected);
        // Of several processes it is one summary.
        let mut both = finished.clone();
        both.merge(&finished);
        assert!(lines("flow", &both, false).contains(&"  stage b: 4 filtered, 8 late".to_owned()));
    }

    #[test]
    fn reading_much_and_keeping_nothing_is_told() {
        let warning = |finished: &Finished, stopped| {
            lines("flow", finished, stopped).into_iter().find(|line| line.starts_with("  warning: "))
        };
        let said = warning(&finished(READ_MUCH, 1, [7, 900], 0), false).unwrap();
        assert_eq!(
            said,
            "  warning: 1000 records were read and no sink got a row; stage b dropped the most, 900 of 1000"
        );
        let said = warning(&finished(READ_MUCH, 950, [7, 40], 0), false).unwrap();
        assert!(said.ends_with("source logins dropped the most, 950 of 1000"), "{said}");
        let said = warning(&finished(READ_MUCH, 0, [0, 0], 0), true).unwrap();
        assert!(said.ends_with("no stage dropped any"), "{said}");
        assert_eq!(warning(&finished(READ_MUCH - 1, 1, [7, 900], 0), false), None);
        assert_eq!(warning(&finished(READ_MUCH, 1, [7, 900], 1), false), None);
        // What is in a window that is still open was not dropped.
        let mut open = finished(READ_MUCH, 0, [0, 1], 0);
        open.totals.stages.get_mut("a").unwrap().windows_open = 1;
        assert_eq!(warning(&open, true), None);
        assert!(warning(&open, false).is_some());
    }
}
