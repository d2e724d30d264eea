//! `ssh-brute-force` over logs as daemons write them: what must be counted, and what must raise an alert.

use serde_json::{Value, json};
use tidewatch::prelude::*;
use tidewatch::testing::{Results, TestRun, assert_same_rows, bytes};

use super::shipped::ssh_brute_force::ssh_brute_force;

/// A run over the lines of one partition; of it, late ones are a failure.
fn run(lines: &[String], settings: &[&str]) -> Results {
    let defaults = include_str!("../../config/ssh-brute-force.toml");
    let run = TestRun::new(dataflow("ssh-brute-force", ssh_brute_force).defaults(defaults));
    let run = run.set("sources.auth.year=2026").source("auth", lines.iter().map(|line| bytes(line.as_bytes())));
    settings.iter().fold(run, |run, setting| run.set(*setting)).everywhere().unwrap()
}

/// The sum of all failures of each source.
fn failures(results: &Results) -> Vec<(String, u64)> {
    let mut sums = std::collections::BTreeMap::new();
    for row in results.json("failures") {
        *sums.entry(row["source_ip"].as_str().unwrap().to_owned()).or_default() += row["failures"].as_u64().unwrap();
    }
    sums.into_iter().collect()
}

/// Rule, key, and the evidence named `evidence`, of every alert.
fn alerts(results: &Results, evidence: &str) -> Vec<(String, String, u64)> {
    let text = |alert: &Value, field: &str| alert[field].as_str().unwrap().to_owned();
    let alert =
        |alert: &Value| (text(alert, "rule"), text(alert, "key"), alert["evidence"][evidence].as_u64().unwrap());
    let mut alerts: Vec<_> = results.json("alerts").iter().map(alert).collect();
    alerts.sort();
    alerts
}

fn alert(rule: &str, key: &str, evidence: u64) -> (String, String, u64) {
    (rule.to_owned(), key.to_owned(), evidence)
}

/// A line on 7 June 2026, `seconds` after noon.
fn at(seconds: u32, message: &str) -> String {
    let (hours, minutes) = (12 + seconds / 3600, seconds / 60 % 60);
    format!("Jun  7 {hours:02}:{minutes:02}:{:02} gate sshd[{}]: {message}", seconds % 60, 700 + seconds)
}

fn failed(source: &str) -> String {
    format!("Failed password for root from {source} port 50022 ssh2")
}

#[test]
fn whatever_writes_the_line_its_failures_are_counted() {
    let message = failed("198.51.100.7");
    let heads: [&dyn Fn(u32) -> String; 9] = [
        &|s| format!("<86>Jun  7 12:00:{s:02} gate sshd[1]: {message}"),
        &|s| format!("<86>1 2026-06-07T12:00:{s:02}.5Z gate sshd 1 - - {message}"),
        &|s| format!("Jun  7 12:00:{s:02} gate authpriv.info sshd[1]: {message}"),
        &|s| format!("Jun  7 12:00:{s:02}.250 gate /usr/sbin/sshd[1]:  {message}"),
        &|s| format!("\u{feff}2026-06-07T12:00:{s:02} gate sshd-session[1]: {message} [preauth]"),
        &|s| format!("\0\0\0Jun  7 12:00:{s:02} sshd-auth[1] {message}\0"),
        &|s| format!("Sun Jun  7 12:00:{s:02} 2026 auth.info sshd[1]: {message}\r"),
        &|s| format!("juin 07 12:00:{s:02} gate sshd: [ID 800047 auth.info] {message}"),
        &|s| format!("{} gate sshd[1]: {}", 1_780_833_600 + s, failed("::ffff:198.51.100.7")),
    ];
    for (number, head) in heads.into_iter().enumerate() {
        let results = run(&(0..12).map(head).collect::<Vec<_>>(), &[]);
        assert_eq!(failures(&results), [("198.51.100.7".to_owned(), 12)], "{number}");
        assert_eq!(alerts(&results, "failures"), [alert("ssh-brute-force", "198.51.100.7", 12)], "{number}");
    }
}

