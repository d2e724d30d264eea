//! Several processes: what happens when one is lost, told to stop, or not one of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use self::process::{
    PATIENCE, Process, endless, events, exists, files, rows, set, signal, tidewatch, wait_for_rows_written,
};

/// How long a cluster may outlive the loss of a process.
const LOSS: Duration = Duration::from_secs(5);

/// A supervised cluster over an endless source, and its processes.
fn cluster(out: &Path, processes: usize) -> (Process, Vec<u32>) {
    let (settings, count) = (endless(out), processes.to_string());
    let mut command = tidewatch(&[&["cluster", "auth-windows", "--processes", &count], &set(&settings)[..]].concat());
    // As in a terminal: one process group. A supervisor that is killed leaves its folder behind.
    let mut supervisor = Process::start(command.process_group(0).env("TMPDIR", out));
    let children = supervisor.children(processes);
    wait_for_rows(&mut supervisor, out);
    (supervisor, children)
}

fn wait_for_rows(process: &mut Process, out: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while files(&out.join("windows")).is_empty() {
        assert!(process.is_running() && Instant::now() < deadline, "{}", process.stderr());
        thread::sleep(Duration::from_millis(20));
    }
}

fn wait_until_gone(children: &[u32], limit: Duration) {
    let deadline = Instant::now() + limit;
    while let Some(pid) = children.iter().find(|pid| exists(**pid)) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_process_ends_the_cluster_with_one_line_that_names_it() {
    for lost in [0, 1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let (supervisor, children) = cluster(folder.path(), 3);
        signal("KILL", &children[lost].to_string());
        let ended = supervisor.end_within(LOSS);
        assert_eq!(ended.code(), Some(6), "{}", ended.stderr);
        let line =
            format!("error: process {lost} (pid {}) was killed by signal 9; the cluster has stopped", children[lost]);
        assert_eq!(ended.errors(), [line], "{}", ended.stderr);
        assert_eq!(ended.stderr.matches("lost process").count(), 0, "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().last(), ended.errors().last().copied());
        wait_until_gone(&children, Duration::ZERO);
    }
}

#[test]
fn a_signal_to_the_supervisor_to_a_process_or_to_all_lets_what_was_read_come_out() {
    for (name, to) in [("TERM", "supervisor"), ("TERM", "process"), ("INT", "group")] {
        let folder = tempfile::tempdir().unwrap();
        let (supervisor, children) = cluster(folder.path(), 2);
        let pid = supervisor.pid().to_string();
        match to {
            "supervisor" => signal(name, &pid),
            "process" => signal(name, &children[1].to_string()),
            _ => signal(name, &format!("-{pid}")),
        }
        let ended = supervisor.end_within(PATIENCE);
        assert_eq!(ended.code(), Some(0), "{to}: {}", ended.stderr);
        assert_eq!(ended.errors(), [""; 0], "{to}: {}", ended.stderr);
        assert_eq!(ended.stderr.matches("records read in").count(), 1, "{to}: {}", ended.stderr);
        assert!(ended.stderr.contains("windows were still open"), "{to}: {}", ended.stderr);
        let windows = folder.path().join("windows");
        assert!(files(&windows).iter().all(|name| name.ends_with(".jsonl")), "{to}: {:?}", files(&windows));
        assert!(ended.stderr.contains(&format!("sink windows: {} rows", rows(&windows).len())), "{}", ended.stderr);
        wait_until_gone(&children, Duration::ZERO);
    }
}

#[test]
fn a_second_signal_ends_the_cluster_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = endless(folder.path());
    // Nobody reads the rows, so that the run cannot finish.
    settings.retain(|setting| !setting.starts_with("sinks.windows.path") && setting != "engine.admin=off");
    settings.extend(
        ["engine.admin=127.0.0.1:0", "sinks.windows.kind=stdout", "sources.events.rate=1e9"].map(str::to_owned),
    );
    let mut command = tidewatch(&[&["cluster", "auth-windows"], &set(&settings)[..]].concat());
    let mut supervisor = Process::start(command.stdout(Stdio::piped()));
    let children = supervisor.children(2);
    // More than the pipes hold: from each process to the supervisor, and from there to here.
    wait_for_rows_written(&supervisor.admin_addresses(), 4_000);
    signal("TERM", &supervisor.pid().to_string());
    supervisor.wait_for("stopping", 1);
    // The same one again, and a second later another one.
    signal("TERM", &supervisor.pid().to_string());
    thread::sleep(Duration::from_millis(1_100));
    assert!(supervisor.is_running(), "{}", supervisor.stderr());
    signal("TERM", &supervisor.pid().to_string());
    let ended = supervisor.end_within(LOSS);
    assert_eq!(ended.code(), Some(130), "{}", ended.stderr);
    wait_until_gone(&children, Duration::ZERO);
}

#[test]
fn processes_do_not_outlive_their_supervisor() {
    let folder = tempfile::tempdir().unwrap();
    let (mut supervisor, children) = cluster(folder.path(), 3);
    supervisor.kill();
    wait_until_gone(&children, LOSS);
}

#[test]
fn standard_input_belongs_to_process_0_and_rows_come_out_whole() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.jsonl");
    fs::write(&input, events(20_000)).unwrap();
    let path = format!("sources.events.path={:?}", input.to_str().unwrap());
    let run = |command: &[&str], kind: &str| {
        let source = if kind == "stdin" { "sources.events.kind=stdin" } else { path.as_str() };
        let output = tidewatch(command)
            .args(["--set", "engine.admin=off", "--set", source, "--set", "params.window=1s"])
            .args(["--set", "sinks.windows.kind=stdout", "--set", "sinks.alerts.kind=null"])
            .stdin(fs::File::open(&input).unwrap())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        let mut rows: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        rows.sort_unstable();
        rows
    };
    let from_file = run(&["run", "auth-windows"], "file");
    assert!(from_file.len() > 5_000, "{}", from_file.len());
    // The first poll of standard input finds records, unlike that of a file.
    assert!(from_file == run(&["run", "auth-windows"], "stdin"));
    assert!(from_file == run(&["cluster", "auth-windows", "--processes", "3"], "stdin"));
}

