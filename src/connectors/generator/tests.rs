use super::*;
use crate::connectors::source::{Collector, Partition, Polled};
use crate::record::Reason;
use crate::settings::{Node, Value};

/// The calls of a collector, as text.
#[derive(Default)]
struct TextCollector {
    joined: Vec<(u32, String)>,
    records: Vec<(u32, u64, Vec<u8>)>,
    rejected: Vec<(u64, Reason)>,
    ended: Vec<u32>,
    caught_up: usize,
}

impl Collector for TextCollector {
    fn joined(&mut self, partition: Partition, label: &str) {
        self.joined.push((partition.0, label.to_owned()));
    }
    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
        assert!(!self.ended.contains(&partition.0));
        self.records.push((partition.0, offset, bytes.to_vec()));
    }
    fn rejected(&mut self, _: Partition, _: u64, size: u64, _: &[u8], reason: Reason, _: &str) {
        self.rejected.push((size, reason));
    }
    fn caught_up(&mut self, _: Partition) {
        self.caught_up += 1;
    }
    fn lag(&mut self, _: Partition, _: u64) {}
    fn ended(&mut self, partition: Partition) {
        self.ended.push(partition.0);
    }
}

fn context(worker: usize, workers: usize) -> SourceContext {
    SourceContext { name: "events".into(), worker, workers, record_bytes_max: 1024, journals: None }
}

/// Everything that a worker reads.
fn read(config: &GeneratorConfig, worker: usize, workers: usize, budget: usize) -> TextCollector {
    let mut reader = Generator::new(config).open(&context(worker, workers)).unwrap();
    let mut heard = TextCollector::default();
    loop {
        match reader.poll(budget, &mut heard).unwrap() {
            Polled::More => {}
            Polled::Wait(time) => std::thread::sleep(time),
            Polled::Finished => return heard,
        }
    }
}

fn events(n: u64, partitions: u32) -> GeneratorConfig {
    GeneratorConfig { events: Some(n), partitions, ..GeneratorConfig::default() }
}

#[test]
fn workers_share_partitions_by_rule_and_read_the_same_as_one() {
    for profile in [Profile::AuthEvents, Profile::Openssh, Profile::Nexmark] {
        let config = GeneratorConfig { events: Some(5_003), partitions: 5, ..GeneratorConfig::of(profile) };
        let alone = read(&config, 0, 1, 1 << 20);
        assert_eq!(alone.records.len(), 5_003);
        let mut all = Vec::new();
        for worker in 0..3 {
            let heard = read(&config, worker, 3, 1000);
            assert!(heard.joined.iter().all(|(partition, _)| *partition as usize % 3 == worker));
            assert_eq!(heard.ended.len(), heard.joined.len());
            all.extend(heard.records);
        }
        let mut expected = alone.records.clone();
        all.sort();
        expected.sort();
        assert_eq!(all, expected);
        for partition in 0..5 {
            let offsets: Vec<u64> = alone.records.iter().filter(|r| r.0 == partition).map(|r| r.1).collect();
            assert_eq!(offsets, (0..if partition < 3 { 1001 } else { 1000 }).collect::<Vec<u64>>());
        }
    }
    let idle = read(&events(10, 1), 1, 2, 1000);
    assert!(idle.joined.is_empty() && idle.records.is_empty(), "a worker without partitions finishes at once");
}

#[test]
fn partitions_are_announced_in_the_first_poll() {
    let mut heard = TextCollector::default();
    let mut reader = Generator::new(&events(1000, 3)).open(&context(0, 1)).unwrap();
    assert_eq!(reader.poll(0, &mut heard).unwrap(), Polled::More);
    assert_eq!(heard.joined, [(0, "0".into()), (1, "1".into()), (2, "2".into())]);
    assert_eq!(heard.records.len(), 1, "a poll without a budget still gets on");
    let config = GeneratorConfig { partitions: 2, ..openssh::demo(1) };
    assert_eq!(read(&config, 0, 1, 1 << 20).joined, [(0, "bastion-01".into()), (1, "web-01".into())]);
}

