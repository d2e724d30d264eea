//! Source, sink and whole dataflows against a real Apache Kafka broker; what ours wrote is read by a client that is not ours.
//!
//! They run where `TIDEWATCH_KAFKA=host:port` names the broker that `scripts/kafka up` started with the same `KAFKA_DIR`:
//! some of them stop it and start it again. `scripts/test broker` does all of this. Elsewhere each test says that it was left
//! out, and passes. What needs no broker of its own is tested beside the connector, against librdkafka's mock.

#![cfg(feature = "kafka")]

#[path = "kafka_broker/answers.rs"]
mod answers;
#[path = "kafka_broker/broker.rs"]
mod broker;
#[path = "kafka_broker/compressed.rs"]
mod compressed;
#[path = "kafka_broker/faults.rs"]
mod faults;
#[path = "kafka_broker/input.rs"]
mod input;
#[path = "kafka_broker/outages.rs"]
mod outages;
#[path = "kafka_broker/program.rs"]
mod program;
#[path = "kafka_broker/reading.rs"]
mod reading;
#[path = "kafka_broker/recreated.rs"]
mod recreated;
#[path = "kafka_broker/secure.rs"]
mod secure;
#[path = "kafka_broker/stopping.rs"]
mod stopping;
#[path = "kafka_broker/topics.rs"]
mod topics;
#[path = "kafka_broker/transactions.rs"]
mod transactions;
