//! The client's statistics, once a second: how far each partition's log goes, and whether its broker answers.
//!
//! librdkafka reports only once that a partition's end was reached. That an idle partition is *still* empty, and not
//! merely cut off, is known from here: the last fetch ended at the end of the log and its broker answered recently.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// How often librdkafka reports, in milliseconds.
pub(super) const INTERVAL_MS: &str = "1000";

/// A broker that has been silent for longer counts as cut off. Idle fetches are answered every
/// [`FETCH_WAIT_MS`](super::source::FETCH_WAIT_MS), so this is many answers missed.
const SILENCE_MAX_US: i64 = 2_000_000;

/// For how long statistics show that a partition is empty: after that librdkafka has made newer ones, which are in
/// flight, and records may have come.
const VALID: Duration = Duration::from_millis(1500);

/// The client's statistics at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// When they were made: they wait to be served, for as long as the client is not polled.
    made: Instant,
    /// The partitions of the topic that have been fetched.
    pub(super) partitions: Vec<PartitionReport>,
}

impl Report {
    /// The client's report at `made`.
    pub(super) fn new(made: Instant, partitions: Vec<PartitionReport>) -> Self {
        Report { made, partitions }
    }

    /// The same, but statistics that are too old at `now` call no partition empty.
    pub(super) fn at(mut self, now: Instant) -> Self {
        if now.saturating_duration_since(self.made) > VALID {
            self.partitions.iter_mut().for_each(|partition| partition.empty = false);
        }
        self
    }
}

/// The statistics of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionReport {
    /// Its number.
    pub(super) partition: u32,
    /// Offset after the last committed record, as of the last fetch.
    pub(super) end: i64,
    /// Whether the last fetch came back empty from a broker that is answering.
    pub(super) empty: bool,
}

#[derive(Deserialize)]
struct Client {
    /// Of the client, in microseconds.
    age: u64,
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
struct Broker {
    nodeid: i32,
    state: String,
    rxidle: i64,
}

#[derive(Deserialize)]
struct Topic {
    partitions: BTreeMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: i32,
    broker: i32,
    eof_offset: i64,
    hi_offset: i64,
    ls_offset: i64,
}

/// The partitions of `topic` in the JSON of a client that was created at `created`; partitions that were not fetched
/// yet are omitted.
pub(super) fn parse(json: &[u8], topic: &str, created: Instant) -> Result<Report, serde_json::Error> {
    let client: Client = serde_json::from_slice(json)?;
    let answers = |id: i32| {
        client
            .brokers
            .values()
            .any(|broker| broker.nodeid == id && broker.state == "UP" && (0..SILENCE_MAX_US).contains(&broker.rxidle))
    };
    let partitions = client.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.values());
    let partitions = partitions.filter_map(|found| {
        // The last stable offset bounds what a reader of committed records gets; brokers before 0.11 have none.
        let end = if found.ls_offset >= 0 { found.ls_offset } else { found.hi_offset };
        let partition = u32::try_from(found.partition).ok()?;
        let empty = found.eof_offset == end && answers(found.broker);
        (end >= 0).then_some(PartitionReport { partition, end, empty })
    });
    Ok(Report::new(created + Duration::from_micros(client.age), partitions.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: &str, rxidle: i64, eof: i64, hi: i64, ls: i64) -> Vec<PartitionReport> {
        let json = serde_json::json!({
            "name": "x",
            "age": 3_000_000,
            "brokers": {
                "h:1/bootstrap": {"nodeid": -1, "state": "UP", "rxidle": 0},
                "h:1/7": {"nodeid": 7, "state": state, "rxidle": rxidle, "req": {"Fetch": 3}},
            },
            "topics": {"t": {"topic": "t", "partitions": {
                "-1": {"partition": -1, "broker": -1, "eof_offset": -1001, "hi_offset": -1001, "ls_offset": -1001},
                "4": {"partition": 4, "broker": 7, "eof_offset": eof, "hi_offset": hi, "ls_offset": ls},
            }}, "other": {"partitions": {}}},
        });
        let created = Instant::now();
        let report = parse(json.to_string().as_bytes(), "t", created).unwrap();
        assert_eq!(report.made, created + Duration::from_secs(3));
        report.partitions
    }

    #[test]
    fn an_empty_fetch_is_told_from_a_broker_that_is_silent() {
        let is = |end, empty| vec![PartitionReport { partition: 4, end, empty }];
        assert_eq!(report("UP", 1_999_999, 50, 50, 50), is(50, true));
        assert_eq!(report("UP", 2_000_000, 50, 50, 50), is(50, false));
        assert_eq!(report("UP", -1, 50, 50, 50), is(50, false));
        assert_eq!(report("DOWN", 0, 50, 50, 50), is(50, false));
        assert_eq!(report("UP", 0, 40, 50, 50), is(50, false));
    }

    #[test]
    fn an_open_transaction_is_beyond_the_end() {
        assert_eq!(report("UP", 0, 50, 60, 50), vec![PartitionReport { partition: 4, end: 50, empty: true }]);
        assert_eq!(report("UP", 0, 60, 60, -1001)[0].end, 60);
        assert_eq!(report("UP", 0, -1001, -1001, -1001), vec![]);
    }

    #[test]
    fn what_is_not_statistics_is_an_error() {
        assert!(parse(b"{\"age\": 1, \"topics\": 3}", "t", Instant::now()).is_err());
        assert!(parse(b"{\"age\": 1, \"topics\": {}}", "t", Instant::now()).is_ok());
    }

    #[test]
    fn old_figures_call_no_partition_empty_but_still_say_how_far_it_goes() {
        let figures = |empty| vec![PartitionReport { partition: 4, end: 50, empty }];
        let made = Instant::now();
        let report = Report::new(made, figures(true));
        assert_eq!(report.clone().at(made + VALID).partitions, figures(true));
        assert_eq!(report.at(made + VALID + Duration::from_millis(1)).partitions, figures(false));
    }
}
