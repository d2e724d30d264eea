//! The examples of `docs/writing-dataflows.md`: each is run, and each stands in the document as it is.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tidewatch::prelude::*;
use tidewatch::record::Reason;
use tidewatch::testing::oracle::assert_lawful;
use tidewatch::testing::{Step, TestRun, assert_same_rows, item, line};

use super::examples::{baseline, brute_force, clean, escape_hatch, hello, own_aggregate, windows};

const MINUTE: i64 = 60_000;

#[test]
fn hello_greets() {
    let run = TestRun::new(dataflow("hello", hello::hello)).source("names", ["world", "you"]);
    assert_eq!(run.everywhere().unwrap().rows::<String>("greetings"), ["hello, world", "hello, you"]);
}

#[test]
fn clean_keeps_failures_of_accounts() {
    let login = |user: &str, outcome: &str| item(json!({ "at": 1, "user": user, "host": "h", "outcome": outcome }));
    let steps = [
        login("ann", "failure"),
        login("bob", "success"),
        login("", "failure"),
        login("monitor", "failure"),
        login("eve", "maybe"),
    ];
    let results = TestRun::new(dataflow("clean", clean::clean)).source("logins", steps).everywhere().unwrap();
    assert_same_rows([json!({ "at": 1, "account": "ann@h" })], results.json("failures"));
    let reasons: Vec<Reason> = results.dead_letters().iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, [Reason::Invalid, Reason::Malformed]);
    let stages = &results.totals().stages;
    assert_eq!((stages["failures"].filtered, stages["account"].filtered), (1, 1));
}

#[test]
fn windows_count_once_per_minute_and_twelve_times_per_hour() {
    let request = |at: i64, client: &str, path: &str| {
        item(json!({ "at": at, "client": client, "path": path, "bytes": 100, "seconds": 0.25 }))
    };
    let steps = [request(0, "10.0.0.1", "/a"), request(59_999, "10.0.0.1", "/b"), request(MINUTE, "10.0.0.2", "/a")];
    let results = TestRun::new(dataflow("traffic", windows::traffic)).source("requests", steps).everywhere().unwrap();
    let row = |minute: i64, client: &str, requests: u64| {
        json!({ "minute": minute, "client": client, "requests": requests, "paths": requests, "bytes": requests * 100,
            "slowest_ms": 250, "mean_seconds": 0.25 })
    };
    assert_same_rows([row(0, "10.0.0.1", 2), row(MINUTE, "10.0.0.2", 1)], results.json("traffic"));
    let hours: Vec<Window<Text, u64>> = results.rows("clients-per-path");
    let count = |path: &str| hours.iter().filter(|w| w.key == path).map(|w| w.value).collect::<Vec<_>>();
    assert_eq!((count("/a"), count("/b")), (vec![2; 12], vec![1; 12]));
}

#[test]
fn an_aggregate_of_ones_own_is_lawful_and_right() {
    let query = |domain: &str| json!({ "at": 1, "client": "10.0.0.1", "domain": domain });
    let domains = ["b", "a", "c", "b", "d", "c", "b"];
    let queries: Vec<own_aggregate::Query> =
        domains.iter().map(|domain| serde_json::from_value(query(domain)).unwrap()).collect();
    assert_lawful(&own_aggregate::TopDomains, &queries);

    let flow = dataflow("top-domains", own_aggregate::top_domains);
    let run = TestRun::new(flow)
        .partitions("queries", [&domains[..3], &domains[3..]].map(|d| d.iter().map(|d| item(query(d)))));
    let results = run.everywhere().unwrap();
    assert_eq!(results.json("top")[0]["value"], json!([7, [["b", 3], ["c", 2], ["a", 1]]]));
}

#[test]
fn a_baseline_tells_the_unusual_hour() {
    let hour = 60 * MINUTE;
    let transfer = |at: i64, user: &str, bytes: u64| item(json!({ "at": at, "user": user, "bytes": bytes }));
    let mut steps: Vec<Step> = Vec::new();
    for i in 0..30 {
        let odd = if i == 28 { 500_000_000 } else { 0 };
        steps.push(transfer(i * hour, "ann", 50_000_000 + (i as u64 % 3) * 1_000_000 + odd));
        steps.push(transfer(i * hour + MINUTE, "bob", 1_000 * (i as u64 + 1)));
    }
    let flow = dataflow("exfiltration", baseline::exfiltration).defaults(baseline::DEFAULTS);
    let results = TestRun::new(flow).source("transfers", steps).everywhere().unwrap();
    let alerts: Vec<Alert> = results.rows("alerts");
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!((alerts[0].key.as_str(), alerts[0].window_start.millis()), ("ann", 28 * hour));
    assert_eq!(alerts[0].evidence["bytes"], 551_000_000);
}

