//! The shipped dataflows over generated input, against plain batch programs that share nothing with the engine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidewatch::prelude::*;
use tidewatch::testing::{Step, TestRun, assert_same_rows, line};

use super::shipped::auth_windows::auth_windows;
use super::shipped::ssh_brute_force::ssh_brute_force;

/// A small generator of numbers, so that the input is the same on every machine (Knuth's MMIX constants).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Mostly small: the least of three.
    fn skewed(&mut self, limit: u64) -> u64 {
        (0..3).map(|_| self.below(limit)).min().unwrap()
    }
}

/// Lines of one partition: event times advance, with up to 8 s of disorder; about one line in 30 is not an event.
fn auth_lines(seed: u64, lines: usize) -> Vec<String> {
    let mut numbers = Numbers(seed);
    let line = |i: usize| {
        let at = 1_700_000_000_000 + i as i64 * 400 - numbers.below(8_000) as i64;
        let (ip, user, bytes) = (numbers.skewed(12), numbers.below(30), numbers.below(5_000));
        let outcome = if numbers.below(3) > 0 { "failure" } else { "success" };
        let whole = json!({ "ts": at, "host": "h1", "src_ip": format!("10.0.0.{ip}"), "user": format!("u{user}"),
            "action": "login", "outcome": outcome, "bytes": bytes, "message": "said \"no\"" });
        match numbers.below(90) {
            0 => whole.to_string()[..40].to_owned(),
            1 => whole.to_string().replace("\"ts\":", "\"ts\":\"").replace(",\"user\"", "\",\"user\""),
            2 => whole.to_string().replace("\"host\":\"h1\",", ""),
            3 => whole.to_string().replace("\"bytes\":", "\"bytes\":-1"),
            // Another order of fields and spaces are not faults.
            4 => serde_json::to_string_pretty(&whole).unwrap().replace('\n', " "),
            _ => whole.to_string(),
        }
    };
    (0..lines).map(line).collect()
}

/// The expected results of `auth-windows` over partitions of lines: rows, alerts, and lines that count in neither.
fn auth_windows_by_hand(partitions: &[Vec<String>]) -> (Vec<Value>, Vec<Value>, usize) {
    let mut groups: BTreeMap<(i64, String), Vec<Value>> = BTreeMap::new();
    let mut refused = 0;
    for lines in partitions {
        let mut greatest = i64::MIN;
        for line in lines {
            // What the dataflow does not use may be absent.
            let texts = ["src_ip", "user", "outcome"];
            let event = serde_json::from_str::<Value>(line).unwrap_or_default();
            let sound = texts.iter().all(|key| event[key].is_string()) && event["bytes"].is_u64();
            let Some(at) = event["ts"].as_i64().filter(|at| sound && *at >= greatest.saturating_sub(5_000)) else {
                refused += 1;
                continue;
            };
            greatest = greatest.max(at);
            groups.entry((at - at % 60_000, event["src_ip"].as_str().unwrap().to_owned())).or_default().push(event);
        }
    }
    let (mut rows, mut alerts) = (Vec::new(), Vec::new());
    for ((start, ip), events) in groups {
        let failures = events.iter().filter(|e| e["outcome"] == "failure").count();
        let users: BTreeSet<&str> = events.iter().map(|e| e["user"].as_str().unwrap()).collect();
        let bytes: u64 = events.iter().map(|e| e["bytes"].as_u64().unwrap()).sum();
        rows.push(json!({ "window_start": start, "src_ip": ip, "count": events.len(), "failures": failures,
            "distinct_users": users.len(), "sum_bytes": bytes, "avg_bytes": bytes as f64 / events.len() as f64 }));
        if failures >= 50 {
            alerts.push(json!({ "window_start": start, "src_ip": ip, "failures": failures }));
        }
    }
    (rows, alerts, refused)
}