/// A host file of `processes` free addresses of this host, and a secret.
fn hosts(folder: &Path, processes: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<String> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    fs::write(folder.join("hosts"), addresses.join("\n")).unwrap();
    fs::write(folder.join("secret"), "0123456789abcdef").unwrap();
    addresses
}

/// The command of one process of a host file.
fn member(folder: &Path, process: usize, settings: &[String]) -> Command {
    let mut command = tidewatch(&["run", "auth-windows", "--process", &process.to_string()]);
    command.arg("--hosts").arg(folder.join("hosts")).arg("--secret-file").arg(folder.join("secret"));
    command.args(set(settings));
    command
}

#[test]
fn without_a_supervisor_the_others_name_the_lost_process_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = hosts(folder.path(), 3);
    let settings = endless(folder.path());
    let start = |process| Process::start(&mut member(folder.path(), process, &settings));
    let mut processes: Vec<Process> = (0..3).map(start).collect();
    processes.iter_mut().for_each(|process| process.wait_for("running", 1));
    wait_for_rows(&mut processes[0], folder.path());
    processes.remove(1).kill();
    for process in processes {
        let ended = process.end_within(LOSS);
        assert_eq!(ended.code(), Some(6), "{}", ended.stderr);
        assert_eq!(ended.errors().len(), 1, "{}", ended.stderr);
        let line = format!("error: lost process 1 ({}):", addresses[1]);
        assert!(ended.errors()[0].starts_with(&line), "{}", ended.stderr);
    }
}

