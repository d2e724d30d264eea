//! The hook ends the process it is in, so each case runs in a child: this test binary again, with the case in its
//! environment.

use std::process::{Command, Output, Stdio};
use std::sync::Barrier;
use std::time::Instant;

use super::*;
use crate::error::stage::StageName;

const CASE: &str = "TIDEWATCH_TEST_PANIC";

/// Runs `case` in a child.
fn child(case: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "runtime::panic::tests::in_child", "--nocapture", "--test-threads=1"]);
    command.env(CASE, case).env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

fn run(case: &str) -> (i32, String) {
    let Output { status, stderr, .. } = child(case).output().unwrap();
    (status.code().unwrap_or(-1), String::from_utf8(stderr).unwrap())
}

fn named(name: &str, run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().name(name.to_string()).spawn(run).unwrap()
}

/// What the children do; nothing in an ordinary run.
#[test]
fn in_child() {
    let Ok(case) = std::env::var(CASE) else { return };
    let addresses = vec!["127.0.0.1:2101".to_string(), "127.0.0.1:2102".to_string()];
    match case.strip_prefix("told") {
        Some(how) => {
            let listens = how.is_empty();
            install_with(addresses, move |words| listens && words.text.ends_with(": told"));
        }
        None => install(addresses),
    }
    let everyone_blocked = Arc::new(std::sync::Mutex::new(()));
    let _held = everyone_blocked.lock().unwrap();
    let blocked = Arc::clone(&everyone_blocked);
    let _waiting = named("timely:work-1", move || drop(blocked.lock()));
    match case.as_str() {
        "stage" => {
            let _ = named("timely:work-0", || {
                let _outer = StageName::of("parse").enter();
                drop(StageName::of("inner").enter());
                panic!("index out of\nbounds");
            })
            .join();
        }
        "lost" => {
            let _ = named("timely:recv-1", || panic!("timely communication error: reading data: socket closed")).join();
        }
        "unnamed" => {
            let _ = named("elsewhere", || panic!("timely communication error: writing data: broken pipe")).join();
        }
        "many" => {
            let together = Arc::new(Barrier::new(20));
            let threads: Vec<_> = (0..20)
                .map(|i| {
                    let together = Arc::clone(&together);
                    let name = if i == 0 { "timely:recv-1".to_string() } else { format!("timely:recv-{}", i + 1) };
                    named(&name, move || {
                        together.wait();
                        panic!("timely communication error: reading data: socket closed");
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| drop(thread.join()));
        }
        "secondary" => {
            let first = named("timely:recv-1", || panic!("timely communication error: reading data: reset"));
            let rest = named("timely:work-0", || {
                thread::sleep(Duration::from_millis(30));
                panic!("MergeQueue poisoned.");
            });
            let _ = (first.join(), rest.join());
        }
        "full pipe" => {
            // Fills standard error, which nobody reads, and holds its lock.
            let _ = named("log", || drop(std::io::stderr().write_all(&vec![b'x'; 1 << 20])));
            thread::sleep(Duration::from_millis(100));
            let _ = named("timely:work-0", || panic!("nobody hears this")).join();
        }
        "told" | "told in vain" => {
            let _ = named("timely:work-0", || panic!("told")).join();
        }
        "end" => end("that was all", 6),
        other => panic!("no case {other:?}"),
    }
    unreachable!("the process has ended");
}

#[test]
fn a_workers_panic_names_its_stage_and_ends_the_process() {
    let (code, stderr) = run("stage");
    assert_eq!(code, 70, "{stderr}");
    assert!(stderr.starts_with("error: thread \"timely:work-0\" panicked in stage \"parse\" at src"), "{stderr}");
    assert!(stderr.contains("index out of\nbounds"), "{stderr}");
}

#[test]
fn a_lost_process_is_named_in_one_line() {
    let (code, stderr) = run("lost");
    assert_eq!(code, 6, "{stderr}");
    let line = "error: lost process 1 (127.0.0.1:2102): reading data: socket closed; \
                this process stops, start the whole cluster again\n";
    assert_eq!(stderr, line);
    let (code, stderr) = run("unnamed");
    assert_eq!(code, 6, "{stderr}");
    assert!(stderr.starts_with("error: lost another process: writing data: broken pipe"), "{stderr}");
}

#[test]
fn only_the_first_of_many_panics_speaks() {
    let (code, stderr) = run("many");
    assert_eq!((code, stderr.lines().count()), (6, 1), "{stderr}");
    let (code, stderr) = run("secondary");
    assert_eq!((code, stderr.lines().count()), (6, 1), "{stderr}");
    assert!(stderr.contains("lost process 1") && !stderr.contains("poisoned"), "{stderr}");
}

#[test]
fn a_full_standard_error_does_not_keep_the_process() {
    let start = Instant::now();
    let mut process = child("full pipe").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "still there");
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(70));
}

#[test]
fn what_somebody_was_told_is_not_written() {
    let (code, stderr) = run("told");
    assert_eq!((code, stderr.as_str()), (70, ""));
    let (code, stderr) = run("told in vain");
    assert_eq!((code, stderr.lines().count()), (70, 1), "{stderr}");
    let (code, stderr) = run("end");
    assert_eq!((code, stderr.as_str()), (6, "error: that was all\n"));
}
