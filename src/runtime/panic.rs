//! What a panic does: it ends the process at once, with one clear line, before anything unwinds.
//!
//! An unwinding worker leaves the others of its process and of the cluster waiting for ever, and a lost connection ends
//! in a cascade of panics that buries the cause. So the hook lets the first panic speak, parks every other thread that
//! panics, and exits: code 6 if another process was lost, 70 if it is a defect of ours or of the dataflow. Nothing is
//! flushed; durability never depends on destructors.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::PanicHookInfo;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::error::{ErrorKind, stage};

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

/// What a process that panics has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWords {
    /// One line, or several if a backtrace was asked for; without `error:` before and a newline after it.
    pub text: String,
    /// The exit code that follows.
    pub code: u8,
    /// Whether the cause is that another process was lost.
    pub lost: bool,
}

/// Installs the hook for this process; `addresses` are those of all processes in process order, to name a lost one.
///
/// From then on any panic, in any thread, ends the process.
pub fn install(addresses: Vec<String>) {
    install_with(addresses, |_| false);
}

/// Like [`install`], for a process that reports to a supervisor: what `told` returns true for is not written to
/// standard error.
///
/// `told` may block; the process does not wait for it longer than a second.
pub fn install_with(addresses: Vec<String>, told: impl Fn(&LastWords) -> bool + Send + Sync + 'static) {
    static SPEAKING: AtomicBool = AtomicBool::new(false);
    let told = Arc::new(told);
    std::panic::set_hook(Box::new(move |info| {
        if SPEAKING.swap(true, Ordering::SeqCst) {
            // Another thread panicked before and is about to exit; what comes after is its consequence.
            loop {
                thread::park();
            }
        }
        let words = LastWords::of(info, &addresses);
        let (code, lost, told) = (words.code, words.lost, Arc::clone(&told));
        say(move || {
            if !told(&words) {
                write(&words.text);
            }
        });
        if lost {
            thread::sleep(LINGER);
        }
        process::exit(code.into());
    }));
}

/// Ends the process at once with one line on standard error, whatever its other threads are doing.
pub fn end(text: &str, code: u8) -> ! {
    let text = text.to_owned();
    say(move || write(&text));
    process::exit(code.into());
}

impl LastWords {
    fn of(info: &PanicHookInfo<'_>, addresses: &[String]) -> LastWords {
        let current = thread::current();
        let thread = current.name().unwrap_or("unnamed");
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        if let Some(process) = lost_process(thread, message) {
            let text = lost_words(process, message, addresses);
            return LastWords { text, code: ErrorKind::Mesh.exit_code(), lost: true };
        }
        let stage = stage::current().map(|stage| format!(" in stage {stage:?}")).unwrap_or_default();
        let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
        let mut text = format!("thread {thread:?} panicked{stage}{place}: {message}");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("\n{backtrace}"));
        }
        LastWords { text, code: ErrorKind::Internal.exit_code(), lost: false }
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
    format!("lost {who}{place}: {cause}; this process stops, start the whole cluster again")
}

/// Writes a line to standard error, as the command line writes its errors.
fn write(text: &str) {
    let _ = std::io::stderr().write_all(format!("error: {}\n", text.trim_end()).as_bytes());
}

/// Calls `speak` on a thread of its own, and does not wait for ever; from then on the process has [`EXIT`] to end.
fn say(speak: impl FnOnce() + Send + 'static) {
    let (done, said) = mpsc::channel::<()>();
    let speaker = thread::Builder::new().name("tidewatch:last-words".to_string()).spawn(move || {
        speak();
        drop(done);
        // Whatever a library does at exit, the process must not stay: its peers wait for its connections to close.
        thread::sleep(EXIT);
        process::abort();
    });
    // Without a thread there is nothing to lose: the words went with the attempt, the exit code still tells.
    if speaker.is_ok() {
        let _ = said.recv_timeout(LAST_WORDS);
    }
}

#[cfg(test)]
mod tests;
