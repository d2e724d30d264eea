//! Fills a topic and reads one to its end, in one call each, by the sink and the source themselves.
//!
//! For demonstrations, benchmarks and tests: both block.

use std::thread;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::sink::KafkaSink;
use super::source::{KafkaSource, Until};
use crate::codec::limits::RECORD_BYTES_MAX_DEFAULT;
use crate::connectors::sink::{SinkContext, SinkWriter};
use crate::connectors::source::{Collector, Partition, Polled, SourceConnector, SourceContext};
use crate::error::{Error, Result};
use crate::record::Reason;

/// The name that these clients have in errors and in the brokers' logs.
const NAME: &str = "client";

/// How much is read between two looks at the clock, in bytes.
const BUDGET: usize = 1024 * 1024;

/// Appends `rows` to the connection's topic, each with an optional key, and waits until all are acknowledged. Returns
/// how many.
///
/// # Errors
/// If the topic cannot be written, or the rows are not acknowledged within `deadline` after the last one.
pub fn produce<K: AsRef<[u8]>, R: AsRef<[u8]>>(
    connection: &Connection,
    rows: impl IntoIterator<Item = (Option<K>, R)>,
    deadline: Duration,
) -> Result<u64> {
    let context = SinkContext { name: NAME.into(), shard: 0, shards: 1, run_ms: 0, generation: None };
    let mut writer = KafkaSink::new(connection.clone()).writer(&context)?;
    let mut count = 0;
    for (key, row) in rows {
        writer.write(key.as_ref().map(AsRef::as_ref), row.as_ref())?;
        count += 1;
    }
    writer.seal(1)?;
    let start = Instant::now();
    while writer.durable()?.is_none() {
        if start.elapsed() > deadline {
            return Err(Error::sink(format!("{connection} did not acknowledge all rows within {deadline:?}")));
        }
        thread::sleep(writer.poll_interval());
    }
    writer.finish()?;
    Ok(count)
}

/// The values of all records that the connection's topic has now: partition by partition, each in order.
///
/// Records without a value, or longer than [`RECORD_BYTES_MAX_DEFAULT`], are omitted.
///
/// # Errors
/// If the topic cannot be read, or not within `deadline`.
pub fn consume_to_end(connection: &Connection, deadline: Duration) -> Result<Vec<Vec<u8>>> {
    let source = KafkaSource { until: Until::End, ..KafkaSource::new(connection.clone()) };
    let context = SourceContext {
        name: NAME.into(),
        worker: 0,
        workers: 1,
        record_bytes_max: RECORD_BYTES_MAX_DEFAULT,
        journals: None,
    };
    let mut reader = source.open(&context)?;
    let mut values = Values::default();
    let start = Instant::now();
    loop {
        match reader.poll(BUDGET, &mut values)? {
            Polled::Finished => break,
            _ if start.elapsed() > deadline => {
                return Err(Error::source(format!("{connection} could not be read to its end within {deadline:?}")));
            }
            Polled::More => {}
            Polled::Wait(wait) => thread::sleep(wait),
        }
    }
    Ok(values.0.into_iter().flatten().collect())
}

/// The values by partition.
#[derive(Default)]
struct Values(Vec<Vec<Vec<u8>>>);

impl Collector for Values {
    fn joined(&mut self, partition: Partition, _: &str) {
        let index = partition.0 as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, Vec::new);
        }
    }

    fn record(&mut self, partition: Partition, _: u64, bytes: &[u8]) {
        self.0[partition.0 as usize].push(bytes.to_vec());
    }

    fn rejected(&mut self, _: Partition, _: u64, _: u64, _: &[u8], _: Reason, _: &str) {}
    fn caught_up(&mut self, _: Partition) {}
    fn lag(&mut self, _: Partition, _: u64) {}
    fn ended(&mut self, _: Partition) {}
}
