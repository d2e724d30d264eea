//! The broker under test: topics of one's own, writing to them, and the foreign client.
//!
//! Tests share the broker and never a topic. One that takes the broker down has it for itself.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tidewatch::connectors::kafka::Connection;

/// How long any wait of a test may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Readers use the broker; the writer may stop it.
static BROKER: RwLock<()> = RwLock::new(());

/// The running broker, for as long as a test holds it.
pub(crate) struct Broker {
    pub(crate) address: String,
    _hold: Box<dyn Any>,
}

impl Broker {
    /// The broker, together with other tests; `None`, and a line that says so, where there is none.
    pub(crate) fn shared() -> Option<Broker> {
        let address = address()?;
        Some(Broker { address, _hold: Box::new(BROKER.read().unwrap_or_else(PoisonError::into_inner)) })
    }

    /// The broker, for this test alone.
    pub(crate) fn alone() -> Option<Broker> {
        let address = address()?;
        Some(Broker { address, _hold: Box::new(Alone(BROKER.write().unwrap_or_else(PoisonError::into_inner))) })
    }

    /// A new topic that the broker knows; the controller, which creates it, may be ahead of the broker by seconds.
    pub(crate) fn topic(&self, partitions: u32) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.create(&name, partitions);
        name
    }

    /// Creates a topic of this name, also while one of the same name is being deleted, and waits until the broker knows it.
    pub(crate) fn create(&self, name: &str, partitions: u32) {
        let (producer, start) = (self.producer(&[]), Instant::now());
        let topic = NewTopic::new(name, partitions.cast_signed(), TopicReplication::Fixed(1));
        while let Some(Err((_, code))) =
            wait_for(self.admin().create_topics([&topic], &AdminOptions::new())).expect("the broker answers").pop()
        {
            assert!(code == RDKafkaErrorCode::TopicAlreadyExists && start.elapsed() < PATIENCE, "{name}: {code}");
            std::thread::sleep(Duration::from_millis(50));
        }
        loop {
            let metadata = producer.client().fetch_metadata(Some(name), PATIENCE).expect("the broker answers");
            if metadata.topics()[0].partitions().len() == partitions as usize {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the broker does not learn of topic {name}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What `scripts/kafka secure` says of the other listeners, by name.
    pub(crate) fn secure(&self) -> BTreeMap<String, String> {
        let said = script(&["secure"]);
        said.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
    }

    /// A connection of ours to a topic.
    pub(crate) fn connection(&self, topic: &str) -> Connection {
        Connection::new(&self.address, topic)
    }

    /// Gives a topic more partitions: `partitions` in all.
    pub(crate) fn extend(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        let done = wait_for(self.admin().create_partitions(&[more], &AdminOptions::new()));
        done.expect("the broker answers").into_iter().for_each(|topic| drop(topic.expect("there can be more")));
    }

    /// Deletes a topic.
    pub(crate) fn delete(&self, topic: &str) {
        let done = wait_for(self.admin().delete_topics(&[topic], &AdminOptions::new()));
        done.expect("the broker answers").into_iter().for_each(|topic| drop(topic.expect("the topic is there")));
    }

    /// Deletes a partition's records before `offset`, as retention would.
    pub(crate) fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        wait_for(self.admin().delete_records(&list, &AdminOptions::new())).expect("the offset is there");
    }

    /// Appends records to given partitions, and waits until they are acknowledged.
    pub(crate) fn place<V: AsRef<[u8]>>(&self, topic: &str, records: impl IntoIterator<Item = (u32, V)>) {
        let producer = self.producer(&[]);
        records.into_iter().for_each(|(partition, value)| send(&producer, topic, partition, value.as_ref(), None));
        producer.flush(PATIENCE).expect("all records are acknowledged");
    }

    /// A plain producer, with properties. Idempotent, for the order: what is late depends on it, and a retry without
    /// idempotence puts a batch behind those that were sent after it.
    pub(crate) fn producer(&self, properties: &[(&str, &str)]) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("enable.idempotence", "true");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config.create().expect("these are properties of librdkafka")
    }

    /// The committed values of a topic, as the foreign client reads them; sorted.
    pub(crate) fn foreign(&self, topic: &str) -> Vec<String> {
        let text = script(&["consume", topic, "--from-beginning", "--timeout", "60"]);
        let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
        rows.sort_unstable();
        rows
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.address).create().expect("a client")
    }
}

/// Holds the broker for one test.
struct Alone(#[allow(dead_code, reason = "it is kept to be dropped")] RwLockWriteGuard<'static, ()>);

impl Drop for Alone {
    /// A test that failed leaves the broker up for the others.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = Command::new(script_path()).arg("resume").status();
            let _ = Command::new(script_path()).arg("up").status();
        }
    }
}

/// Hands one record to a producer, waiting for room.
pub(crate) fn send(producer: &BaseProducer, topic: &str, partition: u32, value: &[u8], time_ms: Option<i64>) {
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition.cast_signed()).payload(value);
    record.timestamp = time_ms;
    while let Err((error, rejected)) = producer.send(record) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(error, full, "the record can be sent");
        producer.poll(Duration::from_millis(10));
        record = rejected;
    }
}

/// Runs `scripts/kafka` and returns what it printed.
pub(crate) fn script(arguments: &[&str]) -> String {
    let output = Command::new(script_path()).args(arguments).output().expect("scripts/kafka can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/kafka {arguments:?}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).expect("scripts/kafka prints UTF-8")
}

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka")
}

/// Says, past the test harness, that the running test checks nothing, and why.
pub(crate) fn left_out(why: &str) {
    let thread = std::thread::current();
    // Nobody needs to know if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{}: left out: {why}", thread.name().unwrap_or_default());
}

fn address() -> Option<String> {
    let Ok(address) = std::env::var("TIDEWATCH_KAFKA") else {
        left_out("TIDEWATCH_KAFKA is not set (scripts/test starts a broker)");
        return None;
    };
    Some(address)
}

/// Waits for an answer of the admin client, which comes from a thread of its own.
fn wait_for<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(answer)
}
