//! What a crash leaves of a state directory: of the bytes that were not flushed all, none, or some, at random.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::chance::Chance;

/// A folder of its own, in memory if possible: flushes cost time, and their purpose is simulated here.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Loses what was not flushed of a log, which is its last `unflushed` bytes. Returns whether a frame is torn.
pub(crate) fn crash(log: &Path, unflushed: usize, chance: &Chance) -> bool {
    if unflushed == 0 {
        return false;
    }
    let mut bytes = fs::read(log).unwrap();
    let flushed = bytes.len() - unflushed;
    let at = flushed + chance.below(unflushed as u64) as usize;
    match chance.below(4) {
        // A process that dies leaves its writes to the operating system, which completes them.
        0 => return false,
        1 => bytes.truncate(flushed),
        2 => bytes.truncate(at),
        // The file has its length, and a part of it only its contents.
        _ => {
            let end = at + 1 + chance.below((bytes.len() - at) as u64) as usize;
            bytes[at..end].fill(0);
        }
    }
    fs::write(log, bytes).unwrap();
    true
}

/// What a generation leaves that died while its log was created: a part of the header, no file, or a file that was to
/// replace another.
pub(crate) fn stillborn(state: &Path, log: &Path, chance: &Chance) {
    let header = fs::metadata(log).unwrap().len();
    match chance.below(3) {
        0 => fs::remove_file(log).unwrap(),
        _ => OpenOptions::new().write(true).open(log).unwrap().set_len(chance.below(header + 1)).unwrap(),
    }
    if chance.one_in(2) {
        fs::write(state.join("generation.new"), "12345").unwrap();
    }
}