#[test]
fn the_seed_decides_the_content() {
    let config = events(2_000, 2);
    assert_eq!(read(&config, 0, 1, 1000).records, read(&config, 0, 1, 1 << 20).records);
    let other = GeneratorConfig { seed: 43, ..config.clone() };
    assert_ne!(read(&config, 0, 1, 1000).records, read(&other, 0, 1, 1000).records);
    let longer = GeneratorConfig { events: Some(4_000), ..config.clone() };
    let head = read(&longer, 0, 1, 1000).records;
    assert_eq!(head[..2_000], read(&config, 0, 1, 1000).records[..], "the number of events changes none of them");
}

#[test]
fn auth_events_have_the_fields_and_shares_of_the_profile() {
    #[derive(serde::Deserialize)]
    struct Row {
        ts: i64,
        host: String,
        src_ip: std::net::Ipv4Addr,
        user: String,
        action: String,
        outcome: String,
        bytes: u64,
        message: String,
    }
    let config = GeneratorConfig { malformed: 0.01, ..events(50_000, 2) };
    let (mut malformed, mut failures, mut newest, mut behind) = (0, 0, [0; 2], 0);
    let mut addresses = std::collections::BTreeMap::<_, u64>::new();
    for (partition, _, bytes) in read(&config, 0, 1, 1 << 20).records {
        let Ok(row) = serde_json::from_slice::<Row>(&bytes) else {
            malformed += 1;
            continue;
        };
        assert!(row.host.ends_with(".prod.example") && row.user.starts_with('u') && !row.action.is_empty());
        assert!(row.bytes < 70_000 && row.message.contains(&row.user), "{}", row.message);
        let newest = &mut newest[partition as usize];
        *newest = row.ts.max(*newest);
        behind = behind.max(*newest - row.ts);
        failures += u64::from(row.outcome == "failure");
        *addresses.entry(row.src_ip).or_default() += 1;
        assert!((START_DEFAULT.millis()..START_DEFAULT.millis() + 10_000).contains(&row.ts));
    }
    assert!((400..=600).contains(&malformed), "{malformed} malformed");
    assert!((4_000..=8_000).contains(&failures), "{failures} failures");
    assert!((4_000..=5_000).contains(&behind), "{behind} ms behind");
    let most = addresses.values().max().unwrap();
    assert!((4_000..12_000).contains(most) && addresses.len() > 5_000, "{most} of {} addresses", addresses.len());
}

#[test]
fn a_rate_paces_and_changes_nothing_else() {
    let config = GeneratorConfig { rate: Some(2_000.0), ..events(200, 2) };
    let begin = std::time::Instant::now();
    let heard = read(&config, 0, 1, 1 << 20);
    assert!(begin.elapsed() >= Duration::from_millis(95), "{:?}", begin.elapsed());
    assert!(heard.caught_up > 0);
    assert_eq!(heard.records, read(&events(200, 2), 0, 1, 1 << 20).records);
}

#[test]
fn whoever_reads_late_is_told_how_long_records_were_due() {
    let config = GeneratorConfig { rate: Some(10_000.0), ..events(100_000, 1) };
    let mut reader = Generator::new(&config).open(&context(0, 1)).unwrap();
    let mut heard = TextCollector::default();
    reader.poll(0, &mut heard).unwrap();
    assert_eq!(reader.waited(), Duration::ZERO);
    std::thread::sleep(Duration::from_millis(60));
    reader.poll(1, &mut heard).unwrap();
    let behind = reader.waited();
    assert!(behind >= Duration::from_millis(59), "{behind:?}");
    // What the first poll left is still late in the second one; a reader that has caught up is not.
    reader.poll(1 << 20, &mut heard).unwrap();
    assert!(reader.waited() >= behind - Duration::from_millis(1), "{:?} after {behind:?}", reader.waited());
    assert!(heard.records.len() >= 595, "{}", heard.records.len());
    let unpaced = Generator::new(&events(10, 1)).open(&context(0, 1)).unwrap();
    assert_eq!(unpaced.waited(), Duration::ZERO);
}

