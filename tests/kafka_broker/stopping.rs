//! SIGTERM while an endless dataflow runs over Kafka.

use std::thread;
use std::time::{Duration, Instant};

use tidewatch::connectors::kafka::client;

use super::broker::{Broker, PATIENCE};
use super::input::{Input, PARTITIONS};
use super::program::{Program, expect_same, parsed, rows, to_file};

const WINDOW_MS: i64 = 60_000;

#[test]
fn sigterm_writes_what_was_read_and_exits_with_0() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let input = Input::auth_events(20_000, 100.0);
    let watermark_ms = input.watermark_ms(Duration::from_secs(5));
    let (events, windows) = (broker.topic(PARTITIONS), broker.topic(2));

    // What a run over all of it says, less the windows that the watermark has not passed.
    let complete = folder.path().join("complete");
    let settings = [
        format!("sources.events.path={:?}", input.files(folder.path())),
        to_file("sinks.windows", &complete),
        "sinks.alerts.kind=null".to_owned(),
    ];
    Program::run("auth-windows", 1, &settings);
    let all = rows(&complete);
    let closed = |row: &serde_json::Value| row["window_start"].as_i64().expect("a time") + WINDOW_MS <= watermark_ms;
    let rows_of_all = all.iter().zip(parsed(&all));
    let expected: Vec<String> = rows_of_all.filter(|(_, row)| closed(row)).map(|(text, _)| text.clone()).collect();
    assert!(expected.len() > 500 && expected.len() < all.len());

    let address = &broker.address;
    let running = Program::start(
        "auth-windows",
        2,
        &[
            format!("sources.events={{kind=\"kafka\", brokers=\"{address}\", topic=\"{events}\"}}"),
            format!(
                "sinks.windows=[{{kind=\"kafka\", brokers=\"{address}\", topic=\"{windows}\"}}, \
                 {{kind=\"file\", path={:?}}}]",
                folder.path().join("windows").display().to_string()
            ),
            "sinks.alerts.kind=null".to_owned(),
            to_file("dead_letters", &folder.path().join("dead")),
        ],
    );
    broker.place(&events, input.lines.iter().map(|(partition, line)| (*partition, line)));
    let start = Instant::now();
    while client::consume_to_end(&broker.connection(&windows), PATIENCE).unwrap().len() < expected.len() {
        assert!(start.elapsed() < PATIENCE, "{}", running.said());
        thread::sleep(Duration::from_millis(100));
    }
    // The last events close no window: give them the time to be read.
    thread::sleep(Duration::from_secs(1));
    running.terminate();
    let stopping = Instant::now();
    let ended = running.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(stopping.elapsed() < Duration::from_secs(10), "it took {:?}", stopping.elapsed());

    expect_same(&rows(&folder.path().join("windows")), &expected, "the files");
    expect_same(&broker.foreign(&windows), &expected, "the topic");
    let (read, processed, dead) = ended.counts();
    assert_eq!((read, processed + dead), (input.lines.len() as u64, read), "{}", ended.said);
    assert_eq!(rows(&folder.path().join("dead")).len() as u64, dead);
}
