//! The complete writer, with its thread, on the disk of this machine.

use std::time::{Duration, Instant};

use super::*;
use crate::connectors::file::FileSink;
use crate::connectors::file::exact::ExactWriter;
use crate::connectors::file::exact::committer::Committer;
use crate::connectors::sink::{SinkConnector, SinkWriter};
use crate::error::Error;

fn wait_for(writer: &mut dyn SinkWriter, epoch: Epoch) {
    let began = Instant::now();
    while writer.durable().unwrap() < Some(epoch) {
        assert!(began.elapsed() < Duration::from_secs(60), "epoch {epoch} did not become durable");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The texts of the files that are finished.
fn finished(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    paths.sort();
    paths.into_iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn a_run_resumes_where_the_one_before_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path().join("out"));
    let (out, naming) = (folder.path().join("out"), Naming::new(&context(1), &folder.path().join("out")));
    let mut writer = sink.open(&context(1)).unwrap();
    assert_eq!((writer.committed(), writer.durable().unwrap()), (None, None));
    writer.write(None, b"one").unwrap();
    writer.seal(1).unwrap();
    wait_for(&mut *writer, 1);
    // Rows that were not sealed reach the file, and do not count.
    writer.write(None, &vec![b'x'; 600_000]).unwrap();
    drop(writer);

    let mut writer = sink.open(&context(2)).unwrap();
    assert_eq!(writer.committed(), Some(1));
    assert_eq!(std::fs::read_to_string(naming.partial(0)).unwrap(), "one\n");
    writer.seal(1).unwrap();
    assert_eq!(writer.durable().unwrap(), Some(1), "nothing of it is missing");
    writer.write(None, b"two").unwrap();
    writer.seal(2).unwrap();
    assert!(finished(&out).is_empty());
    writer.finish().unwrap();
    assert_eq!(finished(&out), ["one\ntwo\n"]);

    let mut writer = sink.open(&context(3)).unwrap();
    assert_eq!(writer.committed(), Some(2), "the log stays");
    writer.write(None, b"three").unwrap();
    writer.seal(3).unwrap();
    writer.finish().unwrap();
    assert_eq!(finished(&out), ["one\ntwo\n", "three\n"]);
}

#[test]
fn rows_larger_than_the_buffer_are_one_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path()).roll_bytes(1_000_000);
    let row = vec![b'x'; 1_500_000];
    let mut writer = sink.open(&context(1)).unwrap();
    for epoch in 1..=3 {
        for _ in 0..3 {
            writer.write(None, &row).unwrap();
            writer.write(None, b"short").unwrap();
        }
        writer.seal(epoch).unwrap();
        // Without rows: durable with the previous epoch.
        writer.seal(epoch + 100).unwrap();
        wait_for(&mut *writer, epoch + 100);
        assert_eq!(finished(folder.path()).len() as u64, epoch);
    }
    writer.finish().unwrap();
    let lengths: Vec<usize> = finished(folder.path()).iter().map(String::len).collect();
    assert_eq!(lengths, [3 * (1_500_001 + 6); 3]);
}

#[test]
fn epochs_without_rows_are_durable_with_those_before_and_recorded_by_none() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(folder.path());
    let mut writer = sink.open(&context(1)).unwrap();
    writer.seal(7).unwrap();
    assert_eq!(writer.durable().unwrap(), Some(7));
    drop(writer);
    let mut writer = sink.open(&context(2)).unwrap();
    assert_eq!(writer.committed(), None);
    writer.finish().unwrap();
    assert!(finished(folder.path()).is_empty(), "no file without rows");
}

#[test]
fn a_failure_of_the_thread_is_the_writers() {
    let lock = || tempfile::tempfile().unwrap();
    let start = |disk: &ModelDisk| {
        let shard = open(disk, 1).unwrap();
        ExactWriter::new("alerts", Committer::start("alerts", shard, lock()).unwrap(), None)
    };
    let failing = || {
        let disk = ModelDisk::default();
        let writer = start(&disk);
        disk.fail_sync(disk.counts().syncs);
        writer
    };
    let is_flush = |error: &Error| error.to_string().contains("a flush failed");

    let mut writer = failing();
    writer.write(None, b"row").unwrap();
    writer.seal(1).unwrap();
    let began = Instant::now();
    let error = loop {
        match writer.durable() {
            Ok(durable) => assert_eq!(durable, None),
            Err(error) => break error,
        }
        assert!(began.elapsed() < Duration::from_secs(60));
    };
    assert!(is_flush(&error), "{error}");
    // The writer is unusable: nothing is retried.
    for result in [writer.seal(2), writer.durable().map(|_| ()), writer.finish()] {
        assert!(result.unwrap_err().to_string().contains("has failed before"));
    }

    let mut writer = failing();
    writer.write(None, b"row").unwrap();
    writer.seal(1).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(is_flush(&error), "{error}");
}

#[test]
fn rows_that_are_not_sealed_cannot_be_finished() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = FileSink::new(folder.path()).open(&context(1)).unwrap();
    writer.write(None, b"row").unwrap();
    assert_eq!(writer.finish().unwrap_err().kind().exit_code(), 70);
}