#[test]
fn records_that_are_too_long_are_rejected() {
    let mut reader =
        Generator::new(&events(10, 1)).open(&SourceContext { record_bytes_max: 100, ..context(0, 1) }).unwrap();
    let mut heard = TextCollector::default();
    assert_eq!(reader.poll(1 << 20, &mut heard).unwrap(), Polled::Finished);
    assert_eq!((heard.records.len(), heard.rejected.len()), (0, 10));
    assert!(heard.rejected.iter().all(|(size, reason)| *size > 100 && *reason == Reason::TooLarge));
}

fn configured(entries: &[(&str, Value)]) -> (GeneratorConfig, Vec<String>) {
    let table = entries.iter().map(|(key, value)| ((*key).to_owned(), Node::code(value.clone()))).collect();
    let node = Node::code(Value::Table(table));
    let mut faults = Vec::new();
    let mut section = Section::new("s", Some(&node), &mut faults);
    let config = Generator::from_section(&mut section).config().clone();
    section.finish();
    (config, faults.iter().map(|fault| fault.to_string()).collect())
}

#[test]
fn reads_its_section() {
    let text = |text: &str| Value::String(text.into());
    assert_eq!(configured(&[]), (GeneratorConfig::default(), vec![]));
    let (config, faults) = configured(&[
        ("profile", text("openssh")),
        ("events", Value::Integer(7)),
        ("rate", Value::Float(0.5)),
        ("partitions", Value::Integer(4)),
        ("seed", Value::Integer(1)),
        ("skew", Value::Integer(2)),
        ("keys", Value::Integer(9)),
        ("disorder", text("250ms")),
        ("malformed", Value::Float(0.25)),
        ("start", text("2025-01-01T00:00:00Z")),
        ("events_per_second", Value::Integer(20_000)),
    ]);
    assert_eq!(faults, Vec::<String>::new());
    let expected = GeneratorConfig {
        profile: Profile::Openssh,
        events: Some(7),
        rate: Some(0.5),
        partitions: 4,
        seed: 1,
        skew: 2.0,
        keys: 9,
        disorder: Duration::from_millis(250),
        malformed: 0.25,
        start: EventTime::from_millis(1_735_689_600_000),
        events_per_second: 20_000.0,
    };
    assert_eq!(config, expected);
}

#[test]
fn reports_every_value_out_of_range() {
    let (_, faults) = configured(&[
        ("partitions", Value::Integer(1025)),
        ("keys", Value::Integer(0)),
        ("rate", Value::Integer(0)),
        ("malformed", Value::Float(1.5)),
        ("skew", Value::Float(f64::NAN)),
        ("disorder", Value::String("601s".into())),
        ("start", Value::String("9001-01-01T00:00:00Z".into())),
        ("events", Value::Integer(-1)),
        ("colour", Value::Bool(true)),
    ]);
    assert_eq!(faults.len(), 9, "{faults:#?}");
    let (_, faults) =
        configured(&[("profile", Value::String("openssh".into())), ("events_per_second", Value::Integer(20_001))]);
    assert_eq!(faults, ["<code>: s.events_per_second: expected 0.001 to 20000.0, found 20001.0"]);
    let (_, faults) = configured(&[("profile", Value::String("nexmark".into())), ("keys", Value::Integer(5))]);
    assert!(faults.len() == 1 && faults[0].starts_with("<code>: s.keys: unknown key"), "{faults:#?}");
}

#[test]
fn times_are_exact_also_where_64_bits_are_too_few() {
    let config = GeneratorConfig { start: EventTime::from_millis(7), events_per_second: 0.003, ..events(1, 1) };
    // 3 events in 1 000 s.
    assert_eq!([0, 1, 2, 3].map(|nth| config.time_of(nth)), [7, 333_340, 666_673, 1_000_007]);
    // A thousand per millisecond; their number times a million exceeds 64 bits.
    let config = GeneratorConfig { events_per_second: 1e6, ..config };
    assert!(18_446_744_074_000u64.checked_mul(1_000_000).is_none());
    assert_eq!(config.time_of(18_446_744_074_000), 7 + 18_446_744_074);
}
