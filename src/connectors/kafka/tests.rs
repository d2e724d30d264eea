//! Source and sink against the embedded broker.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::embedded::Embedded;
use super::*;
use crate::connectors::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use crate::connectors::source::{Collector, Partition, Polled, SourceConnector, SourceContext, SourceReader};
use crate::error::{Error, ErrorKind};
use crate::record::Reason;

/// How long any wait of a test may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a reader said, by partition.
#[derive(Default)]
struct Seen {
    records: BTreeMap<u32, Vec<(u64, String)>>,
    rejected: Vec<(u32, u64, u64, Reason)>,
    caught_up: BTreeMap<u32, usize>,
    lag: BTreeMap<u32, u64>,
    ended: BTreeSet<u32>,
}

impl Seen {
    fn joined(&self) -> Vec<u32> {
        self.records.keys().copied().collect()
    }

    fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }
}

impl Collector for Seen {
    fn joined(&mut self, partition: Partition, label: &str) {
        assert_eq!(label, partition.0.to_string());
        assert!(self.records.insert(partition.0, Vec::new()).is_none(), "{partition:?} joined twice");
    }
    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
        let records = self.records.get_mut(&partition.0).expect("joined before its first record");
        records.push((offset, String::from_utf8(bytes.to_vec()).unwrap()));
    }
    fn rejected(&mut self, partition: Partition, offset: u64, size: u64, _: &[u8], reason: Reason, _: &str) {
        self.rejected.push((partition.0, offset, size, reason));
    }
    fn caught_up(&mut self, partition: Partition) {
        *self.caught_up.entry(partition.0).or_default() += 1;
    }
    fn lag(&mut self, partition: Partition, lag: u64) {
        self.lag.insert(partition.0, lag);
    }
    fn ended(&mut self, partition: Partition) {
        assert!(self.ended.insert(partition.0), "{partition:?} ended twice");
    }
}

fn source_context(worker: usize, workers: usize) -> SourceContext {
    SourceContext { name: "logins".into(), worker, workers, record_bytes_max: 1000, journals: None }
}

fn sink_context() -> SinkContext {
    SinkContext { name: "alerts".into(), shard: 0, shards: 1, run_ms: 0, generation: None }
}

fn finite(connection: &Connection) -> KafkaSource {
    KafkaSource { until: Until::End, ..KafkaSource::new(connection.clone()) }
}

/// Polls until `done`, or until the reader has finished.
fn read_until(reader: &mut dyn SourceReader, seen: &mut Seen, done: impl Fn(&Seen) -> bool) -> bool {
    let start = Instant::now();
    while !done(seen) {
        assert!(start.elapsed() < PATIENCE, "waited too long");
        match reader.poll(10_000, seen).unwrap() {
            Polled::More => {}
            Polled::Wait(wait) => thread::sleep(wait),
            Polled::Finished => return true,
        }
    }
    false
}

fn durable_until(writer: &mut dyn SinkWriter, epoch: u64) {
    let start = Instant::now();
    while writer.durable().unwrap() != Some(epoch) {
        assert!(start.elapsed() < PATIENCE, "waited too long");
        thread::sleep(writer.poll_interval());
    }
}

