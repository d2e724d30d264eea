//! Apache Kafka as a source and as a sink, over librdkafka.
//!
//! Partitions are assigned by the engine's own rule and never by a consumer group: no rebalance ever moves a partition, and
//! nothing is committed to the broker. The client's threads and one of ours per reader do the waiting; a worker only
//! takes what has arrived.
//! All settings of librdkafka can be reached through `properties`, but for those that the connector's promises rest on.

mod asking;
mod batch;
mod causes;
pub mod client;
mod committing;
mod connection;
mod discovery;
pub mod embedded;
mod exact;
mod feed;
mod fetch;
mod ledger;
mod logs;
mod lookup;
mod partitions;
mod progress;
mod reader;
mod rows;
mod security;
mod settings;
mod sink;
mod source;
mod start;
mod statistics;
mod token;
mod topic_id;
mod transactions;
mod writer;

pub use connection::{Connection, Properties};
pub use security::{ClientCertificate, Mechanism, Protocol, Sasl, Security, Tls};
pub use sink::{Compression, KafkaSink};
pub use source::{KafkaSource, OnGap, Start, Until};
pub use token::TokenFile;

#[cfg(test)]
mod tests;