#[test]
fn what_is_not_understood_is_a_dead_letter_and_what_is_not_about_logins_is_filtered() {
    let lines = [
        at(0, "Failed password for root at 192.0.2.1"),
        "Jun  7 12:00:01 gate the sshd[1]: Failed password for root from 192.0.2.1 port 22 ssh2".to_owned(),
        "Jun  7 12:00:02 gate CRON[1]: pam_unix(cron:session): session closed for user root".to_owned(),
        at(3, "Server listening on :: port 22."),
        at(4, &failed("192.0.2.1")),
        "-- Boot 0123456789abcdef0123456789abcdef --".to_owned(),
    ];
    let results = run(&lines, &[]);
    let letters: Vec<u64> = results.dead_letters().iter().map(|letter| letter.offset).collect();
    assert_eq!(letters, [0, 1, 5]);
    assert_eq!(failures(&results), [("192.0.2.1".to_owned(), 1)]);
}

#[test]
fn an_attack_across_the_boundary_of_a_window_raises_one_alert() {
    // Six and six around 12:05, five and five around 13:00 with a success.
    let burst = (0..12).map(|n| at(270 + n * 5, &failed("192.0.2.1")));
    let guess = (0..10).map(|n| at(3575 + n * 5, &failed("192.0.2.2")));
    let success = at(3630, "Accepted password for root from 192.0.2.2 port 50022 ssh2");
    let results = run(&burst.chain(guess).chain([success]).collect::<Vec<_>>(), &[]);
    assert_eq!(
        alerts(&results, "failures"),
        [
            alert("ssh-brute-force", "192.0.2.1", 12),
            alert("ssh-brute-force", "192.0.2.2", 10),
            alert("ssh-success-after-failures", "192.0.2.2", 10),
        ]
    );
    let row = |source: &str, window: i64, failures: u32, first: i64, last: i64| {
        let ms = |seconds: i64| 1_780_833_600_000 + seconds * 1000;
        json!({ "window_start": ms(window), "source_ip": source, "failures": failures, "users": 1,
            "first": ms(first), "last": ms(last) })
    };
    let rows = [
        row("192.0.2.1", 0, 6, 270, 295),
        row("192.0.2.1", 300, 6, 300, 325),
        row("192.0.2.2", 3300, 5, 3575, 3595),
        row("192.0.2.2", 3600, 5, 3600, 3620),
    ];
    assert_same_rows(rows, results.json("failures"));
}

#[test]
fn only_failures_before_a_success_count_also_within_one_second() {
    let accepted = [at(60, "Accepted password for root from 192.0.2.1 port 50022 ssh2")];
    let dialogue = [at(60, "Accepted keyboard-interactive/pam for root from 192.0.2.1 port 50022 ssh2")];
    let failures: Vec<String> = (0..5).map(|_| at(60, &failed("192.0.2.1"))).collect();
    let guessed = |lines: &[&[String]]| {
        let results = run(&lines.concat(), &[]);
        let alerts = results.json("alerts");
        alerts.iter().filter(|alert| alert["rule"] == "ssh-success-after-failures").count()
    };
    assert_eq!(guessed(&[&accepted, &failures]), 0);
    assert_eq!(guessed(&[&failures, &accepted]), 1);
    assert_eq!(guessed(&[&failures, &dialogue]), 1);
    assert_eq!(guessed(&[&failures[..4], &accepted, &failures[4..]]), 0);
    assert_eq!(guessed(&[&failures[..3], &accepted, &failures[3..], &accepted]), 1);
}

#[test]
fn probing_for_users_is_enumeration_and_passwords_for_them_are_spraying() {
    let probe = |n: u32| {
        [
            at(n, &format!("Invalid user u{n} from 192.0.2.1 port 50022")),
            at(n, &format!("Connection closed by invalid user u{n} 192.0.2.1 port 50022 [preauth]")),
        ]
    };
    let results = run(&(0..30).flat_map(probe).collect::<Vec<_>>(), &[]);
    assert_eq!(alerts(&results, "users"), [alert("ssh-user-enumeration", "192.0.2.1", 30)]);
    assert_eq!(alerts(&results, "probes"), [alert("ssh-user-enumeration", "192.0.2.1", 30)]);
    assert!(failures(&results).is_empty());
    assert!(alerts(&run(&(0..4).flat_map(probe).collect::<Vec<_>>(), &[]), "users").is_empty(), "too few");

    let try_password = |n: u32| {
        [
            at(n * 300, &format!("Invalid user u{n} from 192.0.2.1 port 50022")),
            at(n * 300, &format!("Failed password for invalid user u{n} from 192.0.2.1 port 50022 ssh2")),
        ]
    };
    let results = run(&(0..3).flat_map(try_password).collect::<Vec<_>>(), &["params.unknown_users_min=3"]);
    assert_eq!(alerts(&results, "users"), [alert("ssh-password-spraying", "192.0.2.1", 3)]);
}

