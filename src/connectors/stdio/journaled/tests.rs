use std::io::{Cursor as Bytes, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::connectors::lines::tests::{Call, Calls};
use crate::connectors::stdio::input::tests::context;

const BYTES_MAX: u64 = 1 << 30;

fn known(from: u64, next: u64, ended: bool) -> KnownPartition {
    KnownPartition { partition: 0, label: "stdin".into(), from, next, ended, identity: None }
}

fn start(
    folder: &Path,
    known: Option<&KnownPartition>,
    at_end: AtEnd,
    stream: impl Read + Send + 'static,
) -> JournaledReader {
    let journals = Journals::new(folder, "s");
    JournaledReader::start(&context(10), &journals, known, (BYTES_MAX, at_end), stream).unwrap()
}

/// Polls until the reader has finished.
fn read_all(mut reader: JournaledReader) -> Result<Calls> {
    let mut heard = Calls::default();
    while reader.poll(8, &mut heard)? != Polled::Finished {
        thread::yield_now();
    }
    assert_eq!(reader.poll(8, &mut heard)?, Polled::Finished);
    assert_eq!(heard.said[0], Call::Joined(0, "stdin".into()));
    Ok(heard)
}

/// Polls until `records` records were handed over in all.
fn read(reader: &mut JournaledReader, heard: &mut Calls, records: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while heard.records().len() < records {
        assert!(Instant::now() < deadline, "only {:?}", heard.records());
        reader.poll(1_000, heard).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
}

fn numbered(texts: &[&str], from: u64) -> Vec<(u64, String)> {
    (from..).zip(texts.iter().map(|text| (*text).to_owned())).collect()
}

#[test]
fn lines_have_consecutive_offsets_and_the_partition_ends() {
    let folder = tempfile::tempdir().unwrap();
    let input = Bytes::new(b"one\n\ntwo\r\n01234567890\nthree".to_vec());
    let heard = read_all(start(folder.path(), None, AtEnd::Close, input)).unwrap();
    let expected = [
        Call::Joined(0, "stdin".into()),
        Call::Record(0, 0, b"one".to_vec()),
        Call::Record(0, 1, b"two\r".to_vec()),
        Call::Rejected(0, 2, 11, b"01234567890".to_vec()),
        Call::Record(0, 3, b"three".to_vec()),
        Call::Ended(0),
    ];
    assert_eq!(heard.said, expected);
    assert_eq!(heard.lag[&0], 0);
}

#[test]
fn a_run_resumes_with_the_journal_and_continues_with_its_own_input() {
    let folder = tempfile::tempdir().unwrap();
    let (mut pipe, stream) = UnixStream::pair().unwrap();
    let mut killed = start(folder.path(), None, AtEnd::Close, stream);
    let mut heard = Calls::default();
    pipe.write_all(b"a\nb\nc\nunfinished").unwrap();
    read(&mut killed, &mut heard, 3);
    assert!(!heard.said.contains(&Call::Ended(0)));
    drop(killed);
    for bound in 0..=3 {
        // None of the three was bound, or some, or all.
        let known = (bound > 0).then(|| known(0, bound, false));
        let reader = start(folder.path(), known.as_ref(), AtEnd::Close, Bytes::new(b"".to_vec()));
        assert_eq!(read_all(reader).unwrap().records(), numbered(&["a", "b", "c"], 0));
    }
    let reader = start(folder.path(), Some(&known(1, 2, false)), AtEnd::Close, Bytes::new(b"d\ne\n".to_vec()));
    assert_eq!(reader.begins_at(STDIN), 1);
    assert_eq!(read_all(reader).unwrap().records(), numbered(&["b", "c", "d", "e"], 1));
}

#[test]
fn an_input_that_ended_has_no_more() {
    let folder = tempfile::tempdir().unwrap();
    read_all(start(folder.path(), None, AtEnd::Close, Bytes::new(b"a\n".to_vec()))).unwrap();
    let again = |at_end, input: &str| {
        let input = Bytes::new(input.as_bytes().to_vec());
        read_all(start(folder.path(), Some(&known(0, 1, true)), at_end, input))
    };
    for at_end in [AtEnd::Close, AtEnd::Keep] {
        assert_eq!(again(at_end, "\n").unwrap().said.last(), Some(&Call::Ended(0)));
        let error = again(at_end, "b\n").unwrap_err().to_string();
        assert!(error.contains("ended in an earlier run") && error.contains("at_end"), "{error}");
    }
    assert_eq!(again(AtEnd::Close, "").unwrap().records(), numbered(&["a"], 0));
}

#[test]
fn an_input_that_is_kept_open_is_resumed_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..3u64 {
        let known = (run > 0).then(|| known(0, run, false));
        let heard = read_all(start(folder.path(), known.as_ref(), AtEnd::Keep, Bytes::new(b"a\n".to_vec()))).unwrap();
        assert!(!heard.said.contains(&Call::Ended(0)));
        assert_eq!(heard.records().len() as u64, run + 1);
    }
}

#[test]
fn a_silent_input_is_caught_up_and_a_reader_that_is_held_hands_over_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut pipe, stream) = UnixStream::pair().unwrap();
    let mut reader = start(folder.path(), None, AtEnd::Close, stream);
    let mut heard = Calls::default();
    assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Wait(IDLE_WAIT));
    assert!(heard.caught_up.contains(&0));
    reader.hold(STDIN, true);
    pipe.write_all(b"a\n").unwrap();
    while reader.journal.durable() == 0 {
        thread::yield_now();
    }
    reader.poll(1_000, &mut heard).unwrap();
    assert_eq!(heard.records(), []);
    reader.hold(STDIN, false);
    read(&mut reader, &mut heard, 1);
}

#[test]
fn a_full_journal_is_not_idle_and_continues_when_it_was_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let (mut pipe, stream) = UnixStream::pair().unwrap();
    let journals = Journals::new(folder.path(), "s");
    let mut reader = JournaledReader::start(&context(10), &journals, None, (500, AtEnd::Close), stream).unwrap();
    let mut heard = Calls::default();
    let mut lines = 0;
    // One at a time, so that each has a frame.
    while !reader.journal.is_full() {
        pipe.write_all(b"0123456789\n").unwrap();
        lines += 1;
        while reader.journal.durable() < lines && !reader.journal.is_full() {
            thread::yield_now();
        }
    }
    assert_eq!((lines, reader.journal.durable(), reader.journal.bytes()), (13, 12, 12 * 42));
    read(&mut reader, &mut heard, 12);
    heard.caught_up.clear();
    assert_eq!(reader.poll(1_000, &mut heard).unwrap(), Polled::Wait(IDLE_WAIT));
    assert!(heard.caught_up.is_empty());
    reader.checkpointed(STDIN, 11);
    assert!(reader.journal.is_full(), "the last record of the segment is still needed");
    reader.checkpointed(STDIN, 12);
    read(&mut reader, &mut heard, 13);
    assert_eq!(reader.journal.bytes(), 42);
}

#[test]
fn an_input_that_cannot_be_read_is_an_error_after_what_was_read() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(std::io::Error::other("gone"));
            }
            buffer[..2].copy_from_slice(b"a\n");
            Ok(2)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut reader = start(folder.path(), None, AtEnd::Close, Broken(false));
    let mut heard = Calls::default();
    let error = loop {
        if let Err(error) = reader.poll(1_000, &mut heard) {
            break error.to_string();
        }
    };
    assert!(error.contains("cannot read standard input: gone"), "{error}");
    assert_eq!(heard.records(), numbered(&["a"], 0));
}
