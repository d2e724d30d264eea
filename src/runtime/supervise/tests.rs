//! Supervision of foreign processes: shells, with the test itself at the process's end of the link.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::telemetry::SinkTotals;

/// A supervisor that runs on a thread of its own.
struct Running {
    _folder: TempDir,
    socket: PathBuf,
    pids: Vec<u32>,
    requests: StopRequests,
    ending: mpsc::Receiver<Result<Ending>>,
}

impl Running {
    fn start(scripts: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let shell = |script: &&str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::null());
            command
        };
        let supervisor = Supervisor::start(&socket, scripts.iter().map(shell).collect()).unwrap();
        let pids = supervisor.members.iter().map(Member::pid).collect();
        let requests = StopRequests::default();
        let (done, ending) = mpsc::channel();
        let counted = requests.clone();
        thread::spawn(move || done.send(supervisor.run(&counted)).unwrap());
        Running { _folder: folder, socket, pids, requests, ending }
    }

    fn ending(&self) -> Result<Ending> {
        self.ending.recv_timeout(Duration::from_secs(20)).expect("the supervisor ends")
    }

    fn error(&self) -> (u8, String) {
        let error = self.ending().unwrap_err();
        (error.kind().exit_code(), error.to_string())
    }
}

fn finished(rows: u64, seconds: f64) -> Report {
    let mut finished = Finished { seconds, ..Finished::default() };
    finished.totals.sinks.insert("out".to_owned(), SinkTotals { records: rows, bytes: 0 });
    Report::Finished(finished)
}

/// A script that ends only when it is made to.
const UNTIL_TOLD: &str = "exec sleep 60";

#[test]
fn what_was_counted_is_added_up() {
    let running = Running::start(&["sleep 0.3", "sleep 0.3"]);
    for (process, report) in [(0, finished(3, 1.0)), (1, finished(4, 2.0))] {
        assert!(Link::connect(&running.socket, process).unwrap().tell(&report));
    }
    let Ok(Ending::Finished(all, stopped)) = running.ending() else { panic!("not finished") };
    assert_eq!((all.totals.sinks["out"].records, all.seconds, stopped), (7, 2.0, false));
}

#[test]
fn a_process_that_leaves_without_a_word_ends_the_others() {
    let running = Running::start(&[UNTIL_TOLD, "kill -s KILL $$", UNTIL_TOLD]);
    let line = format!("process 1 (pid {}) was killed by signal 9; the cluster has stopped", running.pids[1]);
    assert_eq!(running.error(), (6, line));
    let running = Running::start(&[UNTIL_TOLD, "exit 0"]);
    let line = format!(
        "process 1 (pid {}) exited with code 0 before the dataflow had finished; the cluster has stopped",
        running.pids[1]
    );
    assert_eq!(running.error(), (6, line));
}

#[test]
fn the_error_of_a_process_is_that_of_the_cluster_even_if_others_speak_first() {
    let running = Running::start(&[UNTIL_TOLD, UNTIL_TOLD]);
    let (first, second) = (Link::connect(&running.socket, 0).unwrap(), Link::connect(&running.socket, 1).unwrap());
    assert!(first.tell(&Report::Lost { message: "lost process 1".to_owned() }));
    thread::sleep(Duration::from_millis(50));
    assert!(second.tell(&Report::Failed { code: 4, message: "sink \"out\" is full\n  hint: buy disks".to_owned() }));
    assert_eq!(running.error(), (4, "sink \"out\" is full\n  hint: buy disks".to_owned()));
}

#[test]
fn a_stop_reaches_every_process_once_and_a_second_one_ends_them() {
    let running = Running::start(&[UNTIL_TOLD, UNTIL_TOLD]);
    let connect = |process: usize| {
        let stream = UnixStream::connect(&running.socket).unwrap();
        (&stream).write_all(format!("{{\"hello\":{{\"process\":{process}}}}}\n").as_bytes()).unwrap();
        stream
    };
    let early = connect(0);
    thread::sleep(Duration::from_millis(50));
    // A process passes its own signal on, and so does each one that Ctrl-C reaches.
    (&early).write_all(b"\"signalled\"\n\"signalled\"\n").unwrap();
    running.requests.add();
    // One that connects later is told, too.
    let late = connect(1);
    for mut stream in [&early, &late] {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut told = vec![0; message::STOP.len()];
        stream.read_exact(&mut told).unwrap();
        assert_eq!(told, message::STOP);
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(stream.read(&mut told).is_err(), "told twice");
    }
    assert!(running.ending.try_recv().is_err(), "nothing of this is a second request");
    running.requests.add();
    assert!(matches!(running.ending(), Ok(Ending::Forced)));
}

#[test]
fn whoever_says_nothing_sensible_is_not_heard() {
    let running = Running::start(&["sleep 0.5"]);
    let _silent = UnixStream::connect(&running.socket).unwrap();
    for text in
        ["GET / HTTP/1.1\r\n\r\n", "{\"hello\":{\"process\":7}}\n", "{\"failed\":{\"code\":4,\"message\":\"\"}}\n"]
    {
        UnixStream::connect(&running.socket).unwrap().write_all(text.as_bytes()).unwrap();
    }
    thread::sleep(Duration::from_millis(50));
    assert!(Link::connect(&running.socket, 0).unwrap().tell(&finished(1, 1.0)));
    assert!(matches!(running.ending(), Ok(Ending::Finished(_, false))));
}

#[test]
fn a_process_that_says_nothing_is_lost() {
    let running = Running::start(&[UNTIL_TOLD, UNTIL_TOLD]);
    let links: Vec<Link> = (0..2).map(|process| Link::connect(&running.socket, process).unwrap()).collect();
    let since = Instant::now();
    let error = loop {
        assert!(links[0].tell(&Report::Alive) || since.elapsed() >= LEASE);
        match running.ending.recv_timeout(Duration::from_millis(500)) {
            Ok(ending) => break ending.unwrap_err().to_string(),
            Err(why) => assert!(since.elapsed() < 2 * LEASE, "{why}"),
        }
    };
    assert!(since.elapsed() >= LEASE, "{:?}", since.elapsed());
    let expected = format!("process 1 (pid {}) has not reported for 10 s; the cluster has stopped", running.pids[1]);
    assert!(error.starts_with(&expected), "{error}");
}