#[test]
fn a_dialogue_counts_once_whoever_reports_it() {
    let dialogue = |n: u32| {
        [
            at(n, "error: PAM: Authentication failure for illegal user ann from 192.0.2.1"),
            at(n, "Failed keyboard-interactive/pam for invalid user ann from 192.0.2.1 port 50022 ssh2"),
        ]
    };
    let results = run(&(0..15).flat_map(dialogue).collect::<Vec<_>>(), &[]);
    assert_eq!(alerts(&results, "failures"), [alert("ssh-brute-force", "192.0.2.1", 15)]);
    let repeated = ["Jun  7 12:00:20 gate last message repeated 9 times".to_owned()];
    let results = run(&[&dialogue(0)[..], &repeated[..]].concat(), &[]);
    assert_eq!(alerts(&results, "failures"), [alert("ssh-brute-force", "192.0.2.1", 10)]);
}

#[test]
fn networks_and_disconnects_count_if_the_configuration_says_so() {
    let lines: Vec<String> = (0..12).map(|n| at(n, &failed(&format!("2001:db8:7:8::{n:x}")))).collect();
    assert!(alerts(&run(&lines, &[]), "failures").is_empty());
    for (prefix, network) in [(64, "2001:db8:7:8::/64"), (56, "2001:db8:7::/56"), (1, "::/1")] {
        let results = run(&lines, &[&format!("params.ipv6_prefix={prefix}")]);
        assert_eq!(alerts(&results, "failures"), [alert("ssh-brute-force", network, 12)]);
    }
    for wrong in ["0", "129", "256", "-1", "\"64\""] {
        let setting = format!("params.ipv6_prefix={wrong}");
        let defaults = include_str!("../../config/ssh-brute-force.toml");
        let flow = dataflow("ssh-brute-force", ssh_brute_force).defaults(defaults);
        let error = TestRun::new(flow).set(setting).source("auth", lines.clone()).run().unwrap_err();
        assert!(error.to_string().contains("params.ipv6_prefix"), "{error}");
    }

    let disconnect = |n| at(n, "Connection closed by authenticating user root 192.0.2.5 port 50022 [preauth]");
    let lines: Vec<String> = (0..12).map(disconnect).collect();
    assert!(failures(&run(&lines, &[])).is_empty());
    let results = run(&lines, &["params.disconnects_are_failures=true"]);
    assert_eq!(alerts(&results, "failures"), [alert("ssh-brute-force", "192.0.2.5", 12)]);
}

#[test]
fn both_passes_through_the_hour_in_which_clocks_go_back_are_counted() {
    let line = |minute: u32, second: u32, source: &str| {
        format!("Oct 25 {:02}:{:02}:{second:02} gate sshd[1]: {}", minute / 60, minute % 60, failed(source))
    };
    let mut lines: Vec<String> = (115..178).map(|minute| line(minute, 0, "192.0.2.1")).collect();
    lines.extend((0..50).map(|second| line(125, second, "192.0.2.2")));
    lines.extend((0..50).map(|second| line(185, second, "192.0.2.3")));
    let results = run(&lines, &["sources.auth.zone=Europe/Vienna"]);
    let counts = [("192.0.2.1", 63), ("192.0.2.2", 50), ("192.0.2.3", 50)];
    assert_eq!(failures(&results), counts.map(|(source, n)| (source.to_owned(), n)));
    let expected = [alert("ssh-brute-force", "192.0.2.2", 50), alert("ssh-brute-force", "192.0.2.3", 50)];
    assert_eq!(alerts(&results, "failures"), expected);
}
