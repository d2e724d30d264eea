use super::*;
use crate::cli::bench::collection::Collection;
use crate::cli::bench::results::{Answer, Machine};
use crate::record::Reason;

#[test]
fn a_median_is_the_middle_and_of_two_middles_the_mean() {
    let of = |values: &[f64]| Spread::of(values.iter().copied());
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
    assert_eq!(of(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
    assert_eq!(of(&[4.0, 1.0, 100.0, 2.0]), Some(Spread { median: 3.0, min: 1.0, max: 100.0 }));
    assert_eq!(of(&[1.0, 3.0]).unwrap().times(10.0), Spread { median: 20.0, min: 10.0, max: 30.0 });
}

/// A run of 1000 records and 10 rows.
pub(in crate::cli::bench) fn run(seconds: f64, cpu_seconds: f64) -> MeasuredRun {
    MeasuredRun {
        seconds,
        cpu_seconds,
        memory_peak_bytes: Some(50_000_000),
        bytes: 200_000,
        answer: Answer {
            records: [("in".to_owned(), 1_000)].into(),
            dead_letters: [("in".to_owned(), [(Reason::Late, 3)].into())].into(),
            rows: [("out".to_owned(), 10)].into(),
        },
        latency: None,
    }
}

pub(in crate::cli::bench) fn results(combinations: Vec<(u16, u16, Vec<MeasuredRun>)>) -> BenchResults {
    BenchResults {
        version: "0".into(),
        build: "0-0".into(),
        profile: "dist".into(),
        began: "2026-01-01T00:00:00Z".into(),
        machine: Machine { cores: 2, memory_bytes: None, cpu: None, system: "linux".into() },
        dataflow: "flow".into(),
        config: None,
        set: Vec::new(),
        generated: Vec::new(),
        rate: None,
        warmup: 1,
        changes: Vec::new(),
        combinations: combinations
            .into_iter()
            .map(|(processes, workers, runs)| {
                let combination = Combination { processes, workers };
                Measured { combination, runs, collections: Vec::new() }
            })
            .collect(),
    }
}

#[test]
fn speed_up_is_against_the_first_combination() {
    let results = results(vec![
        (1, 1, vec![run(1.0, 1.0), run(0.5, 0.5), run(2.0, 2.0)]),
        (1, 2, vec![run(0.5, 1.0)]),
        (2, 2, vec![run(0.4, 1.6)]),
    ]);
    let figures = figures(&results);
    assert_eq!(figures[0].events_per_second, Spread { median: 1_000.0, min: 500.0, max: 2_000.0 });
    assert_eq!((figures[1].speed_up(&figures[0]), figures[1].per_worker(&figures[0])), (2.0, 1.0));
    assert_eq!((figures[2].speed_up(&figures[0]), figures[2].per_worker(&figures[0])), (2.5, 0.625));
    assert_eq!((figures[2].cores.median, figures[2].cpu_us_per_event.median), (4.0, 1_600.0));
    assert!(figures[0].latency_ms.is_none());
}

#[test]
fn latencies_are_medians_of_each_run_s_percentile() {
    let with = |p50: f64| MeasuredRun {
        latency: Some(Latency { p50_ms: p50, p99_ms: 2.0 * p50, p99_9_ms: 3.0 * p50, max_ms: 4.0 * p50 }),
        ..run(1.0, 1.0)
    };
    let results = results(vec![(1, 1, vec![with(50.0), with(70.0), with(60.0)])]);
    let latency = figures(&results)[0].latency_ms.unwrap();
    assert_eq!(latency.map(|spread| spread.median), [60.0, 120.0, 180.0, 240.0]);
    assert_eq!((latency[0].min, latency[3].max), (50.0, 280.0));
}

#[test]
fn runs_that_differ_in_what_they_did_are_an_error() {
    let same = results(vec![(1, 1, vec![run(1.0, 1.0), run(2.0, 1.0)]), (2, 1, vec![run(3.0, 1.0)])]);
    assert!(agree(&same).is_ok());
    let differing = |change: fn(&mut Answer)| {
        let mut results = same.clone();
        change(&mut results.combinations[1].runs[0].answer);
        let error = agree(&results).unwrap_err();
        assert_eq!(error.kind().exit_code(), 70);
        error.to_string()
    };
    let said = differing(|answer| *answer.records.get_mut("in").unwrap() = 999);
    assert!(
        said.contains("records read of source \"in\": 1000 and 999, in run 1 of 1 × 1 and run 1 of 2 × 1"),
        "{said}"
    );
    let said = differing(|answer| *answer.rows.get_mut("out").unwrap() = 11);
    assert!(said.contains("rows of sink \"out\": 10 and 11"), "{said}");
    let said = differing(|answer| answer.dead_letters.clear());
    assert!(said.contains("dead letters late of source \"in\": 3 and 0"), "{said}");
    let said = differing(|answer| answer.rows.extend([("other".to_owned(), 1)]));
    assert!(said.contains("rows of sink \"other\": 0 and 1"), "{said}");
}

#[test]
fn rows_that_are_changes_may_differ_in_number_and_nothing_else_may() {
    let mut results = results(vec![(1, 1, vec![run(1.0, 1.0), run(1.0, 1.0)])]);
    results.changes = vec!["out".to_owned()];
    results.combinations[0].runs[1].answer.rows.insert("out".to_owned(), 11);
    assert!(agree(&results).is_ok());
    results.combinations[0].runs[1].answer.records.insert("in".to_owned(), 11);
    assert!(agree(&results).is_err());
    results.combinations[0].runs[1].answer.records.insert("in".to_owned(), 1_000);
}

#[test]
fn changes_add_up_to_the_same_in_every_run() {
    let mut results = results(vec![(1, 1, vec![run(1.0, 1.0)]), (1, 2, vec![run(1.0, 1.0)])]);
    let add_up_to = |sink: &str, hash: &str| [(sink.to_owned(), Collection { rows: 3, hash: hash.to_owned() })].into();
    results.combinations[0].collections = vec![add_up_to("out", "a")];
    // Another sink, or none, does not affect this one.
    results.combinations[1].collections = vec![add_up_to("other", "b"), add_up_to("out", "a")];
    assert!(agree(&results).is_ok());
    results.combinations[1].collections.push(add_up_to("out", "b"));
    let said = agree(&results).unwrap_err().to_string();
    assert!(said.contains("what the changes in sink \"out\" add up to: 3 rows (a) and 3 rows (b), in "), "{said}");
    assert!(said.contains("in 1 × 1 and 1 × 2"), "{said}");
}

#[test]
fn a_run_that_read_nothing_measured_nothing() {
    let mut empty = run(1.0, 1.0);
    empty.answer.records.insert("in".to_owned(), 0);
    let error = agree(&results(vec![(1, 1, vec![empty])])).unwrap_err();
    assert_eq!(error.kind().exit_code(), 2);
}