#[test]
fn auth_windows_is_what_a_batch_program_says() {
    let partitions: Vec<Vec<String>> = (1..=3).map(|seed| auth_lines(seed, 700)).collect();
    let (rows, alerts, refused) = auth_windows_by_hand(&partitions);
    assert!(rows.len() > 50 && alerts.len() > 2 && refused > 100, "the input is too tame");

    let flow = dataflow("auth-windows", auth_windows).defaults(include_str!("../../config/auth-windows.toml"));
    let results = TestRun::new(flow).partitions("events", partitions.clone()).allow_late().everywhere().unwrap();
    assert_same_rows(&rows, results.json("windows"));
    assert_same_rows(&alerts, results.json("alerts"));
    assert_eq!(results.dead_letters().len(), refused);
}

/// An event, which one line of the log reports.
#[derive(Clone, Copy)]
struct Attempt {
    /// Seconds since midnight.
    at: i64,
    ip: u64,
    user: u64,
    accepted: bool,
    password: bool,
    times: u64,
}

const MIDNIGHT: i64 = 1_488_844_800; // 2017-03-07T00:00:00Z

impl Attempt {
    fn line(&self) -> String {
        let Attempt { at, ip, user, accepted, password, times } = *self;
        let verb = if accepted { "Accepted" } else { "Failed" };
        let method = if password { "password" } else { "publickey" };
        let invalid = if !accepted && user > 5 { "invalid user " } else { "" };
        let message = format!("{verb} {method} for {invalid}u{user} from 192.0.2.{ip} port 4{ip:03} ssh2");
        let message = if times > 1 { format!("message repeated {times} times: [ {message}]") } else { message };
        let (hours, minutes, seconds) = (at / 3600, at / 60 % 60, at % 60);
        format!("Mar  7 {hours:02}:{minutes:02}:{seconds:02} host sshd[77]: {message}")
    }
}

fn attempts(seed: u64, count: usize) -> Vec<Attempt> {
    let mut numbers = Numbers(seed);
    let attempt = |i: usize| Attempt {
        at: 1_000 + i as i64 * 40 - numbers.below(75) as i64,
        ip: numbers.skewed(9),
        user: numbers.skewed(12),
        accepted: numbers.below(12) == 0,
        password: numbers.below(8) > 0,
        times: if numbers.below(10) == 0 { 2 + numbers.below(4) } else { 1 },
    };
    (0..count).map(attempt).collect()
}

/// An attempt with the number of its line.
type Numbered = (usize, Attempt);

/// Attempts by password that are on time, grouped by address and window of `size` seconds, one of which begins every
/// `hop`.
fn grouped(partitions: &[Vec<Attempt>], size: i64, hop: i64) -> BTreeMap<(i64, u64), Vec<Numbered>> {
    let mut groups: BTreeMap<(i64, u64), Vec<Numbered>> = BTreeMap::new();
    for attempts in partitions {
        let mut greatest = 0;
        for (number, attempt) in attempts.iter().enumerate() {
            if attempt.at < greatest - 60 {
                continue;
            }
            greatest = greatest.max(attempt.at);
            let at = MIDNIGHT + attempt.at;
            for start in (0..size / hop).map(|back| at - at % hop - back * hop).filter(|_| attempt.password) {
                groups.entry((start, attempt.ip)).or_default().push((number + NOISE.len(), *attempt));
            }
        }
    }
    groups
}

/// The first lines of every partition, which are not attempts.
const NOISE: [&str; 4] = [
    "Mar  7 00:00:01 host CRON[1]: pam_unix(cron:session): session opened",
    "Mar  7 00:00:02 host sshd[1]: Server listening on :: port 22.",
    "no header",
    "",
];

