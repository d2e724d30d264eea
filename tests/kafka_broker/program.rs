//! Running the real binary, as a user would, and reading what it left behind.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::broker::PATIENCE;

/// A running dataflow; killed if a test gives up on it.
pub(crate) struct Program {
    child: Child,
    folder: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// What it said on standard error.
    pub(crate) said: String,
}

impl Program {
    /// Starts `tidewatch run`.
    pub(crate) fn start(dataflow: &str, workers: usize, settings: &[String]) -> Program {
        let folder = tempfile::tempdir().expect("a folder");
        let said = File::create(folder.path().join("said")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        command.args(["run", dataflow, "--workers", &workers.to_string(), "--set", "engine.admin=off"]);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().expect("it starts");
        Program { child, folder }
    }

    /// Runs a dataflow that ends, and expects it to end well.
    pub(crate) fn run(dataflow: &str, workers: usize, settings: &[String]) -> Ended {
        let ended = Program::start(dataflow, workers, settings).ended();
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        ended
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> Ended {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return Ended { code: status.code(), said: self.said() };
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "the program has ended:\n{}", self.said());
    }

    /// What it has said so far on standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).expect("it writes UTF-8")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended long since.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// What the summary says of the only source: records read, processed, and dead letters.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let number = |word: &str| word.parse::<u64>().expect("a number");
        let (mut read, mut processed, mut dead) = (0, 0, 0);
        for line in self.said.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["source", _, n, "read,", m, "processed"] => (read, processed) = (number(n), number(m)),
                [n, "dead", "letters:", _] => dead += number(n),
                _ => {}
            }
        }
        (read, processed, dead)
    }
}

/// The rows of a sink's folder, sorted. The run has ended, so there is nothing but finished files.
pub(crate) fn rows(folder: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(folder).expect("the sink made its folder") {
        let path = entry.expect("a readable folder").path();
        assert_eq!(path.extension().and_then(|e| e.to_str()), Some("jsonl"), "{} is not finished", path.display());
        rows.extend(fs::read_to_string(&path).expect("rows are UTF-8").lines().map(str::to_owned));
    }
    rows.sort_unstable();
    rows
}

/// Fails with the rows that differ, of two sorted lists.
pub(crate) fn expect_same(ours: &[String], expected: &[String], what: &str) {
    let less = |from: &[String], rows: &[String]| {
        let mut rest: Vec<&String> = Vec::new();
        let mut rows = rows.iter().peekable();
        for row in from {
            while rows.next_if(|other| *other < row).is_some() {}
            if rows.next_if(|other| *other == row).is_none() {
                rest.push(row);
            }
        }
        format!("{}, such as {:?}", rest.len(), rest.iter().take(3).collect::<Vec<_>>())
    };
    let (missing, extra) = (less(expected, ours), less(ours, expected));
    assert!(
        ours == expected,
        "{what}: {} rows, {} expected\nmissing: {missing}\nextra: {extra}",
        ours.len(),
        expected.len()
    );
}

/// Rows as JSON.
pub(crate) fn parsed<R: AsRef<str>>(rows: &[R]) -> Vec<Value> {
    rows.iter().map(|row| serde_json::from_str(row.as_ref()).expect("a row is JSON")).collect()
}

/// A setting of a file sink.
pub(crate) fn to_file(sink: &str, folder: &Path) -> String {
    format!("{sink}={{kind=\"file\", path={:?}}}", folder.display().to_string())
}
