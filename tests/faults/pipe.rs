//! Standard input with a state directory: what the journal has when a process is killed is neither lost nor repeated,
//! and the next process continues with its own input. The feeder of the pipe learns from the journal what need not be
//! sent again.

use std::fs;
use std::io::{PipeWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::input::{self, PARTITIONS, Random};
use super::kills::{settings, wrong};
use super::oracle;
use super::process::{Ended, PATIENCE, Process, get, signal, tidewatch};
use super::rounds::{bytes_bound, children, seed_and_rounds};

const RECORDS: usize = 40_000;

/// How many lines a process is given at most that is to be killed.
const PER_ROUND: usize = 20_000;

/// How many lines are written at once; then there is a pause, unless it is the last process.
const PIECE: usize = 10;

/// The lines of all partitions as one.
fn lines(records: usize, seed: u64) -> Vec<String> {
    let partitions = input::partitions(records, seed);
    (0..records).map(|number| partitions[number % PARTITIONS][number / PARTITIONS].clone()).collect()
}

/// What the journal in the state directory contains, read without any of the program's code.
fn journaled(state: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(state.join("journal/events-0")) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut lines = Vec::new();
    for path in paths {
        assert_eq!(path.file_stem().unwrap().to_str().unwrap().parse(), Ok(lines.len()));
        let bytes = fs::read(&path).unwrap();
        let mut rest = &bytes[..];
        // A frame whose end is not there is torn.
        while rest.len() >= 28 && rest.len() >= 28 + number(&rest[16..]) {
            assert_eq!((&rest[..4], number(&rest[4..])), (&b"twj1"[..], lines.len()));
            let (mut body, after) = rest[28..].split_at(number(&rest[16..]));
            while !body.is_empty() {
                let (line, others) = body[4..].split_at(number(body));
                lines.push(String::from_utf8(line.to_vec()).unwrap());
                body = others;
            }
            rest = after;
        }
    }
    lines
}

/// A process, and the thread that feeds it.
struct Fed {
    process: Process,
    feeder: JoinHandle<Option<PipeWriter>>,
}

/// Starts a process and feeds it `lines`, then ends its input unless it is to be killed.
fn start(folder: &Path, lines: &[String], killed: bool, more: &[&str]) -> Fed {
    feed(&mut command(folder, more), lines, killed)
}

fn command(folder: &Path, more: &[&str]) -> Command {
    let state = folder.join("state").to_str().unwrap().to_owned();
    let mut settings = settings(folder);
    settings.retain(|setting| !setting.starts_with("sources.events.path"));
    // A partition that was silent for a while is judged otherwise; the machine may be busy.
    settings
        .extend(["sources.events.kind=stdin", "sources.events.idle_after=1h", "engine.tick=20ms"].map(str::to_owned));
    settings.extend(more.iter().map(|setting| (*setting).to_owned()));
    let mut command =
        tidewatch(&["run", "auth-windows", "--workers", "2", "--state", &state, "--set", "engine.admin=off"]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command
}

fn feed(command: &mut Command, lines: &[String], killed: bool) -> Fed {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let process = Process::start(command.stdin(reader));
    // This process's end for reading is closed, so that the feeder notices the other's death.
    command.stdin(Stdio::null());
    let pieces: Vec<String> = lines.chunks(PIECE).map(|piece| piece.join("\n") + "\n").collect();
    let feeder = thread::spawn(move || {
        for piece in pieces {
            writer.write_all(piece.as_bytes()).ok()?;
            if killed {
                thread::sleep(Duration::from_millis(1));
            }
        }
        killed.then_some(writer)
    });
    Fed { process, feeder }
}

impl Fed {
    /// Waits until it exits by itself.
    fn end(self) -> Ended {
        let ended = self.process.end_within(PATIENCE);
        self.feeder.join().unwrap();
        ended
    }
}

fn expect(folder: &Path, lines: &[String], what: &str) {
    let known = [("stdin".to_owned(), (0..).zip(lines.iter().cloned()).collect())];
    let expected = oracle::expected(&known);
    assert!(expected.windows.len() > 1_000 && expected.dead_letters.len() > 100);
    let wrong = wrong(folder, &expected);
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

#[test]
fn what_a_killed_process_kept_and_what_the_next_one_is_given_comes_out_once() {
    let (seed, rounds) = seed_and_rounds(4);
    let (mut random, folder) = (Random(seed), tempfile::tempdir().unwrap());
    let (lines, state) = (lines((rounds + 1) * PER_ROUND, seed), folder.path().join("state"));
    let mut kept = 0;
    for round in 0..rounds {
        let bound = bytes_bound(&state);
        let mut fed = start(folder.path(), &lines[kept..kept + PER_ROUND], true, &[]);
        let deadline = Instant::now() + PATIENCE;
        while bytes_bound(&state) < bound + 1_000 {
            assert!(fed.process.is_running(), "it ended before kill {round}: {}", fed.process.stderr());
            let journaled = || journaled(&state).len() - kept;
            assert!(Instant::now() < deadline, "{} lines, and no kill {round}: {}", journaled(), fed.process.stderr());
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(random.below(100)));
        fed.process.kill();
        drop(fed.process);
        drop(fed.feeder.join().unwrap());
        let journaled = journaled(&state);
        assert!(journaled.len() > kept, "nothing was read before kill {round}");
        assert!(journaled[..] == lines[..journaled.len()], "round {round}: the journal has other lines than were sent");
        kept = journaled.len();
    }
    let ended = start(folder.path(), &lines[kept..], false, &[]).end();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    expect(folder.path(), &lines, &format!("TIDEWATCH_SEED={seed} TIDEWATCH_ROUNDS={rounds}"));
}

#[test]
fn an_input_that_is_kept_open_is_resumed_and_one_that_ended_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let lines = lines(RECORDS, 1);
    let (first, rest) = lines.split_at(RECORDS / 3);
    let (second, third) = rest.split_at(RECORDS / 3);
    for part in [first, second] {
        let ended = start(folder.path(), part, false, &["sources.events.at_end=keep"]).end();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    }
    for part in [third, &[]] {
        let ended = start(folder.path(), part, false, &[]).end();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        expect(folder.path(), &lines, "after the end of the input");
    }
    let refused = start(folder.path(), &lines[..1], false, &[]).end();
    assert_eq!(refused.code(), Some(3), "{}", refused.stderr);
    assert!(refused.errors()[0].contains("ended in an earlier run"), "{}", refused.stderr);
    expect(folder.path(), &lines, "after more input was refused");
}

/// The calls that flush the journal are treated as `injection` says.
fn flushes(folder: &Path, lines: &[String], injection: &str) -> Fed {
    let journal = folder.join("state/journal/events-0/00000000000000000000.log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-P", journal.to_str().unwrap(), "-e", "trace=fdatasync"]);
    strace.args(["-e", &format!("inject=fdatasync:{injection}")]);
    let command = command(folder, &[]);
    feed(strace.arg(command.get_program()).args(command.get_args()), lines, true)
}

/// No record is processed before it is flushed: here its flush takes so long that the machine dies before, and what was
/// not flushed is lost with it.
#[test]
fn death_of_the_machine_before_the_journal_is_flushed() {
    let lines = lines(RECORDS, 2);
    for flush in [1, 2, 9] {
        let folder = tempfile::tempdir().unwrap();
        let fed = flushes(folder.path(), &lines, &format!("delay_enter=5000000:when={flush}+"));
        // Long enough to process what waits for its flush, if processing did not wait.
        thread::sleep(Duration::from_secs(2));
        let children = children(fed.process.pid());
        let [child] = children[..] else { panic!("flush {flush} was not held up: {}", fed.process.stderr()) };
        signal("KILL", &child.to_string());
        fed.end();
        let path = folder.path().join("state/journal/events-0/00000000000000000000.log");
        let bytes = fs::read(&path).unwrap();
        let flushed = (1..flush)
            .fold(0, |at, _| at + 28 + u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize);
        assert!(flushed < bytes.len(), "nothing waited for flush {flush}");
        fs::write(&path, &bytes[..flushed]).unwrap();
        let kept = journaled(&folder.path().join("state")).len();
        let ended = start(folder.path(), &lines[kept..], false, &[]).end();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        expect(folder.path(), &lines, &format!("flush {flush} never was"));
    }
}

#[test]
fn a_flush_of_the_journal_that_fails() {
    let lines = lines(RECORDS, 3);
    for flush in [1, 5] {
        let folder = tempfile::tempdir().unwrap();
        let ended = flushes(folder.path(), &lines, &format!("error=EIO:when={flush}")).end();
        assert_eq!(ended.code(), Some(5), "{}", ended.stderr);
        let error = ended.errors()[0];
        assert!(error.contains("cannot write") && error.contains("journal/events-0/0000"), "{error}");
        let kept = journaled(&folder.path().join("state")).len();
        let ended = start(folder.path(), &lines[kept..], false, &[]).end();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        expect(folder.path(), &lines, &format!("flush {flush} failed"));
    }
}

/// The journal holds a fraction of the input, so the run only gets to the end of it if checkpoints make room again and
/// again.
#[test]
fn checkpoints_make_room_in_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let lines = lines(2 * RECORDS, 5);
    let limited = ["sources.events.journal_bytes_max=1MiB", "engine.checkpoint_interval=200ms"];
    let ended = start(folder.path(), &lines, false, &limited).end();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.matches("was pruned: reading continues").count() > 2, "{}", ended.stderr);
    expect(folder.path(), &lines, "with a small journal");
}