#[test]
fn ssh_brute_force_is_what_a_batch_program_says() {
    let partitions: Vec<Vec<Attempt>> = (1..=3).map(|seed| attempts(seed, 400)).collect();
    let ms = |seconds: i64| seconds * 1000;
    let at = |attempt: &Attempt| ms(MIDNIGHT + attempt.at);
    let alert = |rule: &str, severity: &str, ip: u64, start: i64, size: i64, evidence: Value| {
        json!({ "rule": rule, "severity": severity, "key": format!("192.0.2.{ip}"), "window_start": ms(start),
            "window_end": ms(start + size), "evidence": evidence })
    };
    let failed = |attempts: &[Numbered]| attempts.iter().map(|(_, a)| *a).filter(|a| !a.accepted).collect::<Vec<_>>();
    let users = |attempts: &[Attempt]| attempts.iter().map(|a| a.user).collect::<BTreeSet<_>>().len();
    let times = |attempts: &[Attempt]| attempts.iter().map(|a| a.times).sum::<u64>();
    let last = |attempts: &[Attempt]| attempts.iter().map(at).max().unwrap_or(0);

    let (mut failures, mut spraying, mut alerts) = (Vec::new(), Vec::new(), Vec::new());
    for ((start, ip), attempts) in grouped(&partitions, 300, 300) {
        let failed = failed(&attempts);
        let Some(first) = failed.iter().map(at).min() else { continue };
        failures
            .push(json!({ "window_start": ms(start), "source_ip": format!("192.0.2.{ip}"), "failures": times(&failed),
            "users": users(&failed), "first": first, "last": last(&failed) }));
    }
    for ((start, ip), attempts) in grouped(&partitions, 3600, 3600) {
        let failed = failed(&attempts);
        if users(&failed) >= 3 {
            spraying.push(json!({ "window_start": ms(start), "source_ip": format!("192.0.2.{ip}"),
                "users": users(&failed), "failures": times(&failed) }));
        }
    }
    for ((start, ip), attempts) in grouped(&partitions, 300, 150) {
        let failed = failed(&attempts);
        let (times, last) = (times(&failed), last(&failed));
        if times >= 10 && last >= ms(start + 150) {
            let first = failed.iter().map(at).min();
            let evidence = json!({ "failures": times, "users": users(&failed), "first": first, "last": last });
            alerts.push(alert("ssh-brute-force", "high", ip, start, 300, evidence));
        }
    }
    for ((start, ip), attempts) in grouped(&partitions, 3600, 900) {
        let failed = failed(&attempts);
        if users(&failed) >= 3 && last(&failed) >= ms(start + 2700) {
            let evidence = json!({ "users": users(&failed), "failures": times(&failed) });
            alerts.push(alert("ssh-password-spraying", "medium", ip, start, 3600, evidence));
        }
        let place = |(number, attempt): &Numbered| (at(attempt), *number);
        let Some(success) = attempts.iter().filter(|a| a.1.accepted).map(place).max() else { continue };
        let before = attempts.iter().filter(|a| !a.1.accepted && place(a) < success).map(|a| a.1.times).sum::<u64>();
        if before >= 5 && success.0 >= ms(start + 2700) {
            let evidence = json!({ "failures": before, "last_success": success.0 });
            alerts.push(alert("ssh-success-after-failures", "critical", ip, start, 3600, evidence));
        }
    }
    for rule in ["ssh-brute-force", "ssh-password-spraying", "ssh-success-after-failures"] {
        assert!(alerts.iter().any(|alert| alert["rule"] == rule), "the input is too tame: no {rule}");
    }

    let steps = partitions.iter().map(|attempts| {
        let mut steps: Vec<Step> = NOISE.into_iter().map(line).collect();
        steps.extend(attempts.iter().map(|attempt| line(attempt.line())));
        steps
    });
    let flow = dataflow("ssh-brute-force", ssh_brute_force).defaults(include_str!("../../config/ssh-brute-force.toml"));
    let run = TestRun::new(flow).set("sources.auth.year=2017").set("sources.auth.out_of_order=\"60s\"");
    let run = run.partitions("auth", steps).allow_late();
    let results = run.everywhere().unwrap();
    assert_same_rows(&failures, results.json("failures"));
    assert_same_rows(&spraying, results.json("spraying"));
    let mut found = results.json("alerts");
    let ids: BTreeSet<String> = found.iter_mut().map(|alert| alert["alert_id"].take().to_string()).collect();
    assert_eq!(ids.len(), found.len(), "identities repeat");
    found.iter_mut().for_each(|alert| drop(alert.as_object_mut().unwrap().remove("alert_id")));
    assert_same_rows(&alerts, found);
    let keyed = results.keyed::<Value>("alerts");
    assert!(keyed.iter().all(|(key, alert)| alert["key"] == *key));
}
