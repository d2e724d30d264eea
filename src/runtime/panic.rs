//! What a panic does: it ends the process at once, with one clear line, before anything unwinds.
//!
//! An unwinding worker leaves the others of its process and of the cluster waiting for ever, and a lost connection ends
//! in a cascade of panics that buries the cause. So the hook lets the first panic speak, parks every other thread that
//! panics, and exits: code 6 if another process was lost, 70 if it is a defect of ours or of the dataflow. Nothing is
//! flushed; durability never depends on destructors.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::io::Write;
use std::panic::PanicHookInfo;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::error::ErrorKind;

/// What timely's network threads say when a connection breaks; timely promises to keep it.
const COMMUNICATION_ERROR: &str = "timely communication error:";

/// How long a process that lost another one keeps its own connections open: long enough for the rest of the cluster to
/// see the first loss first, so that all name the same process.
const LINGER: Duration = Duration::from_millis(100);

/// How long the last words may take before the process exits without them (standard error can be a full pipe).
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the exit itself may take before the process is aborted.
const EXIT: Duration = Duration::from_secs(2);

/// The greatest length of a panic's message in the one line about a lost process, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

thread_local! {
    static STAGE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Names the stage that this thread runs until the guard is dropped, for the message of a panic.
pub fn enter_stage(stage: &Arc<str>) -> StageGuard {
    StageGuard { outer: STAGE.replace(Some(Arc::clone(stage))) }
}

/// Restores the stage that was running before [`enter_stage`].
#[must_use = "the stage ends when the guard is dropped"]
#[derive(Debug)]
pub struct StageGuard {
    outer: Option<Arc<str>>,
}

impl Drop for StageGuard {
    fn drop(&mut self) {
        // A thread that is ending has no stage any more.
        let _ = STAGE.try_with(|stage| stage.replace(self.outer.take()));
    }
}

/// Installs the hook for this process; `addresses` are those of all processes in process order, to name a lost one.
///
/// From then on any panic, in any thread, ends the process.
pub fn install(addresses: Vec<String>) {
    static SPEAKING: AtomicBool = AtomicBool::new(false);
    std::panic::set_hook(Box::new(move |info| {
        if SPEAKING.swap(true, Ordering::SeqCst) {
            // Another thread panicked before and is about to exit; what comes after is its consequence.
            loop {
                thread::park();
            }
        }
        let end = End::of(info, &addresses);
        say(end.words);
        thread::sleep(end.linger);
        process::exit(end.code.into());
    }));
}

/// How the process ends.
struct End {
    words: String,
    code: u8,
    linger: Duration,
}

impl End {
    fn of(info: &PanicHookInfo<'_>, addresses: &[String]) -> End {
        let current = thread::current();
        let thread = current.name().unwrap_or("unnamed");
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        match lost_process(thread, message) {
            Some(process) => End {
                words: lost_words(process, message, addresses),
                code: ErrorKind::Mesh.exit_code(),
                linger: LINGER,
            },
            None => {
                let stage = STAGE.try_with(|stage| stage.try_borrow().ok().and_then(|stage| stage.clone()));
                let stage = stage.ok().flatten().map(|stage| format!(" in stage {stage:?}")).unwrap_or_default();
                let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
                let mut words = format!("tidewatch: thread {thread:?} panicked{stage}{place}: {message}\n");
                let backtrace = Backtrace::capture();
                if backtrace.status() == BacktraceStatus::Captured {
                    words.push_str(&format!("{backtrace}\n"));
                }
                End { words, code: ErrorKind::Internal.exit_code(), linger: Duration::ZERO }
            }
        }
    }
}

/// Whether a panic means that another process was lost, and which (`Some(None)` if the thread does not tell).
fn lost_process(thread: &str, message: &str) -> Option<Option<usize>> {
    let process = ["timely:recv-", "timely:send-"]
        .iter()
        .find_map(|prefix| thread.strip_prefix(prefix))
        .and_then(|number| number.parse().ok());
    if process.is_some() || message.starts_with(COMMUNICATION_ERROR) { Some(process) } else { None }
}

/// The one line about a lost process.
fn lost_words(process: Option<usize>, message: &str, addresses: &[String]) -> String {
    let who = process.map_or_else(|| "another process".to_string(), |process| format!("process {process}"));
    let address = process.and_then(|process| addresses.get(process));
    let place = address.map(|address| format!(" ({address})")).unwrap_or_default();
    let cause = message.strip_prefix(COMMUNICATION_ERROR).unwrap_or(message).trim();
    let cause: String = cause.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS_MAX).collect();
    format!("tidewatch: lost {who}{place}: {cause}; this process stops, start the whole cluster again\n")
}

/// Writes `words` to standard error, but does not wait for ever; from then on the process has [`EXIT`] to end.
fn say(words: String) {
    let (done, said) = mpsc::channel::<()>();
    let speaker = thread::Builder::new().name("tidewatch:last-words".to_string()).spawn(move || {
        let _ = std::io::stderr().write_all(words.as_bytes());
        drop(done);
        // Whatever a library does at exit, the process must not stay: its peers wait for its connections to close.
        thread::sleep(EXIT);
        process::abort();
    });
    // Without a thread there is nothing to lose: `words` went with the attempt, the exit code still tells.
    if speaker.is_ok() {
        let _ = said.recv_timeout(LAST_WORDS);
    }
}

#[cfg(test)]
mod tests;
