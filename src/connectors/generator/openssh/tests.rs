use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::codec::openssh::{Address, AuthEvent, AuthLine, AuthOptions};
use crate::record::{Decode, Decoder, Reason};
use crate::time::millis;

const MINUTES_5: i64 = 300_000;
const HOUR: i64 = 3_600_000;

/// A failed login as the decoder sees it.
struct FailedLogin {
    at: i64,
    from: Address,
    user: String,
    times: u64,
}

struct DecodedLogs {
    lines: Vec<(LogLine, Option<AuthLine>)>,
    failures: Vec<FailedLogin>,
}

/// Decodes every host's lines in their order.
fn read(config: &GeneratorConfig) -> DecodedLogs {
    let mut decoders = BTreeMap::new();
    let mut failures = Vec::new();
    let lines: Vec<_> = AuthLog::new(config)
        .map(|line| {
            let decoder = decoders
                .entry(line.partition)
                .or_insert_with(|| AuthLine::decoder(&AuthOptions { year: Some(2026), zone: None }));
            let decoded = match decoder.decode(&line.bytes, 0) {
                Ok(decoded) => Some(decoded),
                Err(rejection) => {
                    assert_eq!(rejection.reason, Reason::Malformed);
                    None
                }
            };
            if let Some(AuthLine { at, repeated, event: AuthEvent::Failed { user, source_ip, .. }, .. }) = &decoded {
                failures.push(FailedLogin {
                    at: at.millis(),
                    from: source_ip.clone(),
                    user: user.to_string(),
                    times: u64::from(*repeated),
                });
            }
            (line, decoded)
        })
        .collect();
    DecodedLogs { lines, failures }
}

/// Failures and distinct users per address and aligned window.
fn windows(failures: &[FailedLogin], size_ms: i64) -> BTreeMap<(Address, i64), (u64, BTreeSet<&str>)> {
    let mut windows: BTreeMap<(Address, i64), (u64, BTreeSet<&str>)> = BTreeMap::new();
    for failure in failures {
        let start = EventTime::from_millis(failure.at).align_down(size_ms).millis();
        let (count, users) = windows.entry((failure.from.clone(), start)).or_default();
        *count += failure.times;
        users.insert(&failure.user);
    }
    windows
}

#[test]
fn the_demo_has_its_size_and_is_the_same_every_time() {
    let lines: Vec<LogLine> = AuthLog::new(&demo(42)).collect();
    assert_eq!(lines.len(), 60_000);
    assert!(lines.iter().eq(AuthLog::new(&demo(42)).collect::<Vec<_>>().iter()));
    assert!(!lines.iter().eq(AuthLog::new(&demo(43)).collect::<Vec<_>>().iter()));
    for partition in 0..4 {
        assert_eq!(lines.iter().filter(|line| line.partition == partition).count(), 15_000);
    }
    let hosts: BTreeSet<&str> = lines.iter().map(|line| line.host.as_str()).collect();
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["bastion-01", "build-01", "db-01", "web-01"]);
    let last = lines.iter().map(|line| line.at).max().unwrap();
    let hours = (last.millis() - demo(42).start.millis()) as f64 / HOUR as f64;
    assert!((5.9..=6.0).contains(&hours), "{hours} hours");
}

#[test]
fn every_line_is_read_but_those_meant_to_be_refused() {
    for malformed in [0.0, 0.001, 0.2] {
        let config = GeneratorConfig { malformed, ..demo(7) };
        let read = read(&config);
        for (line, decoded) in &read.lines {
            assert_eq!(line.malformed, decoded.is_none(), "{:?}", String::from_utf8_lossy(&line.bytes));
            let Some(decoded) = decoded else { continue };
            assert_eq!(decoded.host, line.host);
            assert_eq!(decoded.at.align_down(1000), line.at.align_down(1000));
        }
        let share = read.lines.iter().filter(|(line, _)| line.malformed).count() as f64 / read.lines.len() as f64;
        assert!((malformed * 0.5..=malformed * 1.5).contains(&share), "{share} instead of {malformed}");
    }
}

#[test]
fn lines_are_disordered_and_not_by_more_than_configured() {
    for (disorder, expected) in [(0, false), (5_000, true), (60_000, true)] {
        let read =
            read(&GeneratorConfig { disorder: Duration::from_millis(disorder), events: Some(20_000), ..demo(3) });
        let mut newest = [i64::MIN; 4];
        let mut behind = 0;
        for (line, decoded) in &read.lines {
            let Some(decoded) = decoded else { continue };
            let newest = &mut newest[line.partition as usize];
            *newest = (*newest).max(decoded.at.millis());
            behind = behind.max(*newest - decoded.at.millis());
        }
        assert!(behind <= disorder as i64, "{behind} ms behind at {disorder}");
        assert_eq!(behind > 0, expected, "{behind} ms behind at {disorder}");
    }
}

