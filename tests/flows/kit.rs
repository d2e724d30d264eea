//! The test kit itself: what it lets through, and what it catches.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tidewatch::error::ErrorKind;
use tidewatch::flow::Dataflow;
use tidewatch::prelude::*;
use tidewatch::record::Reason;
use tidewatch::testing::{Step, TestRun, assert_same_rows, bytes, eof, item, late, line, pause, stop};

#[derive(Event)]
pub struct Tick {
    #[event(time)]
    at: EventTime,
    #[event(default)]
    key: u32,
}

fn counts() -> Dataflow {
    dataflow("counts", |flow: &Flow, _: &NoParams| {
        let ticks = flow.source::<Tick>("ticks")?;
        ticks.key_by(|t| t.key).window("per-key", Tumbling::of(Duration::from_secs(10))).aggregate(Count).sink("counts")
    })
}

fn at(seconds: i64) -> Step {
    item(json!({ "at": seconds * 1000 }))
}

fn row(start: i64, count: u64) -> serde_json::Value {
    json!({ "key": 0, "start": start * 1000, "end": (start + 10) * 1000, "value": count })
}

fn shout(flow: &Flow, _: &NoParams) -> Result<()> {
    flow.source::<Line>("lines")?.map("shout", |line| line.text.to_uppercase()).sink_keyed("out", |text| text.clone())
}

#[test]
fn what_goes_in_comes_out_on_any_number_of_workers() {
    let run = TestRun::new(dataflow("shout", shout)).partitions("lines", [vec!["a", "b"], vec!["c"], vec![]]);
    let results = run.everywhere().unwrap();
    assert_eq!(results.rows::<String>("out"), ["A", "B", "C"]);
    assert_eq!(results.keyed::<String>("out")[1], ("B".to_owned(), "B".to_owned()));
    assert_eq!((results.totals().read(), results.sink_names().collect::<Vec<_>>()), (3, vec!["out"]));
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_with_its_origin() {
    let results = TestRun::new(counts())
        .partitions("ticks", [vec![at(1), eof()], vec![line("no JSON"), bytes(*b"\xff"), at(1)]])
        .everywhere()
        .unwrap();
    let letters = results.dead_letters();
    let origins: Vec<_> = letters.iter().map(|l| (l.reason, l.partition.as_str(), l.offset)).collect();
    assert_eq!(origins, [(Reason::Malformed, "1", 0), (Reason::NotUtf8, "1", 1)]);
    assert_eq!(letters[0].text.as_deref(), Some("no JSON"));
    assert_same_rows([row(0, 2)], results.json("counts"));
}

#[test]
fn records_are_late_exactly_where_the_script_says_so() {
    let run = TestRun::new(counts());
    let good = run.clone().source("ticks", [at(100), late(at(1)), at(95), late(at(94))]).everywhere().unwrap();
    assert_same_rows([row(90, 1), row(100, 1)], good.json("counts"));

    let error = run.clone().source("ticks", [at(100), at(1), late(at(95))]).run().unwrap_err().to_string();
    assert!(
        error.contains("\"ticks\", partition \"0\", record 1 was late: event time 1970-01-01T00:00:01Z"),
        "{error}"
    );
    assert!(error.contains("record 2 is marked late(..) and was not late"), "{error}");

    let error = run.clone().allow_late().source("ticks", [at(100), at(1), late(at(95))]).run().unwrap_err();
    assert!(!error.to_string().contains("record 1 was late"), "{error}");
    assert!(run.allow_late().source("ticks", [at(100), at(1)]).run().is_ok());
}

#[test]
fn a_stopped_run_gives_no_row_of_an_open_window() {
    let run = TestRun::new(counts());
    let steps = |last: Step| [at(1), at(12), at(17), last, at(31), at(50)];
    let stopped = run.clone().partitions("ticks", [steps(stop())]).everywhere().unwrap();
    assert_same_rows([row(0, 1)], stopped.json("counts"));
    assert_eq!(stopped.totals().read(), 3);
    let whole = run.source("ticks", steps(pause())).everywhere().unwrap();
    assert_same_rows([row(0, 1), row(10, 2), row(30, 1), row(50, 1)], whole.json("counts"));
}

#[test]
fn a_stage_that_depends_on_anything_but_its_input_is_found_out() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let chance = dataflow("chance", |flow: &Flow, _: &NoParams| {
        let lines = flow.source::<Line>("lines")?;
        lines.map("number", |_| CALLS.fetch_add(1, Ordering::Relaxed)).sink("out")
    });
    let error = TestRun::new(chance).source("lines", ["a"]).everywhere().unwrap_err().to_string();
    assert!(
        error.contains("sink \"out\": 1 rows were expected, 1 were found\n  missing: 0\n  not expected: 1"),
        "{error}"
    );
}

