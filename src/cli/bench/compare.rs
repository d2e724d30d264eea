//! `bench compare`: the ratios between two results.

use std::fmt::Write;
use std::path::Path;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::args::CompareArgs;
use super::results::BenchResults;
use super::summary::{Figures, Spread, figures};
use super::table::thousands;
use crate::error::{Error, Result};

/// Prints the comparison.
pub(super) fn compare(args: &CompareArgs) -> Result<()> {
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    show!("{}", render(&a, &b).trim_end());
    Ok(())
}

fn read(file: &Path) -> Result<BenchResults> {
    let hint = "name two files that `tidewatch bench --json FILE` wrote";
    let cannot = || format!("cannot read results from {file:?}");
    let text = std::fs::read(file).map_err(|why| Error::config(cannot()).because(why).hint(hint))?;
    serde_json::from_slice(&text).map_err(|why| Error::config(cannot()).because(why).hint(hint))
}

/// A figure that is compared: its name, its format, and its value.
type Row = (&'static str, fn(f64) -> String, fn(&Figures) -> Option<Spread>);

const ROWS: [Row; 7] = [
    ("events/s", thousands, |figures| Some(figures.events_per_second)),
    ("CPU µs/event", |n| format!("{n:.3}"), |figures| Some(figures.cpu_us_per_event)),
    ("memory MB", |n| format!("{:.0}", n / 1e6), |figures| figures.memory_peak_bytes),
    ("p50 ms", milliseconds, |figures| figures.latency_ms.map(|latency| latency[0])),
    ("p99 ms", milliseconds, |figures| figures.latency_ms.map(|latency| latency[1])),
    ("p99.9 ms", milliseconds, |figures| figures.latency_ms.map(|latency| latency[2])),
    ("max ms", milliseconds, |figures| figures.latency_ms.map(|latency| latency[3])),
];

fn milliseconds(n: f64) -> String {
    format!("{n:.1}")
}

fn render(a: &BenchResults, b: &BenchResults) -> String {
    let mut text = String::new();
    for different in differences(a, b) {
        let _ = writeln!(text, "not the same: {different}");
    }
    let (before, after) = (figures(a), figures(b));
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["processes × workers", "", "A", "B", "B / A", ""]);
    for figures_b in &after {
        let Some(figures_a) = before.iter().find(|figures| figures.combination == figures_b.combination) else {
            continue;
        };
        for (name, show, figure) in ROWS {
            let (Some(a), Some(b)) = (figure(figures_a), figure(figures_b)) else { continue };
            table.add_row([
                figures_b.combination.to_string(),
                name.to_owned(),
                show(a.median),
                show(b.median),
                format!("{:.3}", b.median / a.median),
                if overlap(a, b) { "within the spread".to_owned() } else { String::new() },
            ]);
        }
    }
    table.column_iter_mut().skip(2).take(3).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let _ = writeln!(text, "{table}");
    for (name, ours, others) in [("A", &before, &after), ("B", &after, &before)] {
        for figures in ours.iter().filter(|f| !others.iter().any(|other| other.combination == f.combination)) {
            let _ = writeln!(text, "only in {name}: {}", figures.combination);
        }
    }
    text
}

/// Whether the spreads overlap, so that the medians may differ by chance.
fn overlap(a: Spread, b: Spread) -> bool {
    a.min <= b.max && b.min <= a.max
}

/// What else differs between the two results, since it may explain the ratios.
fn differences(a: &BenchResults, b: &BenchResults) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what}: {a} and {b}"));
        }
    };
    let rate =
        |results: &BenchResults| results.rate.map_or("as fast as possible".to_owned(), |rate| format!("{rate}/s"));
    let input = |results: &BenchResults| match results.generated.as_slice() {
        [] => "given input".to_owned(),
        inputs => {
            inputs.iter().map(|i| format!("{} records for {}", i.records, i.source)).collect::<Vec<_>>().join(", ")
        }
    };
    let machine = |results: &BenchResults| {
        let machine = &results.machine;
        format!("{} cores of {}", machine.cores, machine.cpu.as_deref().unwrap_or("an unknown CPU"))
    };
    compare("dataflow", a.dataflow.clone(), b.dataflow.clone());
    compare("machine", machine(a), machine(b));
    compare("profile", a.profile.clone(), b.profile.clone());
    compare("build", a.build.clone(), b.build.clone());
    compare("rate", rate(a), rate(b));
    compare("input", input(a), input(b));
    compare("settings", format!("[{}]", a.set.join(" ")), format!("[{}]", b.set.join(" ")));
    found
}

#[cfg(test)]
mod tests;