#[test]
fn planted_attacks_are_in_the_lines_and_exceed_the_thresholds() {
    for seed in 0..2 {
        let config = demo(seed);
        let read = read(&config);
        let plan = Plan::new(&config);
        assert_eq!(plan.attacks().len(), 8, "seed {seed}");
        let addresses: BTreeSet<_> = plan.attacks().iter().map(|attack| attack.source_ip).collect();
        assert_eq!(addresses.len(), 8);
        let (short, long) = (windows(&read.failures, MINUTES_5), windows(&read.failures, HOUR));
        for attack in plan.attacks() {
            let from = Address::Ip(attack.source_ip);
            let mine: Vec<_> = read.failures.iter().filter(|failure| failure.from == from).collect();
            assert_eq!(mine.iter().map(|failure| failure.times).sum::<u64>(), attack.failures);
            let users: BTreeSet<&str> = mine.iter().map(|failure| failure.user.as_str()).collect();
            let logins: Vec<_> = read
                .lines
                .iter()
                .filter_map(|(_, line)| line.as_ref())
                .filter(|line| {
                    matches!(line.event, AuthEvent::Accepted { .. }) && line.event.source_ip() == Some(&from)
                })
                .collect();
            let planned: BTreeSet<&str> = attack.users.iter().map(|user| user.as_str()).collect();
            let tried = logins.iter().map(|line| line.event.user().unwrap().as_str()).chain(users).collect();
            assert_eq!(planned, tried);
            for (line, _) in
                read.lines.iter().filter(|(_, l)| l.as_ref().is_some_and(|line| line.event.source_ip() == Some(&from)))
            {
                assert!((attack.from..attack.until).contains(&line.at) && attack.hosts.contains(&line.host));
            }
            let most = short.iter().filter(|((ip, _), _)| *ip == from).map(|(_, (n, _))| *n).max().unwrap();
            match attack.kind {
                AttackKind::Spraying => {
                    assert!(most < 5, "a spraying is no brute force: {most}");
                    let users = long.iter().filter(|((ip, _), _)| *ip == from).map(|(_, (_, u))| u.len()).max();
                    assert!(users.unwrap() >= 10);
                    assert!(attack.users.iter().any(|user| user.contains(" from 192.0.2.66 port 22")));
                    assert_eq!(attack.hosts.len(), 4);
                }
                kind => {
                    assert!(most >= 12);
                    assert_eq!(logins.len(), usize::from(kind == AttackKind::SuccessAfterFailures));
                    let last = mine.iter().map(|failure| failure.at).max().unwrap();
                    assert!(logins.iter().all(|login| login.at.millis() >= last && login.at.millis() < last + 60_000));
                }
            }
        }
        // Nobody else comes near.
        let planned = |ip: &Address| ip.ip().is_some_and(|ip| addresses.contains(&ip));
        for ((ip, _), (count, _)) in short.iter().filter(|((ip, _), _)| !planned(ip)) {
            assert!(*count <= ORDINARY_FAILURES_MAX, "{ip} fails {count} times in 5 minutes");
        }
        for ((ip, _), (_, users)) in long.iter().filter(|((ip, _), _)| !planned(ip)) {
            assert!(users.len() <= 2, "{ip} tries {users:?}");
        }
        let ordinary = read.failures.iter().filter(|failure| !planned(&failure.from)).count();
        assert!(ordinary > 200, "there is noise to tell attacks from: {ordinary}");
    }
}

#[test]
fn a_host_is_the_same_alone() {
    let config = in_range(&demo(5));
    for host in 0..4 {
        let mut alone = HostLog::new(&config, host);
        for line in AuthLog::new(&config).filter(|line| line.partition == host).take(3_000) {
            assert_eq!(alone.next().unwrap(), line);
        }
    }
}

#[test]
fn endless_logs_go_on_and_hold_the_first_plan() {
    let config = GeneratorConfig { events: None, ..demo(9) };
    let plan = Plan::new(&config);
    assert_eq!(plan.attacks().len(), 8);
    let first = &plan.attacks()[0];
    assert!(AuthLog::new(&config).take(70_000).count() == 70_000);
    let needle = first.source_ip.to_string();
    let found = AuthLog::new(&config).take(60_000).any(|line| String::from_utf8_lossy(&line.bytes).contains(&needle));
    assert!(found);
}

#[test]
fn odd_configurations_neither_panic_nor_miscount() {
    let base = demo(1);
    for (config, planted) in [
        (GeneratorConfig { events: Some(0), ..base.clone() }, 0),
        (GeneratorConfig { events: Some(3), ..base.clone() }, 0),
        (GeneratorConfig { events: Some(8_195), ..base.clone() }, 1),
        (GeneratorConfig { malformed: 1.0, events: Some(5_000), ..base.clone() }, 0),
        (GeneratorConfig { events_per_second: f64::NAN, events: Some(500), ..base.clone() }, 0),
        (GeneratorConfig { events_per_second: 1e12, events: Some(50_000), ..base.clone() }, 0),
        (GeneratorConfig { partitions: 0, keys: 0, skew: -1.0, events: Some(5_000), ..base.clone() }, 1),
        (GeneratorConfig { keys: u64::MAX, skew: f64::INFINITY, events: Some(5_000), ..base.clone() }, 0),
        (GeneratorConfig { disorder: Duration::MAX, partitions: 9, events: Some(5_000), ..base.clone() }, 0),
        (GeneratorConfig { start: EventTime::MAX, events: Some(5_000), ..base.clone() }, 0),
        (GeneratorConfig { start: EventTime::MIN, events: Some(5_000), ..base.clone() }, 0),
    ] {
        let lines: Vec<_> = AuthLog::new(&config).collect();
        assert_eq!(lines.len() as u64, config.events.unwrap(), "{config:?}");
        let plan = Plan::new(&config);
        assert!(plan.attacks().len() >= planted, "{config:?}: {plan:?}");
        for attack in plan.attacks() {
            let needle = format!("from {} port", attack.source_ip);
            let text = |line: &&LogLine| String::from_utf8_lossy(&line.bytes).contains(&needle);
            assert!(lines.iter().filter(text).count() >= 10, "{config:?}");
        }
    }
    let endless = GeneratorConfig { events: Some(u64::MAX), events_per_second: 0.0, ..base };
    assert_eq!(AuthLog::new(&endless).take(10).count(), 10);
    assert!(Plan::new(&endless).attacks().is_empty());
    assert!(millis(DISORDER) > 0);
}

const DISORDER: Duration = super::super::DISORDER_MAX;