/// Writes `value`s to given partitions; `None` is a tombstone.
fn place(cluster: &Embedded, topic: &str, records: &[(i32, Option<&str>)]) {
    let producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", cluster.bootstrap()).create().unwrap();
    for (partition, value) in records {
        let mut record = BaseRecord::<str, str>::to(topic).partition(*partition);
        record.payload = *value;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn cluster(topic: &str, partitions: u32) -> (Embedded, Connection) {
    let cluster = Embedded::start(1).unwrap();
    cluster.create_topic(topic, partitions).unwrap();
    let connection = Connection::new(cluster.bootstrap(), topic);
    (cluster, connection)
}

#[test]
fn three_workers_read_four_partitions_once_each_by_rule_and_to_the_end() {
    let (cluster, connection) = cluster("logins", 4);
    // Partition 2 stays empty.
    let values: Vec<(i32, String)> = (0..3000).map(|i| ([0, 1, 3][i % 3], format!("record {i}"))).collect();
    place(&cluster, "logins", &values.iter().map(|(p, v)| (*p, Some(v.as_str()))).collect::<Vec<_>>());
    let mut all = Vec::new();
    for worker in 0..3 {
        let mut seen = Seen::default();
        let mut reader = finite(&connection).open(&source_context(worker, 3)).unwrap();
        reader.poll(1, &mut seen).unwrap();
        let expected: Vec<u32> = (0..4).filter(|partition| *partition as usize % 3 == worker).collect();
        assert_eq!(seen.joined(), expected, "all partitions join in the first poll");
        assert!(read_until(&mut *reader, &mut seen, |_| false));
        assert_eq!(seen.ended.iter().copied().collect::<Vec<_>>(), expected);
        for records in seen.records.into_values() {
            assert!(records.iter().zip(0..).all(|((offset, _), n)| *offset == n), "in order, without gaps");
            all.extend(records.into_iter().map(|(_, value)| value));
        }
    }
    let mut expected: Vec<String> = values.into_iter().map(|(_, value)| value).collect();
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
}

#[test]
fn a_worker_without_partitions_and_an_empty_topic_finish_at_once() {
    let (_cluster, connection) = cluster("logins", 2);
    for (worker, workers, owned) in [(2, 3, 0), (0, 1, 2)] {
        let mut seen = Seen::default();
        let mut reader = finite(&connection).open(&source_context(worker, workers)).unwrap();
        assert_eq!(reader.poll(1000, &mut seen).unwrap(), Polled::Finished);
        assert_eq!((seen.joined().len(), seen.ended.len()), (owned, owned));
    }
}

#[test]
fn an_endless_reader_catches_up_goes_on_and_knows_its_lag() {
    let (cluster, connection) = cluster("logins", 2);
    place(&cluster, "logins", &[(0, Some("a")), (0, None), (0, Some(&"x".repeat(1001))), (0, Some(""))]);
    let mut seen = Seen::default();
    let mut reader = KafkaSource::new(connection.clone()).open(&source_context(0, 1)).unwrap();
    // Repeatedly, from the statistics: an idle partition is known to be empty, not cut off.
    read_until(&mut *reader, &mut seen, |seen| (0..2).all(|p| seen.caught_up.get(&p).is_some_and(|n| *n >= 3)));
    assert_eq!(seen.records[&0], [(0, "a".to_owned()), (3, String::new())]);
    assert_eq!(seen.rejected, [(0, 1, 0, Reason::Malformed), (0, 2, 1001, Reason::TooLarge)]);
    assert_eq!(seen.lag, BTreeMap::from([(0, 0), (1, 0)]));
    place(&cluster, "logins", &[(1, Some("late"))]);
    read_until(&mut *reader, &mut seen, |seen| seen.count() == 3);
    assert!(seen.ended.is_empty());

    let latest = KafkaSource { start: Start::Latest, ..KafkaSource::new(connection) };
    let (mut seen, mut reader) = (Seen::default(), latest.open(&source_context(0, 1)).unwrap());
    place(&cluster, "logins", &[(1, Some("after"))]);
    read_until(&mut *reader, &mut seen, |seen| seen.count() == 1);
    assert_eq!(seen.records[&1], [(1, "after".to_owned())]);
}

#[test]
fn a_poll_ends_in_the_middle_of_what_was_fetched_and_an_end_is_told_after_all_before_it() {
    let (cluster, connection) = cluster("logins", 1);
    let values: Vec<(i32, String)> = (0..500).map(|i| (0, format!("record {i}"))).collect();
    place(&cluster, "logins", &values.iter().map(|(p, v)| (*p, Some(v.as_str()))).collect::<Vec<_>>());
    let mut seen = Seen::default();
    let mut reader = KafkaSource::new(connection).open(&source_context(0, 1)).unwrap();
    let start = Instant::now();
    while seen.caught_up.is_empty() {
        assert!(start.elapsed() < PATIENCE, "waited too long");
        let before = seen.count();
        // A budget of one byte is spent by one record.
        let polled = reader.poll(1, &mut seen).unwrap();
        assert!(seen.count() <= before + 1, "{} records in one poll", seen.count() - before);
        match polled {
            Polled::More => {}
            Polled::Wait(wait) => thread::sleep(wait),
            Polled::Finished => panic!("an endless source does not finish"),
        }
    }
    assert_eq!(seen.count(), values.len(), "idle before everything was handed over");
    assert!(seen.records[&0].iter().zip(0..).all(|((offset, _), n)| *offset == n));
}

#[test]
fn a_reader_that_nobody_polls_loses_nothing_and_can_be_dropped() {
    let (cluster, connection) = cluster("logins", 1);
    let value = "x".repeat(900);
    // More than the thread may have in hand.
    let count = (fetch::BATCHES_AHEAD + 3) * batch::BATCH_BYTES / value.len();
    place(&cluster, "logins", &vec![(0, Some(value.as_str())); count]);
    let mut reader = KafkaSource::new(connection.clone()).open(&source_context(0, 1)).unwrap();
    thread::sleep(Duration::from_millis(500));
    // What it held back comes when it is asked for.
    let mut seen = Seen::default();
    read_until(&mut *reader, &mut seen, |seen| seen.count() == count);
    drop(reader);
    let reader = KafkaSource::new(connection).open(&source_context(0, 1)).unwrap();
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    drop(reader);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_broker_that_is_down_is_waited_for_and_not_taken_for_an_empty_one() {
    let (cluster, connection) = cluster("logins", 1);
    place(&cluster, "logins", &[(0, Some("before"))]);
    let mut seen = Seen::default();
    let mut reader = KafkaSource::new(connection).open(&source_context(0, 1)).unwrap();
    read_until(&mut *reader, &mut seen, |seen| seen.caught_up.contains_key(&0));
    cluster.broker_down(1).unwrap();
    // Reports from before the client noticed do not count.
    let down = Instant::now();
    read_until(&mut *reader, &mut seen, |_| down.elapsed() > Duration::from_secs(2));
    let said = seen.caught_up[&0];
    read_until(&mut *reader, &mut seen, |_| down.elapsed() > Duration::from_secs(5));
    assert_eq!(seen.caught_up[&0], said, "idle means an empty fetch, not a missing one");
    cluster.broker_up(1).unwrap();
    place(&cluster, "logins", &[(0, Some("after"))]);
    read_until(&mut *reader, &mut seen, |seen| seen.count() == 2);
    assert_eq!(seen.records[&0].last(), Some(&(1, "after".to_owned())));
}

#[test]
fn what_is_missing_is_named() {
    let (cluster, _connection) = cluster("logins", 1);
    let missing = Connection::new(cluster.bootstrap(), "lgoins");
    // A port without listener.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Connection::new(format!("127.0.0.1:{port}"), "logins");
    let cases = [
        (missing, "there is no topic \"lgoins\" at".to_owned()),
        (nobody, format!("cannot reach any broker of \"127.0.0.1:{port}\": ")),
    ];
    let start = Instant::now();
    // In parallel, since each waits for its deadline.
    thread::scope(|scope| {
        for (connection, part) in &cases {
            let says = move |error: Error, kind: ErrorKind| {
                assert_eq!(error.kind(), kind);
                let text = error.to_string();
                assert!(text.contains(part) && text.contains("hint: "), "{text}");
            };
            scope.spawn(move || {
                says(finite(connection).open(&source_context(0, 1)).err().unwrap(), ErrorKind::Source);
            });
            scope.spawn(move || {
                says(KafkaSink::new(connection.clone()).open(&sink_context()).err().unwrap(), ErrorKind::Sink);
            });
        }
    });
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn records_that_are_gone_before_they_were_read_are_an_error() {
    let (cluster, connection) = cluster("logins", 1);
    place(&cluster, "logins", &[(0, Some("a"))]);
    let mut reader = KafkaSource::new(connection).open(&source_context(0, 1)).unwrap();
    let mut seen = Seen::default();
    read_until(&mut *reader, &mut seen, |seen| seen.count() == 1);
    // What a broker says when retention has overtaken a reader.
    cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
    let start = Instant::now();
    let error = loop {
        assert!(start.elapsed() < PATIENCE, "waited too long");
        match reader.poll(1000, &mut seen) {
            Ok(_) => thread::sleep(Duration::from_millis(2)),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.contains("records of topic \"logins\"") && error.contains("hint: raise the topic's retention"),
        "{error}"
    );
}

#[test]
fn a_sink_says_what_is_durable_and_a_tiny_queue_holds_it_back() {
    let (cluster, mut connection) = cluster("alerts", 3);
    connection.properties.0.insert("queue.buffering.max.messages".into(), "10".into());
    let sink = KafkaSink::new(connection.clone());
    assert_eq!(sink.delivery(), Delivery::ExactlyOnce, "with a state directory");
    let mut writer = sink.open(&sink_context()).unwrap();
    assert_eq!(writer.durable().unwrap(), None);
    writer.seal(100).unwrap();
    assert_eq!(writer.durable().unwrap(), Some(100));
    let mut expected = Vec::new();
    for epoch in 2..=4 {
        for i in 0..500 {
            let row = format!("row {epoch} {i}");
            writer
                .write((i % 2 == 0).then_some(format!("key {i}")).as_deref().map(str::as_bytes), row.as_bytes())
                .unwrap();
            expected.push(row.into_bytes());
        }
        assert!(writer.durable().unwrap() < Some(epoch * 100), "not sealed yet");
        writer.seal(epoch * 100).unwrap();
    }
    durable_until(&mut *writer, 400);
    writer.finish().unwrap();
    let mut rows = client::consume_to_end(&Connection::new(cluster.bootstrap(), "alerts"), PATIENCE).unwrap();
    rows.sort();
    expected.sort();
    assert!(rows == expected, "{} of {} rows", rows.len(), expected.len());
}

#[test]
fn a_sink_rides_out_a_broker_that_is_down() {
    let (cluster, connection) = cluster("alerts", 1);
    let mut writer = KafkaSink::new(connection.clone()).open(&sink_context()).unwrap();
    writer.write(None, b"before").unwrap();
    writer.seal(100).unwrap();
    durable_until(&mut *writer, 100);
    cluster.broker_down(1).unwrap();
    writer.write(None, b"while").unwrap();
    writer.seal(200).unwrap();
    let down = Instant::now();
    while down.elapsed() < Duration::from_secs(2) {
        assert_eq!(writer.durable().unwrap(), Some(100));
        thread::sleep(Duration::from_millis(10));
    }
    cluster.broker_up(1).unwrap();
    durable_until(&mut *writer, 200);
    assert_eq!(client::consume_to_end(&connection, PATIENCE).unwrap(), [b"before".to_vec(), b"while".to_vec()]);
}

#[test]
fn a_row_that_is_never_delivered_is_an_error_and_its_epoch_not_durable() {
    let (cluster, mut connection) = cluster("alerts", 1);
    connection.properties.0.insert("message.timeout.ms".into(), "500".into());
    let mut writer = KafkaSink::new(connection).open(&sink_context()).unwrap();
    cluster.broker_down(1).unwrap();
    writer.write(None, b"row").unwrap();
    writer.seal(100).unwrap();
    let start = Instant::now();
    let error = loop {
        assert!(start.elapsed() < PATIENCE, "waited too long");
        match writer.durable() {
            Ok(durable) => assert_eq!(durable, None),
            Err(error) => break error,
        }
        thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(error.kind(), ErrorKind::Sink);
    assert!(error.to_string().contains("topic \"alerts\"") && error.to_string().contains("timed out"), "{error}");
}

#[test]
fn a_row_that_is_too_large_is_refused_with_what_to_do() {
    let (_cluster, connection) = cluster("alerts", 1);
    let mut writer = KafkaSink::new(connection).open(&sink_context()).unwrap();
    let error = writer.write(None, &vec![0; 1_100_000]).unwrap_err().to_string();
    assert!(error.contains("1100000 bytes") && error.contains("message.max.bytes"), "{error}");
    writer.seal(100).unwrap();
    assert_eq!(writer.durable().unwrap(), Some(100), "the refused row holds nothing up");
}

#[test]
fn equal_keys_go_to_one_partition() {
    let (_cluster, connection) = cluster("alerts", 4);
    let rows = (0..400).map(|i| (Some(format!("key {}", i % 20)), format!("{}", i % 20)));
    assert_eq!(client::produce(&connection, rows, PATIENCE).unwrap(), 400);
    let mut seen = Seen::default();
    let mut reader = finite(&connection).open(&source_context(0, 1)).unwrap();
    assert!(read_until(&mut *reader, &mut seen, |_| false));
    let sets: Vec<BTreeSet<String>> =
        seen.records.into_values().map(|records| records.into_iter().map(|(_, row)| row).collect()).collect();
    assert_eq!(sets.iter().map(BTreeSet::len).sum::<usize>(), 20, "no key in two partitions: {sets:?}");
    assert!(sets.iter().filter(|set| !set.is_empty()).count() > 1, "but not all in one");
}
