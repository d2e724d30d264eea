//! Batches in each of Kafka's compressions, of one topic: written by us, and read by us and by the foreign client.

use std::time::Duration;

use tidewatch::connectors::kafka::{Compression, KafkaSink, client};
use tidewatch::connectors::sink::{SinkConnector, SinkContext};

use super::broker::{Broker, PATIENCE};

#[test]
fn batches_of_every_compression_are_written_and_read() {
    const ROWS: usize = 200;
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(1);
    let mut expected = Vec::new();
    for (name, compression) in Compression::NAMES {
        let sink = KafkaSink { compression: *compression, ..KafkaSink::new(broker.connection(&topic)) };
        let context = SinkContext { name: "rows".into(), shard: 0, shards: 1, run_ms: 0, generation: None };
        let mut writer = sink.open(&context).expect("the sink opens");
        for row in 0..ROWS {
            let row = format!("{name} {row} {}", "x".repeat(100));
            writer.write(None, row.as_bytes()).expect("there is room");
            expected.push(row);
        }
        writer.seal(1).expect("it can be sealed");
        while writer.durable().expect("rows are delivered").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        writer.finish().expect("all is delivered");
    }
    let read = client::consume_to_end(&broker.connection(&topic), PATIENCE).expect("the topic can be read");
    assert!(read == expected.iter().map(|row| row.as_bytes().to_vec()).collect::<Vec<_>>());
    expected.sort_unstable();
    assert!(broker.foreign(&topic) == expected, "the foreign client reads other rows");
}
