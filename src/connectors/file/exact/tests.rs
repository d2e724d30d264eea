use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::connectors::file::FileSink;
use crate::connectors::sink::{Generation, SinkConnector, SinkContext};

const EPOCHS: u64 = 6;

fn open(folder: &Path, generation: u64, roll_bytes: u64) -> Result<Box<dyn SinkWriter>> {
    let generation = Some(Generation { state: "s".into(), number: generation });
    let context = SinkContext { name: "rows".into(), shard: 0, shards: 1, run_ms: 0, generation };
    FileSink::new(folder).roll_bytes(roll_bytes).open(&context)
}

/// The rows of an epoch: two, of different lengths; none for one of them.
fn rows(epoch: u64) -> Vec<String> {
    if epoch == 3 { Vec::new() } else { vec![format!("{epoch}"), format!("{epoch}-{}", "x".repeat(epoch as usize))] }
}

/// Writes the epochs that are not committed, from `committed` on, and waits until they are durable.
fn write_epochs(writer: &mut dyn SinkWriter, up_to: u64) {
    let from = writer.committed().map_or(1, |committed| committed + 1);
    for epoch in from..=up_to {
        rows(epoch).iter().for_each(|row| writer.write(None, row.as_bytes()).unwrap());
        writer.seal(epoch).unwrap();
        while writer.durable().unwrap() != Some(epoch) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

fn all_rows() -> Vec<String> {
    (1..=EPOCHS).flat_map(rows).collect()
}

/// The rows in finished files, in their order.
fn finished(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    paths.sort();
    paths
        .iter()
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

/// Goes on in a folder as a kill left it, and checks that every row is there once.
fn goes_on(folder: &Path, roll_bytes: u64, what: &str) {
    let mut writer = open(folder, 2, roll_bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    write_epochs(&mut *writer, EPOCHS);
    writer.finish().unwrap();
    assert_eq!(finished(folder), all_rows(), "{what}");
}

#[test]
fn whatever_is_on_the_disk_after_a_kill_each_row_comes_out_once() {
    for roll_bytes in [1, 20, 1_000] {
        for killed_after in 0..=EPOCHS {
            let folder = tempfile::tempdir().unwrap();
            let mut writer = open(folder.path(), 1, roll_bytes).unwrap();
            write_epochs(&mut *writer, killed_after);
            drop(writer);
            // Rows of an epoch that was not sealed.
            for entry in fs::read_dir(folder.path()).unwrap().map(std::result::Result::unwrap) {
                if entry.file_name().to_str().unwrap().ends_with(".partial") {
                    let mut file = fs::OpenOptions::new().append(true).open(entry.path()).unwrap();
                    file.write_all("not committed\n".repeat(20).as_bytes()).unwrap();
                }
            }
            let left = copy(folder.path());
            let log = left.path().join(".rows-19700101T000000000Z-s00.progress");
            let frames = fs::read(&log).unwrap();
            goes_on(left.path(), roll_bytes, &format!("roll {roll_bytes}, killed after {killed_after}"));
            // The last frame did not reach the disk, or half of it did; the rows before it did. With one file that is all there is to it.
            let last =
                frames.iter().rev().skip(1).position(|byte| *byte == b'\n').map_or(0, |back| frames.len() - 1 - back);
            for cut in (last..frames.len()).filter(|_| roll_bytes == 1_000) {
                let left = copy(folder.path());
                fs::write(left.path().join(log.file_name().unwrap()), &frames[..cut]).unwrap();
                goes_on(left.path(), roll_bytes, &format!("killed after {killed_after}, log cut at {cut}"));
            }
        }
    }
}

#[test]
fn rows_that_were_committed_and_are_gone_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), 1, 1_000).unwrap();
    write_epochs(&mut *writer, 2);
    drop(writer);
    let partial = folder.path().join(".rows-19700101T000000000Z-s00-000000.jsonl.partial");
    let size = fs::metadata(&partial).unwrap().len();
    fs::OpenOptions::new().write(true).open(&partial).unwrap().set_len(size - 1).unwrap();
    let error = open(folder.path(), 2, 1_000).err().unwrap().to_string();
    assert!(error.contains("lost rows") && error.contains("\"rows\"") && error.contains(".partial"), "{error}");
}

#[test]
fn a_later_generation_keeps_earlier_ones_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), 2, 1_000).unwrap();
    write_epochs(&mut *writer, 1);
    drop(writer);
    assert!(open(folder.path(), 1, 1_000).err().unwrap().to_string().contains("generation 2"));
}

#[test]
fn files_roll_by_size_and_by_the_time_of_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let generation = Some(Generation { state: "s".into(), number: 1 });
    let context = SinkContext { name: "rows".into(), shard: 0, shards: 1, run_ms: 0, generation };
    let sink = FileSink::new(folder.path()).roll_after(Duration::from_millis(100));
    let mut writer = sink.open(&context).unwrap();
    writer.write(None, b"a").unwrap();
    writer.seal(1_000).unwrap();
    assert!(finished(folder.path()).is_empty());
    writer.seal(1_100).unwrap();
    for _ in 0..1_000 {
        if !finished(folder.path()).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(finished(folder.path()), ["a"]);
    assert_eq!(writer.durable().unwrap(), Some(1_100));
    writer.write(None, b"b").unwrap();
    writer.seal(1_200).unwrap();
    writer.finish().unwrap();
    assert_eq!(finished(folder.path()), ["a", "b"]);
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_and_nothing_becomes_durable() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), 1, 1_000).unwrap();
    // Something has the name of the hidden file.
    fs::create_dir(folder.path().join(".rows-19700101T000000000Z-s00-000000.jsonl.partial")).unwrap();
    writer.write(None, b"row").unwrap();
    writer.seal(1).unwrap();
    let error = loop {
        match writer.durable() {
            Ok(durable) => assert_eq!(durable, None),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("\"rows\"") && error.contains("hint"), "{error}");
}
