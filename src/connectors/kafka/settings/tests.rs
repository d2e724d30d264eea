use super::*;
use crate::settings::{Fault, Node};

pub(super) fn text(value: &str) -> Node {
    Node::code(Value::String(value.into()))
}

pub(super) fn table<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::code(Value::Table(entries.into_iter().map(|(key, node)| (key.to_owned(), node)).collect()))
}

pub(super) fn read<T>(node: &Node, reader: impl Fn(&mut Section<'_>) -> Option<T>) -> (Option<T>, Vec<String>) {
    let mut faults: Vec<Fault> = Vec::new();
    let mut section = Section::new("sources.x", Some(node), &mut faults);
    let value = reader(&mut section);
    section.finish();
    (value, faults.into_iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect())
}

#[test]
fn reads_every_setting_of_a_source() {
    let node = table([
        ("brokers", text("a:9092,b:9092")),
        ("topic", text("logins")),
        ("start", text("2026-01-31T12:00:00+01:00")),
        ("until", text("end")),
        ("discover_after", text("5s")),
        (
            "properties",
            table([
                ("ssl.keystore.password", table([("env", text("CARGO_PKG_NAME"))])),
                ("fetch", table([("min", table([("bytes", text("2"))]))])),
            ]),
        ),
    ]);
    let (source, faults) = read(&node, KafkaSource::from_section);
    assert_eq!(faults, [""; 0]);
    let source = source.unwrap();
    assert_eq!(
        source.start,
        Start::At(
            "2026-01-31T11:00:00Z"
                .parse::<jiff::Timestamp>()
                .map(|t| EventTime::from_millis(t.as_millisecond()))
                .unwrap()
        )
    );
    assert_eq!((source.until, source.discover_after), (Until::End, Duration::from_secs(5)));
    assert_eq!(source.connection.properties.0["fetch.min.bytes"], "2");
    assert_eq!(source.connection.properties.0["ssl.keystore.password"], "tidewatch");
    let shown = format!("{:?}", source.connection.properties);
    assert!(shown.contains("ssl.keystore.password") && !shown.contains("tidewatch"), "{shown}");
}

#[test]
fn the_rest_has_defaults() {
    let node = table([("brokers", text("a:9092")), ("topic", text("logins"))]);
    let connection = Connection::new("a:9092", "logins");
    assert_eq!(read(&node, KafkaSource::from_section), (Some(KafkaSource::new(connection.clone())), vec![]));
    assert_eq!(read(&node, KafkaSink::from_section), (Some(KafkaSink::new(connection)), vec![]));
}

#[test]
fn all_faults_are_reported_together() {
    let node = table([
        ("topic", text("")),
        ("start", text("yesterday")),
        ("until", text("never")),
        ("discover_after", text("999ms")),
        ("properties", table([("enable.auto.commit", text("true")), ("fetch.min.bytes", table([]))])),
        ("tpoic", text("x")),
    ]);
    let (source, faults) = read(&node, KafkaSource::from_section);
    assert_eq!(source, None);
    let keys: Vec<&str> = faults.iter().filter_map(|fault| fault.split(": ").next()).collect();
    let expected =
        ["brokers", "topic", "properties.\"enable.auto.commit\"", "start", "until", "discover_after", "tpoic"]
            .map(|key| format!("sources.x.{key}"));
    assert_eq!(keys, expected, "{faults:#?}");
}

#[test]
fn librdkafka_judges_properties_and_values_stay_secret() {
    for (name, value) in [("no.such.property", "hush"), ("fetch.min.bytes", "hush")] {
        let node =
            table([("brokers", text("a:1")), ("topic", text("t")), ("properties", table([(name, text(value))]))]);
        let (_, faults) = read(&node, KafkaSource::from_section);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains(name) && !faults[0].contains("hush"), "{faults:?}");
    }
}

#[test]
fn limits_hold_at_the_limit() {
    let sink = |linger: &str| {
        let node = table([
            ("brokers", text("a:1")),
            ("topic", text("t")),
            ("linger", text(linger)),
            ("compression", text("none")),
        ]);
        read(&node, KafkaSink::from_section).1.len()
    };
    assert_eq!((sink("900s"), sink("900001ms"), sink("-1s"), sink("soon")), (0, 1, 1, 1));
    let node = table([
        ("brokers", text("a:1")),
        ("topic", text("t")),
        ("properties", table([("acks", text("1")), ("linger.ms", text("1"))])),
    ]);
    assert_eq!(read(&node, KafkaSink::from_section).1.len(), 2);
}
