//! NEXMark's queries over generated events, against plain batch programs.

mod batch;

use batch::Events;
use tidewatch::connectors::generator::{Generator, GeneratorConfig, Profile};
use tidewatch::connectors::source::{Collector, Partition, Polled, SourceConnector, SourceContext};
use tidewatch::prelude::*;
use tidewatch::record::Reason;
use tidewatch::testing::{TestRun, assert_same_rows, line};

use super::shipped::nexmark;

const PARTITIONS: usize = 3;
/// Queries whose rows are changes of a collection.
const VIEWS: [usize; 3] = [3, 4, 6];

/// Half a minute of events or more, some of them out of order and some no events; an auction is open for half a minute.
fn config(query: usize) -> GeneratorConfig {
    GeneratorConfig {
        // What q2 and q3 look for is rare.
        events: Some(if matches!(query, 2 | 3) { 3_000 } else { 1_500 }),
        seed: 3,
        partitions: PARTITIONS as u32,
        events_per_second: 40.0,
        disorder: Duration::from_millis(700),
        malformed: 0.01,
        ..GeneratorConfig::of(Profile::Nexmark)
    }
}

/// Takes the lines of each partition.
struct Lines([Vec<String>; PARTITIONS]);

impl Collector for Lines {
    fn record(&mut self, partition: Partition, _: u64, bytes: &[u8]) {
        self.0[partition.0 as usize].push(String::from_utf8(bytes.to_vec()).unwrap());
    }
    fn joined(&mut self, _: Partition, _: &str) {}
    fn rejected(&mut self, _: Partition, _: u64, _: u64, _: &[u8], _: Reason, _: &str) {}
    fn caught_up(&mut self, _: Partition) {}
    fn lag(&mut self, _: Partition, _: u64) {}
    fn ended(&mut self, _: Partition) {}
}

fn generated(query: usize) -> [Vec<String>; PARTITIONS] {
    let context =
        SourceContext { name: "events".into(), worker: 0, workers: 1, record_bytes_max: 10_000, journals: None };
    let mut reader = Generator::new(&config(query)).open(&context).unwrap();
    let mut lines = Lines(Default::default());
    while reader.poll(1 << 20, &mut lines).unwrap() != Polled::Finished {}
    lines.0
}

fn check(query: usize) {
    let lines = generated(query);
    let events = Events::of(lines.iter().flatten());
    let expected = events.answer(query);
    assert!(expected.len() >= 4 && events.malformed > 5, "the input is too tame: {} rows", expected.len());

    let flow = nexmark::dataflows().remove(query);
    assert_eq!(flow.name(), format!("nexmark-q{query}"));
    let run = TestRun::new(flow)
        .set("sources.events.out_of_order=\"700ms\"")
        .partitions("events", lines.iter().map(|lines| lines.iter().map(line)));
    let found = match VIEWS.contains(&query) {
        true => run.everywhere().unwrap().collection("rows"),
        false => run.everywhere().unwrap().json("rows"),
    };
    assert_same_rows(expected, found);
}

#[test]
fn q0_passes_every_bid_on() {
    check(0);
}

#[test]
fn q1_converts_every_price() {
    check(1);
}

#[test]
fn q2_selects_bids_by_auction() {
    check(2);
}

#[test]
fn q3_finds_local_items() {
    check(3);
}

#[test]
fn q4_averages_the_prices_of_categories() {
    check(4);
}

#[test]
fn q4_counts_bids_from_the_opening_of_an_auction_to_its_end_inclusive() {
    let auction = r#"{"type":"auction","id":7,"item_name":"","description":"","initial_bid":1,"reserve":1,
        "date_time":100,"expires":200,"seller":1,"category":12,"extra":""}"#;
    let sold_for = |bids: &[(i64, u64)]| {
        let bid = |(at, price): &(i64, u64)| {
            line(format!(r#"{{"type":"bid","auction":7,"bidder":1,"price":{price},"date_time":{at},"extra":""}}"#))
        };
        let run = TestRun::new(nexmark::dataflows().remove(4)).changes("rows");
        let run = run.partitions("events", [vec![line(auction.replace('\n', ""))], bids.iter().map(bid).collect()]);
        let rows = run.everywhere().unwrap().collection::<serde_json::Value>("rows");
        rows.first().map(|row| row["price"].as_u64().unwrap())
    };
    assert_eq!(sold_for(&[(99, 9), (100, 5), (150, 4), (200, 3), (201, 8)]), Some(5));
    assert_eq!(sold_for(&[(99, 9), (100, 3), (200, 5), (201, 8)]), Some(5));
    assert_eq!(sold_for(&[(99, 9), (201, 8)]), None);
}

#[test]
fn q5_finds_the_hottest_items() {
    check(5);
}

#[test]
fn q6_averages_the_last_prices_of_sellers() {
    check(6);
}

#[test]
fn q7_finds_the_highest_bids() {
    check(7);
}

#[test]
fn q8_finds_new_sellers() {
    check(8);
}
