//! A broker inside this process, for demonstrations and tests: nothing to install, gone with the process.
//!
//! It is librdkafka's mock cluster, on loopback ports. Other processes can connect to it too. It is *not* for storing
//! data: a partition holds its newest 5 MiB or 100 000 batches and silently forgets the rest, transactions are accepted
//! but not isolated, and looking up offsets by time finds nothing.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::error::{Error, Result};

/// The most brokers that an embedded cluster may have.
pub const BROKERS_MAX: u32 = 3;

/// Bytes that a partition of an embedded broker holds; older records are forgotten.
pub const PARTITION_BYTES_MAX: usize = 5 * 1024 * 1024;

/// A running cluster; it stops when dropped.
pub struct Embedded {
    cluster: MockCluster<'static, DefaultProducerContext>,
    brokers: u32,
}

impl Embedded {
    /// Starts a cluster of `brokers` brokers, clamped to 1 to [`BROKERS_MAX`].
    ///
    /// # Errors
    /// If the cluster cannot listen on loopback.
    pub fn start(brokers: u32) -> Result<Self> {
        let brokers = brokers.clamp(1, BROKERS_MAX);
        let cluster = MockCluster::new(brokers.cast_signed())
            .map_err(|error| Error::source("cannot start the embedded broker").because(error))?;
        Ok(Embedded { cluster, brokers })
    }

    /// The brokers' addresses, as the setting `brokers` takes them.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Creates `topic` with `partitions`.
    ///
    /// # Errors
    /// If the topic exists already, or the name is not allowed.
    pub fn create_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        let replicas = self.brokers.cast_signed();
        self.cluster.create_topic(topic, partitions.cast_signed(), replicas).map_err(|error| {
            Error::source(format!("cannot create topic \"{topic}\" in the embedded broker")).because(error)
        })
    }

    /// Cuts broker number `broker`, from 1, off from its clients.
    ///
    /// # Errors
    /// If there is no such broker.
    pub fn broker_down(&self, broker: u32) -> Result<()> {
        self.switched(broker, self.cluster.broker_down(broker.cast_signed()))
    }

    /// Brings broker number `broker`, from 1, back with its data.
    ///
    /// # Errors
    /// If there is no such broker.
    pub fn broker_up(&self, broker: u32) -> Result<()> {
        self.switched(broker, self.cluster.broker_up(broker.cast_signed()))
    }

    /// Makes the next requests of a kind fail, for tests.
    #[cfg(test)]
    pub(super) fn request_errors(&self, api: rdkafka::types::RDKafkaApiKey, errors: &[rdkafka::types::RDKafkaRespErr]) {
        self.cluster.request_errors(api, errors);
    }

    fn switched(&self, broker: u32, done: Result<(), rdkafka::error::KafkaError>) -> Result<()> {
        done.map_err(|error| Error::source(format!("the embedded cluster has no broker {broker}")).because(error))
    }
}
