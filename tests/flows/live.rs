//! Live sources: the watermark of a quiet partition follows the clock, so that an attack followed by silence is
//! reported.

use serde_json::json;
use tidewatch::flow::Dataflow;
use tidewatch::prelude::*;
use tidewatch::record::Reason;
use tidewatch::testing::{Results, Step, TestRun, item, late, pause, stop};

#[derive(Event)]
struct Tick {
    #[event(time)]
    at: EventTime,
    key: u32,
}

/// The clock of a test run at its start, in milliseconds; a round advances it by 100 ms.
const START: i64 = 4_102_444_800_000;

fn counts() -> Dataflow {
    dataflow("counts", |flow: &Flow, _: &NoParams| {
        let ticks = flow.source::<Tick>("ticks")?;
        let windows = Tumbling::of(Duration::from_secs(10));
        ticks.key_by(|t| t.key).window("per-key", windows).aggregate(Count).sink("counts")
    })
}

fn merged() -> Dataflow {
    dataflow("merged", |flow: &Flow, _: &NoParams| {
        let (ticks, others) = (flow.source::<Tick>("ticks")?, flow.source::<Tick>("others")?);
        let windows = Tumbling::of(Duration::from_secs(10));
        ticks.merge("both", &[&others]).key_by(|t| t.key).window("per-key", windows).aggregate(Count).sink("counts")
    })
}

/// Quiet after five empty rounds; before anything is known of its delay, 5 s are assumed.
fn live(dataflow: Dataflow, sources: &[&str]) -> TestRun {
    sources.iter().fold(TestRun::new(dataflow), |run, source| {
        run.set(format!("sources.{source}.live=true"))
            .set(format!("sources.{source}.idle_after=\"500ms\""))
            .set(format!("sources.{source}.out_of_order=\"1s\""))
    })
}

/// An event `ms` after the run begins.
fn at(ms: i64) -> Step {
    item(json!({ "at": START + ms, "key": 1 }))
}

fn pauses(rounds: usize) -> Vec<Step> {
    vec![pause(); rounds]
}

/// On one worker: when something is reported depends on when it was read, and so on how fast workers are.
fn rows(run: TestRun, steps: &[Vec<Step>]) -> Results {
    run.source("ticks", steps.concat()).run().unwrap()
}

#[test]
fn an_attack_that_is_followed_by_silence_is_reported_once_its_window_is_as_old_as_what_was_seen_of_delays() {
    // It was 15 s old when it was read: for so long its window [-20 s, -10 s) is waited for, and 1 s for disorder.
    let attack = || vec![at(-15_000), at(-14_000), at(-13_000)];
    let early = rows(live(counts(), &["ticks"]), &[pauses(3), attack(), pauses(50), vec![stop()]]);
    assert!(early.json("counts").is_empty());
    let enough = rows(live(counts(), &["ticks"]), &[pauses(3), attack(), pauses(80), vec![stop()]]);
    assert_eq!(
        enough.json("counts"),
        [json!({ "key": 1, "start": START - 20_000, "end": START - 10_000, "value": 3 })]
    );
    // What was there before says nothing of delays.
    let backlog = rows(live(counts(), &["ticks"]), &[attack(), pauses(20), vec![stop()]]);
    assert_eq!(backlog.json("counts").len(), 1);
    // Without a live source, waiting has no effect.
    let batch = live(counts(), &["ticks"]).set("sources.ticks.live=false");
    assert!(rows(batch, &[attack(), pauses(80), vec![stop()]]).json("counts").is_empty());
}

#[test]
fn a_writer_that_flushes_now_and_then_loses_nothing() {
    let mut steps = pauses(20);
    for flush in 1..10 {
        // Everything since the last flush, 2 s before.
        let now = 2_000 * flush;
        steps.extend((1..=20).map(|n| at(now - 2_000 + 100 * n)));
        steps.extend(pauses(1));
        steps.extend(pauses(19));
    }
    let run = live(counts(), &["ticks"]).batch(20);
    let results = run.source("ticks", [steps, vec![stop()]].concat()).run().unwrap();
    assert!(results.dead_letters().is_empty(), "{:?}", results.dead_letters());
}

#[test]
fn what_a_quiet_source_brings_behind_the_clock_is_refused_and_lengthens_the_delay() {
    let steps = vec![at(-6_500), at(-6_400)];
    // Quiet for 3 s, so its watermark is at 3 - 1 - 5 s.
    let back = [pauses(30), vec![late(at(-5_000))], pauses(30), vec![at(0), at(5_000)]].concat();
    let results = rows(live(counts(), &["ticks"]), &[steps, back]);
    let reasons: Vec<Reason> = results.dead_letters().iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, [Reason::LateAfterIdle]);
}

#[test]
fn a_source_that_never_had_a_record_holds_back_no_merge() {
    let busy: Vec<Step> = (0..300).map(|n| at(100 * n - 20_000)).collect();
    let quiet = [pauses(300), vec![stop()]].concat();
    let run = |live_others: bool| {
        let run = live(merged(), &["ticks", "others"]).set(format!("sources.others.live={live_others}"));
        run.source("ticks", busy.clone()).source("others", quiet.clone()).everywhere().unwrap()
    };
    assert_eq!(run(true).json("counts").len(), 2);
    assert!(run(false).json("counts").is_empty());
}
