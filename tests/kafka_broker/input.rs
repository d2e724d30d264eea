//! What the tests read: generated logs by partition, and where the real one is, if it is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidewatch::connectors::generator::openssh::{self, AuthLog};
use tidewatch::connectors::generator::{Generator, GeneratorConfig};
use tidewatch::connectors::source::{Collector, Partition, Polled, SourceConnector, SourceContext};
use tidewatch::record::Reason;
use tidewatch::time::EventTime;

pub(crate) const PARTITIONS: u32 = 4;

/// 2024-05-01T00:00:00Z: in the past whenever the tests run.
const START: EventTime = EventTime::from_millis(1_714_521_600_000);

/// The year of [`START`], which half of the generated hosts do not write.
pub(crate) const YEAR: i32 = 2024;

/// Lines by partition.
pub(crate) struct Input {
    pub(crate) lines: Vec<(u32, Vec<u8>)>,
}

/// Where a record is: the partition as dead letters name it, and the offset.
pub(crate) type Place = (String, u64);

impl Input {
    /// The logs of four servers, and the places of the lines that were planted to be refused.
    pub(crate) fn openssh() -> (Input, BTreeSet<Place>) {
        let log = AuthLog::new(&GeneratorConfig { start: START, malformed: 0.01, ..openssh::demo(7) });
        let (mut lines, mut malformed, mut next) = (Vec::new(), BTreeSet::new(), [0; PARTITIONS as usize]);
        for line in log {
            let offset = &mut next[line.partition as usize];
            if line.malformed {
                malformed.insert((line.partition.to_string(), *offset));
            }
            *offset += 1;
            lines.push((line.partition, line.bytes));
        }
        (Input { lines }, malformed)
    }

    /// `events` authentication events as JSON, `per_second` of them in a second of event time.
    pub(crate) fn auth_events(events: u64, per_second: f64) -> Input {
        let generator = Generator::new(&GeneratorConfig {
            events: Some(events),
            partitions: PARTITIONS,
            keys: 500,
            malformed: 0.01,
            start: START,
            events_per_second: per_second,
            ..GeneratorConfig::default()
        });
        let context =
            SourceContext { name: "events".into(), worker: 0, workers: 1, record_bytes_max: 1 << 20, journals: None };
        let mut input = Input { lines: Vec::new() };
        let mut reader = generator.open(&context).expect("the generator opens");
        while reader.poll(1 << 20, &mut input).expect("the generator does not fail") != Polled::Finished {}
        input
    }

    /// The places of lines that are no JSON object of an authentication event, by serde_json's judgement.
    pub(crate) fn no_auth_events(&self) -> BTreeSet<Place> {
        let mut next = [0; PARTITIONS as usize];
        let placed = self.lines.iter().map(|(partition, line)| {
            let offset = &mut next[*partition as usize];
            *offset += 1;
            ((partition.to_string(), *offset - 1), line)
        });
        placed.filter(|(_, line)| event_time(line).is_none()).map(|(place, _)| place).collect()
    }

    /// Up to where every partition's events are complete: the least over partitions of the newest event, less
    /// `allowance`.
    pub(crate) fn watermark_ms(&self, allowance: Duration) -> i64 {
        let newest = |partition| {
            let times = self.lines.iter().filter(|(p, _)| *p == partition).filter_map(|(_, line)| event_time(line));
            times.max().expect("every partition has events")
        };
        let allowance = i64::try_from(allowance.as_millis()).expect("a short time");
        (0..PARTITIONS).map(newest).min().expect("there are partitions") - allowance
    }

    /// Writes one file per partition and returns the pattern that matches them.
    pub(crate) fn files(&self, folder: &Path) -> String {
        let mut texts = vec![Vec::new(); PARTITIONS as usize];
        for (partition, line) in &self.lines {
            let text: &mut Vec<u8> = &mut texts[*partition as usize];
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        for (partition, text) in texts.iter().enumerate() {
            fs::write(folder.join(format!("{partition}.in")), text).expect("the file can be written");
        }
        folder.join("*.in").to_str().expect("a folder with a plain name").to_owned()
    }
}

impl Collector for Input {
    fn joined(&mut self, _: Partition, _: &str) {}
    fn record(&mut self, partition: Partition, _: u64, bytes: &[u8]) {
        self.lines.push((partition.0, bytes.to_vec()));
    }
    fn rejected(&mut self, _: Partition, _: u64, _: u64, _: &[u8], _: Reason, _: &str) {}
    fn caught_up(&mut self, _: Partition) {}
    fn lag(&mut self, _: Partition, _: u64) {}
    fn ended(&mut self, _: Partition) {}
}

/// The time of a complete authentication event.
fn event_time(line: &[u8]) -> Option<i64> {
    let event: serde_json::Value = serde_json::from_slice(line).ok()?;
    let texts = ["host", "src_ip", "user", "action", "outcome", "message"].iter().all(|name| event[name].is_string());
    (texts && event["bytes"].is_u64()).then(|| event["ts"].as_i64()).flatten()
}

/// A file of the shared test data, from `TIDEWATCH_SHARED` or the folder beside the repository; `None` if it is not
/// there.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("TIDEWATCH_SHARED").map_or_else(beside, PathBuf::from);
    Some(folder.join(path)).filter(|path| path.exists())
}