/// Nothing prunes it here, so it stays full until a run has a larger limit.
#[test]
fn a_full_journal_is_reported_and_holds_the_input_back() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, state) = (lines(RECORDS, 4), folder.path().join("state"));
    let limited =
        ["sources.events.journal_bytes_max=1MiB", "engine.checkpoint_interval=24h", "engine.admin=127.0.0.1:0"];
    let mut fed = start(folder.path(), &lines, true, &limited);
    fed.process.wait_for("is full: nothing is read until it is pruned", 1);
    let kept = journaled(&state).len();
    // What is in the journal is processed nevertheless.
    let (address, deadline) = (fed.process.admin_addresses().remove(0), Instant::now() + PATIENCE);
    let told = |name: &str, value: &str| {
        get(&address, "/metrics").lines().any(|line| line.starts_with(name) && line.ends_with(value))
    };
    while !told("tidewatch_source_journal_full{", " 1") || !told("tidewatch_source_partition_lag{", " 0") {
        assert!(Instant::now() < deadline, "{}", get(&address, "/metrics"));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(kept < lines.len() / 2 && journaled(&state).len() == kept, "{kept}");
    signal("TERM", &fed.process.pid().to_string());
    let ended = fed.process.end_within(PATIENCE);
    assert_eq!((ended.code(), ended.stderr.matches("is full").count()), (Some(0), 1), "{}", ended.stderr);
    drop(fed.feeder.join().unwrap());
    let ended = start(folder.path(), &lines[kept..], false, &[]).end();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    expect(folder.path(), &lines, "after a larger limit");
}
