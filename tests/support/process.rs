//! The built program as a process: started, watched, signalled, and never left behind.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long anything may take that is not measured: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A command line of the built program, with an empty standard input and no admin server.
pub fn tidewatch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_BACKTRACE").env_remove("RUST_LOG");
    command
}

/// The result of a process.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The lines that say what failed.
    pub fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("error:")).collect()
    }
}

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Ended {
    let output = tidewatch(arguments).output().unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running process; it is killed when this is dropped.
pub struct Process {
    child: Child,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`, whose standard output is discarded unless the command redirects it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (to, from) = (Arc::clone(&stderr), child.stderr.take().unwrap());
        let reader = thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let mut to = to.lock().unwrap();
                to.push_str(&line.unwrap());
                to.push('\n');
            }
        });
        Process { child, stderr, reader: Some(reader) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until `text` was written to standard error `times` times.
    pub fn wait_for(&mut self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.stderr().matches(text).count() < times {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{status} before {text:?}: {}", self.stderr());
            }
            assert!(Instant::now() < deadline, "no {text:?} in {}", self.stderr());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processes that a supervisor started, in order.
    pub fn children(&mut self, processes: usize) -> Vec<u32> {
        self.wait_for("running", processes);
        let stderr = self.stderr();
        let mut pids: Vec<(usize, u32)> = stderr
            .lines()
            .filter_map(|line| line.split_once("started process=")?.1.split_once(" pid="))
            .map(|(process, pid)| (process.parse().unwrap(), pid.trim().parse().unwrap()))
            .collect();
        pids.sort_unstable();
        assert_eq!(pids.len(), processes, "{stderr}");
        pids.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Where its metrics, or those of its processes, are served.
    pub fn admin_addresses(&self) -> Vec<String> {
        let address = |line: &str| Some(line.split_once("admin server listens address=")?.1.trim().to_owned());
        self.stderr().lines().filter_map(address).collect()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for the end, at most for `limit`.
    pub fn end_within(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}: {}", self.stderr());
            thread::sleep(Duration::from_millis(5));
        };
        self.reader.take().unwrap().join().unwrap();
        Ended { status, stdout: String::new(), stderr: self.stderr() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process, or to a process group if `pid` begins with a hyphen.
pub fn signal(name: &str, pid: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -s {name} -- {pid}")]).status().unwrap();
    assert!(status.success(), "cannot send {name} to {pid}");
}

/// Whether a process that may not be our child exists and is no zombie.
pub fn exists(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().unwrap().trim_start();
    !state.starts_with(['Z', 'X'])
}

/// The rows of all finished files in a folder, sorted.
pub fn rows(folder: &Path) -> Vec<String> {
    let mut rows: Vec<String> = files(folder)
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .flat_map(|name| {
            let text = fs::read_to_string(folder.join(name)).unwrap();
            assert!(text.ends_with('\n'));
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    rows.sort_unstable();
    rows
}

/// The names of all files in a folder, finished or not.
pub fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Authentication events as JSON lines, the same for the same number.
pub fn events(lines: usize) -> String {
    let mut state = 1u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut at = 1_700_000_000_000;
    let mut text = String::new();
    for _ in 0..lines {
        at += random(60);
        let (ts, ip, user) = (at - random(3_000), random(40), random(9));
        let (outcome, bytes) = (["success", "failure"][random(2) as usize], random(1_000));
        text.push_str(&format!(
            "{{\"ts\":{ts},\"host\":\"h\",\"src_ip\":\"10.0.0.{ip}\",\"user\":\"u{user}\",\"action\":\"login\",\
             \"outcome\":\"{outcome}\",\"bytes\":{bytes},\"message\":\"m\"}}\n"
        ));
    }
    text
}

/// Settings of `auth-windows` over an endless generated source, with files in `out`.
pub fn endless(out: &Path) -> Vec<String> {
    let mut settings = vec![
        "engine.admin=off".to_owned(),
        "params.window=1s".to_owned(),
        "sources.events.kind=generator".to_owned(),
        "sources.events.partitions=4".to_owned(),
        "sources.events.rate=20000".to_owned(),
    ];
    settings.extend(["windows", "alerts"].map(|sink| format!("sinks.{sink}.path={}", out.join(sink).display())));
    settings
}

/// `--set` before each setting.
pub fn set(settings: &[String]) -> Vec<&str> {
    settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect()
}

/// What an admin server answers.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until the sink `windows` of all these processes together was given as many rows.
pub fn wait_for_rows_written(addresses: &[String], least: u64) {
    let deadline = Instant::now() + PATIENCE;
    let rows = |address: &String| {
        let metrics = get(address, "/metrics");
        let series = metrics
            .lines()
            .filter(|line| line.starts_with("tidewatch_sink_records_total{") && line.contains("sink=\"windows\""));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    while addresses.iter().map(rows).sum::<u64>() < least {
        assert!(Instant::now() < deadline, "fewer than {least} rows");
        thread::sleep(Duration::from_millis(50));
    }
}
