//! Copies authentication events from one topic to another: decoded, checked, normalised, and keyed by source address.
//! The hardest flow for a connector, since every event is written again; `scripts/bench-kafka` measures it.
//!
//! ```sh
//! cargo run --release --example kafka_copy -- run kafka-copy \
//!     --set sources.events.brokers=localhost:9092 --set sources.events.topic=auth \
//!     --set sinks.copies.brokers=localhost:9092 --set sinks.copies.topic=auth-by-address
//! ```

use tidewatch::prelude::*;

/// One authentication event, as a line of JSON.
#[derive(Event)]
struct AuthEvent {
    #[event(time)]
    ts: EventTime,
    host: Text,
    src_ip: Text,
    user: Text,
    action: Text,
    outcome: Text,
    bytes: u32,
    message: Text,
}

const DEFAULTS: &str = r#"
[sources.events]
kind = "kafka"

[sinks.copies]
kind = "kafka"
"#;

fn kafka_copy(flow: &Flow, _: &NoParams) -> Result<()> {
    flow.source::<AuthEvent>("events")?
        .validate(|event| match event.src_ip.parse::<IpAddr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("src_ip {:?} is no address", event.src_ip)),
        })
        .map("one-spelling", |mut event| {
            event.host = event.host.to_ascii_lowercase().into();
            event
        })
        .sink_keyed("copies", |event| event.src_ip.clone())
}

fn main() -> ExitCode {
    tidewatch::main([dataflow("kafka-copy", kafka_copy)
        .about("authentication events from one topic to another, keyed by source address")
        .defaults(DEFAULTS)])
}