#[test]
fn a_panic_in_a_stage_ends_the_run_on_all_workers() {
    let panics = dataflow("panics", |flow: &Flow, _: &NoParams| {
        let lines = flow.source::<Line>("lines")?;
        lines.map("check", |line| assert_ne!(line.text, "b", "a planted failure")).sink("out")
    });
    let error = TestRun::new(panics).workers(2).partitions("lines", [["a", "c"], ["b", "d"]]).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("a planted failure"), "{error}");
}

#[test]
fn scripts_and_configuration_are_checked_before_anything_runs() {
    let error = TestRun::new(counts()).run().unwrap_err().to_string();
    assert!(error.contains("\"ticks\"") && error.contains("give it a script"), "{error}");
    let error = TestRun::new(counts()).source("tocks", [at(1)]).run().unwrap_err().to_string();
    assert!(error.contains("sources.tocks: the dataflow has no such part; it has: ticks"), "{error}");
    let error = TestRun::new(counts()).source("ticks", [at(1)]).set("params.x=1").run().unwrap_err().to_string();
    assert!(error.contains("--set params.x"), "{error}");
    let error = TestRun::new(counts()).source("ticks", [pause()]).unpaced().run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn a_name_stands_for_one_thing_but_a_sink_may_have_that_of_its_stage() {
    let twice = |last: &'static str| {
        dataflow("twice", move |flow: &Flow, _: &NoParams| {
            let lines = flow.source::<Line>("lines")?;
            lines.filter("some", |_| true).sink("some")?;
            lines.filter(last, |_| true).sink(last)
        })
    };
    let fault = |last| TestRun::new(twice(last)).source("lines", ["a"]).run().unwrap_err().to_string();
    assert!(fault("some").contains("\"some\": there is a stage of this name already"), "{}", fault("some"));
    assert!(fault("some").contains("\"some\": there is a sink of this name already"), "{}", fault("some"));
    assert!(fault("lines").contains("\"lines\": there is a source of this name already"), "{}", fault("lines"));
    assert!(fault("dead_letters").contains("the sink of dead letters"), "{}", fault("dead_letters"));
    let results = TestRun::new(twice("all")).source("lines", ["a"]).run().unwrap();
    assert_eq!((results.json("some").len(), results.json("all").len()), (1, 1));
}

#[test]
#[should_panic(expected = "there is no sink \"rows\"; there are: counts")]
fn asking_for_a_sink_that_is_not_there_says_which_are() {
    TestRun::new(counts()).source("ticks", [at(1)]).run().unwrap().json("rows");
}

#[test]
fn changes_are_held_to_what_they_come_to() {
    let counted = dataflow("counted", |flow: &Flow, _: &NoParams| {
        let lines = flow.source::<Line>("lines")?.map("text", |line| line.text.to_string());
        let counts = lines.with_collection("count", |lines| lines.count());
        counts.sink("counts")?;
        // What stages make of changes is not known to be changes, whatever it is.
        counts.map("as-they-are", |change| change).sink("mapped")
    });
    let run = TestRun::new(counted).partitions("lines", [vec!["a", "b", "a"], vec!["a", "c"]]);
    // How often "a" was there on the way depends on the cut into epochs.
    let error = run.everywhere().unwrap_err().to_string();
    assert!(error.contains("sink \"mapped\": ") && !error.contains("sink \"counts\": "), "{error}");

    let results = run.changes("mapped").everywhere().unwrap();
    assert_eq!(results.collection::<(String, u64)>("counts"), [("a".into(), 3), ("b".into(), 1), ("c".into(), 1)]);
    assert!(results.json("counts").len() > 3, "the steps are there, too");
}

#[test]
#[should_panic(expected = "\"a\" is there -1 times")]
fn a_row_that_was_not_there_cannot_be_taken_away() {
    let negated = dataflow("negated", |flow: &Flow, _: &NoParams| {
        let lines = flow.source::<Line>("lines")?.map("text", |line| line.text.to_string());
        lines.with_collection("negate", |lines| lines.negate()).sink("rows")
    });
    TestRun::new(negated).source("lines", ["a"]).run().unwrap().collection::<String>("rows");
}