#[test]
fn a_process_that_fails_says_why_and_the_others_whom_they_lost() {
    let folder = tempfile::tempdir().unwrap();
    hosts(folder.path(), 2);
    let (good, bad) = (folder.path().join("good.toml"), folder.path().join("bad.toml"));
    fs::write(folder.path().join("file"), "no folder").unwrap();
    // The same text at different times: the processes must agree on their configuration.
    let text = format!("[sinks.windows]\nkind = \"file\"\npath = {:?}\n", Path::new("out"));
    fs::write(&good, &text).unwrap();
    fs::write(&bad, &text).unwrap();
    let settings = endless(folder.path());
    let settings: Vec<String> = settings.into_iter().filter(|s| !s.starts_with("sinks.windows")).collect();
    let mut started = Vec::new();
    for (process, config) in [(0, &good), (1, &bad)] {
        let home = folder.path().join(process.to_string());
        fs::create_dir(&home).unwrap();
        if process == 1 {
            fs::write(home.join("out"), "no folder").unwrap();
        }
        let mut command = member(folder.path(), process, &settings);
        started.push(Process::start(command.arg("--config").arg(config).current_dir(home)));
    }
    started[0].wait_for("running", 1);
    let failed = started.pop().unwrap().end_within(PATIENCE);
    let other = started.pop().unwrap().end_within(LOSS);
    assert_eq!(failed.code(), Some(4), "{}", failed.stderr);
    assert_eq!(failed.errors().len(), 1, "{}", failed.stderr);
    assert!(failed.errors()[0].starts_with("error: sink \"windows\""), "{}", failed.stderr);
    assert_eq!((other.code(), other.errors().len()), (Some(6), 1), "{}", other.stderr);
    assert!(other.errors()[0].starts_with("error: lost process 1"), "{}", other.stderr);
}

#[test]
fn addresses_of_other_hosts_need_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts");
    fs::write(&file, "192.0.2.1:2101\n192.0.2.2:2101\n").unwrap();
    let ended = process::run(&["run", "auth-windows", "--process", "0", "--hosts", file.to_str().unwrap()]);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert_eq!(ended.errors().len(), 1, "{}", ended.stderr);
    assert!(ended.errors()[0].contains("not loopback and there is no secret"), "{}", ended.stderr);
}

#[test]
fn strangers_are_refused_and_the_cluster_forms() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = hosts(folder.path(), 2);
    let input = folder.path().join("in.jsonl");
    fs::write(&input, events(2_000)).unwrap();
    let mut settings = vec!["engine.admin=off".to_owned(), format!("sources.events.path={}", input.display())];
    settings.extend(["windows", "alerts"].map(|s| format!("sinks.{s}.path={}", folder.path().join(s).display())));

    let mut first = Process::start(&mut member(folder.path(), 0, &settings));
    let deadline = Instant::now() + PATIENCE;
    let mut silent = loop {
        match TcpStream::connect(&addresses[0]) {
            Ok(stream) => break stream,
            Err(why) => assert!(Instant::now() < deadline, "{why}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut garbage = TcpStream::connect(&addresses[0]).unwrap();
    garbage.write_all(&[0xff; 64]).unwrap();
    let mut http = TcpStream::connect(&addresses[0]).unwrap();
    http.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n\r\n", addresses[0]).as_bytes()).unwrap();

    // One of another cluster, with a secret of its own.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    hosts(&other, 2);
    fs::write(other.join("hosts"), addresses.join("\n")).unwrap();
    fs::write(other.join("secret"), "fedcba9876543210").unwrap();
    let mut wrong_secret = Process::start(&mut member(&other, 1, &settings));
    // One whose host file has the processes in another order.
    let confused = folder.path().join("confused");
    fs::create_dir(&confused).unwrap();
    let elsewhere = hosts(&confused, 3);
    fs::write(confused.join("hosts"), [&elsewhere[0], &addresses[0], &elsewhere[2]].map(String::as_str).join("\n"))
        .unwrap();
    let mut wrong_index = Process::start(&mut member(&confused, 2, &settings));

    wrong_index.wait_for("says that it is process 0, not 1", 1);
    first.wait_for("refused a candidate", 4);
    first.wait_for("secret", 1);
    wrong_index.kill();
    wrong_secret.kill();

    let second = Process::start(&mut member(folder.path(), 1, &settings));
    let (first, second) = (first.end_within(PATIENCE), second.end_within(PATIENCE));
    assert_eq!((first.code(), second.code()), (Some(0), Some(0)), "{}\n{}", first.stderr, second.stderr);
    assert!(!rows(&folder.path().join("windows")).is_empty());
    for stranger in [&silent, &garbage, &http] {
        let address = stranger.local_addr().unwrap().to_string();
        let refusals = first.stderr.lines().filter(|line| line.contains("refused") && line.contains(&address));
        assert_eq!(refusals.count(), 1, "{address}: {}", first.stderr);
    }
    let _ = silent.write_all(b"too late");
}
