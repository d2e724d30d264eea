//! One writer per shard: whoever opens it waits until the one before is gone.
//!
//! The state directory lets no two generations run at once, but it can be copied, and the copy names the same files. The lock is a
//! file of its own because the progress log is replaced now and then, and a lock would go with it. The operating system drops it with
//! the process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::connectors::file::output::{Naming, OWN_MODE};
use crate::error::Result;

/// How long to wait for the writer before to be gone.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How often to look.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Locks the shard that `naming` names, until the file is dropped.
pub(super) fn lock(naming: &Naming) -> Result<File> {
    lock_within(naming, LOCK_WAIT)
}

fn lock_within(naming: &Naming, wait: Duration) -> Result<File> {
    let path = naming.lock();
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().create(true).append(true).mode(OWN_MODE).custom_flags(flags).open(&path);
    let file = file.map_err(|why| naming.error("cannot open", &path, why))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < wait => std::thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => {
                let hint =
                    "end the other process; if it works on a copy of the state directory, give it another folder";
                return Err(naming.refused("finds that another process writes its files: it has locked", &path, hint));
            }
            Err(TryLockError::Error(why)) => {
                let hint = "exactly-once delivery needs a file system with locks: choose a folder on another one";
                return Err(naming.refused("cannot lock", &path, hint).because(why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::sink::SinkContext;

    #[test]
    fn a_shard_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let context = SinkContext { name: "alerts".into(), shard: 0, shards: 2, run_ms: 0, generation: None };
        let naming = Naming::new(&context, folder.path());
        let first = lock(&naming).unwrap();
        let error = lock_within(&naming, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("\"alerts\"") && error.contains("-s00.lock\"") && error.contains("hint:"), "{error}");
        let _other = lock(&Naming::new(&SinkContext { shard: 1, ..context }, folder.path())).unwrap();
        drop(first);
        lock(&naming).unwrap();
    }
}
