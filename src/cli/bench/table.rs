//! Results as a table for people.

use std::fmt::Write;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::results::BenchResults;
use super::summary::{Figures, Spread, figures};

/// How much longer than its records took to arrive a run may take until it counts as too slow for them: a share, and
/// seconds for its start and its end, where a replay waits for a moment.
const BEHIND_SHARE: f64 = 1.05;
const BEHIND_SECONDS: f64 = 1.0;

/// The results as text: what was measured, the table, and remarks.
pub(super) fn render(results: &BenchResults) -> String {
    let all = figures(results);
    let mut text = heading(results);
    let Some(first) = all.first() else { return text };
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    let at_rate = results.rate.is_some();
    let header: &[&str] = if at_rate {
        &["processes × workers", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "cores busy", "CPU µs/event", "memory MB"]
    } else {
        &["processes × workers", "events/s", "MB/s", "speed-up", "per worker", "CPU s", "CPU µs/event", "memory MB"]
    };
    table.set_header(header.iter().copied());
    for figures in &all {
        table.add_row(if at_rate { at_a_rate(figures) } else { at_full_speed(figures, first) });
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let _ = writeln!(text, "{table}");
    text.push_str(&note(results, &all));
    text
}

fn heading(results: &BenchResults) -> String {
    let mut text = String::new();
    let machine = &results.machine;
    let memory = machine.memory_bytes.map(|bytes| format!(", {:.0} GB", bytes as f64 / 1e9)).unwrap_or_default();
    let cpu = machine.cpu.as_deref().unwrap_or("CPU unknown");
    let _ = writeln!(text, "{} on {} cores ({cpu}){memory}", results.dataflow, machine.cores);
    let _ = match results.profile.as_str() {
        "dist" => writeln!(text, "built with the profile dist"),
        other => writeln!(
            text,
            "built with the profile {other}: quick to build, and slower than dist (cargo build --profile dist)"
        ),
    };
    for input in &results.generated {
        let _ = writeln!(
            text,
            "source {}: {} generated records of {:.0} bytes in {} partition{}",
            input.source,
            input.records,
            input.bytes as f64 / input.records.max(1) as f64,
            input.partitions,
            if input.partitions == 1 { "" } else { "s" }
        );
    }
    text
}

fn at_full_speed(figures: &Figures, first: &Figures) -> Vec<String> {
    vec![
        figures.combination.to_string(),
        shown(figures.events_per_second, thousands),
        shown(figures.bytes_per_second.times(1e-6), |n| format!("{n:.0}")),
        format!("{:.2}", figures.speed_up(first)),
        format!("{:.0} %", figures.per_worker(first) * 100.0),
        shown(figures.cpu_seconds, |n| format!("{n:.2}")),
        shown(figures.cpu_us_per_event, |n| format!("{n:.3}")),
        memory(figures),
    ]
}

fn at_a_rate(figures: &Figures) -> Vec<String> {
    let mut row = vec![figures.combination.to_string()];
    match figures.latency_ms {
        Some(latency) => row.extend(latency.map(|ms| shown(ms, |n| format!("{n:.1}")))),
        None => row.extend(["–"; 4].map(str::to_owned)),
    }
    row.extend([
        shown(figures.cores, |n| format!("{n:.2}")),
        shown(figures.cpu_us_per_event, |n| format!("{n:.3}")),
        memory(figures),
    ]);
    row
}

fn memory(figures: &Figures) -> String {
    let shown = |bytes: Spread| shown(bytes.times(1e-6), |n| format!("{n:.0}"));
    figures.memory_peak_bytes.map_or_else(|| "–".to_owned(), shown)
}

/// The median, and below it the spread.
fn shown(spread: Spread, number: impl Fn(f64) -> String) -> String {
    let (median, min, max) = (number(spread.median), number(spread.min), number(spread.max));
    if min == max { median } else { format!("{median}\n{min} – {max}") }
}

/// A number of events: 845, 12.3 k, 4.56 M.
pub(super) fn thousands(n: f64) -> String {
    match n {
        _ if n < 1e3 => format!("{n:.0}"),
        _ if n < 1e5 => format!("{:.1} k", n / 1e3),
        _ if n < 1e6 => format!("{:.0} k", n / 1e3),
        _ => format!("{:.2} M", n / 1e6),
    }
}

fn note(results: &BenchResults, all: &[Figures]) -> String {
    let runs = results.combinations.first().map_or(0, |measured| measured.runs.len());
    let of = if runs == 1 { "one run".to_owned() } else { format!("medians of {runs} runs, least – greatest") };
    let Some(rate) = results.rate else {
        return format!("{of}; as fast as records are read, so latency, that of a full queue, is not shown\n");
    };
    let mut text =
        format!("{of}; latency from read (or due) to release, {} events/s offered\n", thousands(rate as f64));
    for figures in all {
        if is_behind(results, figures) {
            let _ = writeln!(
                text,
                "{}: too slow for this rate; the latency is that of a queue that grows as long as the run lasts",
                figures.combination
            );
        }
    }
    text
}

/// Whether the dataflow took markedly longer than its records took to arrive.
fn is_behind(results: &BenchResults, figures: &Figures) -> bool {
    let Some(rate) = results.rate else { return false };
    let longest = results.generated.iter().map(|input| input.records).max().unwrap_or(0) as f64 / rate as f64;
    figures.seconds.median > longest * BEHIND_SHARE + BEHIND_SECONDS
}