#[test]
fn brute_force_raises_an_alert_at_the_threshold() {
    let login = |ip: &str, i: i64, success: bool| {
        item(json!({ "at": i * 1000, "source_ip": ip, "user": format!("u{}", i % 3), "success": success }))
    };
    let steps = (0..10).map(|i| login("192.0.2.1", i, false));
    let steps = steps.chain((0..9).map(|i| login("192.0.2.2", i, false))).chain([login("192.0.2.2", 9, true)]);
    let run = TestRun::new(dataflow("brute-force", brute_force::brute_force))
        .set("params={ window = \"5m\", failures_min = 10 }")
        .set("sources.logins.out_of_order=\"1m\"")
        .source("logins", steps);
    let alert = Alert::new("brute-force", "192.0.2.1")
        .between(EventTime::from_millis(0), EventTime::from_millis(5 * MINUTE))
        .evidence("failures", 10)
        .evidence("users", 3);
    assert_same_rows([alert], run.everywhere().unwrap().json("alerts"));
    let lower = run.set("params.failures_min=9").everywhere().unwrap();
    assert_eq!(lower.json("alerts").len(), 2);
}

#[test]
fn the_escape_hatch_finds_what_can_be_reached() {
    let session = |from: &str, to: &str| item(json!({ "at": 1, "from": from, "to": to }));
    let hops = [("b", "c"), ("x", "y"), ("a", "b"), ("c", "a"), ("gateway", "a"), ("c", "d"), ("d", "gateway")];
    let run = TestRun::new(dataflow("reach", escape_hatch::reach).defaults("params.entry = \"gateway\""))
        .partitions("sessions", [&hops[..4], &hops[4..]].map(|hops| hops.iter().map(|(from, to)| session(from, to))));
    let row = |host: &str| json!({ "row": host, "by": 1 });
    assert_same_rows(["gateway", "a", "b", "c", "d"].map(row), run.everywhere().unwrap().json("reached"));
}

#[test]
fn the_document_shows_the_examples_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = root.join("docs/writing-dataflows.md");
    let before = std::fs::read_to_string(&document).unwrap();
    let (mut after, mut shown) = (String::new(), BTreeSet::new());
    let mut rest = before.as_str();
    while let Some(at) = rest.find("<!-- examples/") {
        let marker = &rest[at..=at + rest[at..].find('>').unwrap()];
        let name = marker.trim_start_matches("<!-- ").trim_end_matches(" -->");
        let block = rest[at..].find("```rust\n").unwrap() + at;
        assert_eq!(rest[at + marker.len()..block].trim(), "", "{name}: a block of rust follows the marker");
        let end = rest[block..].find("\n```\n").unwrap() + block;
        let file = std::fs::read_to_string(root.join(name)).unwrap();
        after += &rest[..block];
        after += &format!("```rust\n{}", file.trim_end());
        shown.insert(name.to_owned());
        rest = &rest[end..];
    }
    after += rest;
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&document, &after).unwrap();
    } else if let Some((line, (was, is))) =
        before.lines().zip(after.lines()).enumerate().find(|(_, (was, is))| was != is)
    {
        panic!("line {}: {was:?} is {is:?} in the example; UPDATE=1 rewrites the document", line + 1);
    } else {
        assert_eq!(before.len(), after.len(), "UPDATE=1 rewrites the document");
    }

    let lines = |name: &str| std::fs::read_to_string(root.join(name)).unwrap().lines().count();
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if !file.starts_with(|first: char| first.is_ascii_digit()) {
            continue; // not a rung: what a benchmark runs, for one
        }
        let name = format!("examples/{file}");
        assert!(shown.contains(&name), "{name} is not in the document");
        assert!(lines(&name) <= 80, "{name} is too long for a page");
    }
    assert!(lines("examples/01_hello.rs") <= 15 && lines("examples/06_brute_force.rs") <= 50);
}

#[test]
fn values_and_lines_can_be_mixed_in_a_script() {
    let steps: [Step; 3] = ["text".into(), line("more"), item(Value::Null)];
    let results = TestRun::new(dataflow("hello", hello::hello)).source("names", steps).run().unwrap();
    assert_eq!(results.rows::<String>("greetings"), ["hello, more", "hello, null", "hello, text"]);
}
