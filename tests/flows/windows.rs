//! Windows over random events, compared with the batch oracle: for any number of workers, cut into epochs, and windows.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use tidewatch::flow::Dataflow;
use tidewatch::operators::interval::Intervals;
use tidewatch::prelude::*;
use tidewatch::testing::oracle::{self, assert_lawful};
use tidewatch::testing::{TestRun, assert_same_rows, difference, item, line};

#[derive(Event)]
struct Reading {
    #[event(time)]
    at: EventTime,
    key: u8,
    user: u8,
    value: i32,
}

const OUT_OF_ORDER_MS: u64 = 20;

/// The results of all aggregates over readings.
fn everything() -> impl Aggregate<Reading> {
    (
        Count,
        Sum::of(|r: &Reading| r.value),
        Distinct::of(|r: &Reading| &r.user),
        Min::of(|r: &Reading| r.value),
        Max::of(|r: &Reading| r.at),
        Mean::of(|r: &Reading| r.value),
        Variance::of(|r: &Reading| r.value),
    )
}

fn readings(intervals: Intervals) -> Dataflow {
    dataflow("readings", move |flow: &Flow, _: &NoParams| {
        let readings = flow.source::<Reading>("in")?;
        readings.key_by(|r| r.key).window("windows", intervals).aggregate(everything()).sink("out")
    })
}

fn run(intervals: Intervals, partitions: &[Vec<Reading>]) -> TestRun {
    let steps = partitions.iter().map(|readings| readings.iter().map(item).collect::<Vec<_>>());
    TestRun::new(readings(intervals))
        .set(format!("sources.in.out_of_order=\"{OUT_OF_ORDER_MS}ms\""))
        .partitions("in", steps)
        .allow_late()
}

/// Events whose times advance, with disorder that is sometimes more than is allowed.
fn partition() -> impl Strategy<Value = Vec<Reading>> {
    let reading = |(i, (jitter, key, user, value)): (usize, (i64, u8, u8, i32))| Reading {
        at: EventTime::from_millis(i as i64 * 4 + jitter),
        key,
        user,
        value,
    };
    prop::collection::vec((-40i64..40, 0u8..5, 0u8..4, -1_000_000i32..1_000_000), 0..60)
        .prop_map(move |parts| parts.into_iter().enumerate().map(reading).collect())
}

/// Tumbling windows, and hopping ones whose hop does or does not divide their size.
fn intervals() -> impl Strategy<Value = Intervals> {
    let ms = Duration::from_millis;
    (1u64..60, 1u64..60).prop_map(move |(a, b)| match a == b {
        true => Tumbling::of(ms(a)),
        false => Hopping::of(ms(a.max(b))).every(ms(a.min(b))),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_the_oracle(
        intervals in intervals(),
        partitions in prop::collection::vec(partition(), 3),
        workers in select(vec![1usize, 2, 4]),
        batch in select(vec![1usize, 3, 16, 1000]),
        paced in any::<bool>(),
    ) {
        let (on_time, late) = oracle::on_time(&partitions, Duration::from_millis(OUT_OF_ORDER_MS));
        let expected = oracle::windows(on_time, intervals, |r| r.key, &everything());
        let run = run(intervals, &partitions).workers(workers).batch(batch);
        let results = if paced { run.run() } else { run.unpaced().run() }.unwrap();
        let difference = difference(expected, results.json("out"));
        prop_assert!(difference.is_none(), "{}", difference.unwrap());
        prop_assert_eq!(results.dead_letters().len(), late.len());
    }
}

#[test]
fn the_standard_aggregates_are_lawful() {
    let reading = |i: i64| Reading {
        at: EventTime::from_millis(i * 7 % 11),
        key: 0,
        user: (i % 20) as u8,
        value: (i * 7919 % 1000) as i32,
    };
    assert_lawful(&everything(), &(0..40).map(reading).collect::<Vec<_>>());
}

#[test]
fn windows_of_windows_are_on_time() {
    let nested = dataflow("nested", |flow: &Flow, _: &NoParams| {
        let readings = flow.source::<Reading>("in")?;
        readings
            .key_by(|r| r.key)
            .window("small", Tumbling::of(Duration::from_millis(10)))
            .aggregate(Count)
            // By another key, so that rows change workers between the two.
            .key_by(|w| w.key % 2)
            .window("large", Tumbling::of(Duration::from_millis(30)))
            .aggregate(Sum::of(|w: &Window<u8, u64>| w.value))
            .sink("sums")
    });
    let at = |at: i64| item(json!({ "at": at, "key": at % 5, "user": 0, "value": 0 }));
    let results = TestRun::new(nested)
        .set("sources.in.out_of_order=\"0s\"")
        .partitions("in", [(0..200).step_by(3).map(at).collect::<Vec<_>>(), (0..150).map(at).collect()])
        .everywhere()
        .unwrap();
    let expected = (0..200).step_by(3).chain(0..150).map(|at| (at % 5 % 2, at / 30 * 30)).fold(
        std::collections::BTreeMap::<(i64, i64), u64>::new(),
        |mut counts, window| {
            *counts.entry(window).or_default() += 1;
            counts
        },
    );
    let row = |((key, start), n)| json!({ "key": key, "start": start, "end": start + 30, "value": n });
    assert_same_rows(expected.into_iter().map(row), results.json("sums"));
}

/// A check of the check: a record that is lost or taken twice must show.
#[test]
fn a_lost_or_repeated_record_is_told() {
    let intervals = Tumbling::of(Duration::from_millis(10));
    let reading = |i: i64| Reading { at: EventTime::from_millis(i), key: 0, user: 0, value: 1 };
    let expected = oracle::windows((0..20).map(reading), intervals, |r| r.key, &everything());
    let rows = |times: &[i64]| {
        let partitions = [times.iter().map(|t| reading(*t)).collect()];
        run(intervals, &partitions).run().unwrap().json("out")
    };
    let whole: Vec<i64> = (0..20).collect();
    assert_eq!(difference(&expected, rows(&whole)), None);
    assert!(difference(&expected, rows(&whole[1..])).unwrap().contains("missing"));
    assert!(difference(&expected, rows(&[&whole[..], &[19]].concat())).unwrap().contains("not expected"));
}

#[test]
fn a_stage_with_too_many_keys_stops_the_run() {
    let run = run(Tumbling::of(Duration::from_millis(10)), &[]).set("engine.keys_max=3");
    let at = |key: u8| item(json!({ "at": 1, "key": key, "user": 0, "value": 0 }));
    assert!(run.clone().source("in", (0..3).map(at)).run().is_ok());
    let error = run.source("in", (0..4).map(at).chain([line("")])).run().unwrap_err();
    assert_eq!(error.kind(), tidewatch::error::ErrorKind::State);
    assert!(error.to_string().contains("stage \"windows\" holds more than 3 entries"), "{error}");
}
