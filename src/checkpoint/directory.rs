//! The state directory: created once, used by one generation of processes at a time.
//!
//! ```text
//! identity.json    the dataflow that it belongs to; never changes
//! generation       how many runs have used it
//! lock             locked by whoever is using it, for as long as they live
//! bindings/        what was read in which epoch, files per generation and process
//! checkpoints/     the state of all operators at the end of some epochs, unless stored elsewhere
//! journal/         records of sources that cannot be read again, a folder per partition
//! discarded/       what --from-scratch put aside; never read
//! ```
//!
//! Whoever starts a generation locks the directory exclusively, so that no process of an older one is left; then
//! increments the generation and shares the lock with the processes of its own. The operating system releases the lock
//! of a process that dies, however it dies.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::OFlags;

use super::identity::{FORMAT, Fingerprint, StateIdentity};
use crate::error::{Error, ErrorKind, Result, Shown};

/// How long the start of a generation waits for the processes of the previous one to exit.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How often it checks.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// How many differences between two dataflows an error lists.
const DIFFERENCES_MAX: usize = 5;

/// The most shards of a sink.
pub const SINK_SHARDS_MAX: usize = 16;

/// A state directory in use. Dropping it releases the lock.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    lock: File,
    identity: StateIdentity,
    generation: u64,
}

/// What a state directory is opened for.
#[derive(Clone, Debug)]
pub struct Purpose {
    /// The dataflow.
    pub fingerprint: Fingerprint,
    /// Number of workers: a new directory gets as many shards per sink, up to [`SINK_SHARDS_MAX`].
    pub workers: usize,
    /// The time of day, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl StateDirectory {
    /// Starts a generation in the directory at `path`, which is created if it does not exist.
    ///
    /// # Errors
    /// Of kind `State`: if it is in use and stays so for 10 s, belongs to another dataflow, has another format, was
    /// used and has lost its identity, cannot be read or written, or if other users may write in it.
    pub fn begin(path: &Path, purpose: &Purpose) -> Result<Self> {
        let failed = |why| failed(path, "cannot make", why);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        check_access(path)?;
        let lock = open_lock(path).map_err(failed)?;
        lock_alone(path, &lock)?;
        let identity = match fs::read(path.join("identity.json")) {
            Ok(text) => known(path, &text, purpose)?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                check_unused(path)?;
                make(path, purpose)?
            }
            Err(why) => return Err(failed(why)),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path.join("bindings")).map_err(failed)?;
        let generation = read_generation(path)?;
        let mut directory = StateDirectory { path: path.to_owned(), lock, identity, generation };
        directory.count_up()?;
        Ok(directory)
    }

    /// Starts from scratch in the directory at `path`: its contents are put aside, in its folder `discarded`.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin), except that the directory may belong to another dataflow.
    pub fn begin_from_scratch(path: &Path, purpose: &Purpose) -> Result<Self> {
        let failed = |why| failed(path, "cannot put aside what is in", why);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        check_access(path)?;
        let lock = open_lock(path).map_err(failed)?;
        lock_alone(path, &lock)?;
        // Numbered, so that nothing is ever overwritten.
        let aside = (1..).map(|n: u64| path.join(format!("discarded/{n:06}"))).find(|aside| !aside.exists());
        let aside = aside.expect("there is always another number");
        DirBuilder::new().recursive(true).mode(0o700).create(&aside).map_err(failed)?;
        // The identity goes last: until then another attempt puts aside the rest.
        for name in ["checkpoints", "journal", "bindings", "generation", "identity.json"] {
            match fs::rename(path.join(name), aside.join(name)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(failed(why)),
                _ => {}
            }
        }
        File::open(path).and_then(|folder| folder.sync_all()).map_err(failed)?;
        drop(lock);
        Self::begin(path, purpose)
    }

    /// Joins the generation that another process started.
    ///
    /// # Errors
    /// Of kind `State`: if that generation is over, or the directory cannot be read.
    pub fn join(path: &Path, purpose: &Purpose, generation: u64) -> Result<Self> {
        check_access(path)?;
        let lock = open_lock(path).map_err(|why| failed(path, "cannot open", why))?;
        lock.lock_shared().map_err(|why| failed(path, "cannot lock", why))?;
        let text = fs::read(path.join("identity.json")).map_err(|why| failed(path, "cannot read", why))?;
        let identity = known(path, &text, purpose)?;
        let now = read_generation(path)?;
        if now != generation {
            let message =
                format!("state directory {path:?} is at generation {now}, and this process is of {generation}");
            return Err(Error::new(ErrorKind::State, message).hint("another run took over; this one has nothing to do"));
        }
        Ok(StateDirectory { path: path.to_owned(), lock, identity, generation })
    }

    /// Starts the next generation, once every process of this one has exited.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    pub fn begin_next(&mut self) -> Result<()> {
        self.lock.unlock().map_err(|why| failed(&self.path, "cannot unlock", why))?;
        lock_alone(&self.path, &self.lock)?;
        let now = read_generation(&self.path)?;
        if now != self.generation {
            let message = format!("state directory {:?} was taken over by another run (generation {now})", self.path);
            return Err(Error::new(ErrorKind::State, message));
        }
        self.count_up()
    }

    fn count_up(&mut self) -> Result<()> {
        let next = self.generation + 1;
        write_whole(&self.path, "generation", next.to_string().as_bytes())?;
        self.generation = next;
        // A run that locked the directory in between has incremented the generation, and then processes of this one are
        // refused.
        self.lock.lock_shared().map_err(|why| failed(&self.path, "cannot lock", why))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its identity.
    pub fn identity(&self) -> &StateIdentity {
        &self.identity
    }

    /// How many runs have used it, this one included.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(path.join("lock"))
}

/// Refuses a folder in which other users may write: whoever can put a file there decides what the next run resumes
/// from.
fn check_access(path: &Path) -> Result<()> {
    let folder = fs::metadata(path).map_err(|why| failed(path, "cannot look at", why))?;
    let mode = folder.mode() & 0o7777;
    if mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let message = format!("state directory: users other than its owner may write in {path:?} (mode {mode:04o})");
    Err(Error::new(ErrorKind::State, message).hint(format!(
        "take that away (chmod go-w {}), or name a folder in it that is not there yet: it is made for this user alone",
        Shown::from(path)
    )))
}

/// Refuses a directory that was used and has no identity: nobody knows to which dataflow its epochs belong.
fn check_unused(path: &Path) -> Result<()> {
    let is_used = |name: &&&str| match fs::read_dir(path.join(name)) {
        Ok(mut entries) => entries.next().is_some(),
        Err(why) => why.kind() != io::ErrorKind::NotFound,
    };
    match ["generation", "bindings", "checkpoints", "journal"].iter().find(is_used) {
        None => Ok(()),
        Some(name) => {
            let message =
                format!("state directory: {path:?} was used (it has {name:?}), and its identity.json is missing");
            Err(Error::new(ErrorKind::State, message).hint(
                "restore identity.json from a copy, or start over with --from-scratch, which puts aside what is there",
            ))
        }
    }
}

fn lock_alone(path: &Path, lock: &File) -> Result<()> {
    let since = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if since.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => {
                let message = format!("state directory {path:?} is in use by another run");
                return Err(Error::new(ErrorKind::State, message).hint(
                    "a dataflow runs once on a state directory: stop the other one, or give this one a directory of its own",
                ));
            }
            Err(TryLockError::Error(why)) => return Err(failed(path, "cannot lock", why)),
        }
    }
}

/// The identity of a directory, if it belongs to this dataflow.
fn known(path: &Path, text: &[u8], purpose: &Purpose) -> Result<StateIdentity> {
    let damaged = |why| failed(path, "has a damaged identity.json:", why);
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|why| damaged(why.into()))?;
    if value["format"] != FORMAT {
        let message =
            format!("state directory {path:?} has format {}, and this program reads {FORMAT}", value["format"]);
        return Err(Error::new(ErrorKind::State, message).hint("use the version of the program that made it"));
    }
    let identity: StateIdentity = serde_json::from_value(value).map_err(|why| damaged(why.into()))?;
    let differences = identity.fingerprint.differences(&purpose.fingerprint, DIFFERENCES_MAX);
    if differences.is_empty() {
        return Ok(identity);
    }
    let message = format!("state directory {path:?} belongs to another dataflow: {}", differences.join("; "));
    Err(Error::new(ErrorKind::State, message).hint(
        "this one cannot replay its epochs: go back to the dataflow as it was, or start with a new state directory",
    ))
}

/// Reads `bytes` as an identity.
pub(crate) fn fuzz(path: &Path, bytes: &[u8]) {
    let purpose = Purpose { fingerprint: Fingerprint::default(), workers: 1, now_ms: 0 };
    let _ = known(path, bytes, &purpose);
}

fn make(path: &Path, purpose: &Purpose) -> Result<StateIdentity> {
    let mut random = [0; 8];
    SysRng.try_fill_bytes(&mut random).map_err(|why| failed(path, "cannot make", io::Error::other(why)))?;
    let identity = StateIdentity {
        format: FORMAT,
        id: random.iter().map(|byte| format!("{byte:02x}")).collect(),
        created_ms: purpose.now_ms,
        sink_shards: purpose.workers.clamp(1, SINK_SHARDS_MAX),
        fingerprint: purpose.fingerprint.clone(),
    };
    let text = serde_json::to_vec_pretty(&identity).expect("an identity can be written as JSON");
    write_whole(path, "identity.json", &text)?;
    Ok(identity)
}

fn read_generation(path: &Path) -> Result<u64> {
    let file = path.join("generation");
    match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().map_err(|why| failed(&file, "is damaged:", io::Error::other(why))),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(why) => Err(failed(&file, "cannot read", why)),
    }
}

/// Writes a file atomically: it is there whole or not at all, whatever happens.
pub(super) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (new, path) = (folder.join(format!("{name}.new")), folder.join(name));
    let write = || {
        // A leftover of a run that was killed, or a link that leads elsewhere.
        match fs::remove_file(&new) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|why| failed(&path, "cannot write", why))
}

fn failed(path: &Path, what: &str, why: io::Error) -> Error {
    let error = Error::new(ErrorKind::State, format!("state directory: {what} {path:?}")).because(why);
    error.hint("it must be on a local disk, and this user must be able to write there: see engine.state_dir")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn purpose(size: &str, workers: usize) -> Purpose {
        let fingerprint = Fingerprint([("params.size".to_owned(), size.to_owned())].into());
        Purpose { fingerprint, workers, now_ms: 7 }
    }

    #[test]
    fn generations_count_up_and_the_identity_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/state");
        let first = StateDirectory::begin(&path, &purpose("1", 3)).unwrap();
        let identity = first.identity().clone();
        assert_eq!((first.generation(), identity.sink_shards, identity.created_ms), (1, 3, 7));
        assert_eq!(identity.id.len(), 16);
        drop(first);
        let mut second = StateDirectory::begin(&path, &Purpose { workers: 8, now_ms: 9, ..purpose("1", 0) }).unwrap();
        assert_eq!((second.generation(), second.identity()), (2, &identity));
        second.begin_next().unwrap();
        assert_eq!(second.generation(), 3);
        drop(second);
        assert_eq!(StateDirectory::begin(&path, &purpose("1", 1)).unwrap().generation(), 4);
    }

    #[test]
    fn shards_have_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let directory = StateDirectory::begin(folder.path(), &purpose("1", 1_000)).unwrap();
        assert_eq!(directory.identity().sink_shards, SINK_SHARDS_MAX);
    }

    #[test]
    fn another_dataflow_is_refused_with_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        drop(StateDirectory::begin(folder.path(), &purpose("1", 1)).unwrap());
        let error = StateDirectory::begin(folder.path(), &purpose("2", 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.to_string().contains("params.size was 1 and is 2"), "{error}");
    }

    #[test]
    fn members_join_the_generation_that_began_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut starter = StateDirectory::begin(folder.path(), &purpose("1", 1)).unwrap();
        let member = StateDirectory::join(folder.path(), &purpose("1", 1), 1).unwrap();
        assert_eq!(member.identity(), starter.identity());
        let error = StateDirectory::join(folder.path(), &purpose("1", 1), 2).unwrap_err().to_string();
        assert!(error.contains("generation 1") && error.contains("of 2"), "{error}");
        drop(member);
        starter.begin_next().unwrap();
        assert!(StateDirectory::join(folder.path(), &purpose("1", 1), 1).is_err());
        assert!(StateDirectory::join(folder.path(), &purpose("1", 1), 2).is_ok());
    }

    #[test]
    fn a_generation_that_could_not_begin_can_begin_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut starter = StateDirectory::begin(folder.path(), &purpose("1", 1)).unwrap();
        // As on a full disk: nothing can be written under this name.
        fs::create_dir(folder.path().join("generation.new")).unwrap();
        assert!(starter.begin_next().is_err());
        fs::remove_dir(folder.path().join("generation.new")).unwrap();
        starter.begin_next().unwrap();
        assert_eq!(starter.generation(), 2);
    }

    #[test]
    fn a_directory_that_lost_its_identity_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        drop(StateDirectory::begin(&path, &purpose("1", 1)).unwrap());
        let identity = path.join("identity.json");
        fs::remove_file(&identity).unwrap();
        for _ in 0..2 {
            let error = StateDirectory::begin(&path, &purpose("1", 1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::State);
            assert!(error.to_string().contains("identity.json is missing"), "{error}");
            assert!(!identity.exists());
        }
        // Anything else that is left shows that it was used; what was put aside does not.
        fs::remove_file(path.join("generation")).unwrap();
        for left in ["bindings/0000000001-000-000000.log", "checkpoints/0-1", "journal/a-0"] {
            fs::create_dir_all(path.join(left)).unwrap();
            assert!(StateDirectory::begin(&path, &purpose("1", 1)).is_err(), "{left}");
            fs::remove_dir(path.join(left)).unwrap();
        }
        fs::write(path.join("generation"), "7").unwrap();
        drop(StateDirectory::begin_from_scratch(&path, &purpose("1", 1)).unwrap());
        drop(StateDirectory::begin(&path, &purpose("1", 1)).unwrap());
    }

    #[test]
    fn what_is_written_whole_replaces_a_link_and_nothing_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("precious"), "kept").unwrap();
        for name in ["a.new", "a"] {
            std::os::unix::fs::symlink(at("precious"), at(name)).unwrap();
        }
        write_whole(folder.path(), "a", b"new").unwrap();
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "kept");
        assert!(fs::symlink_metadata(at("a")).unwrap().is_file());
        assert_eq!(fs::read_to_string(at("a")).unwrap(), "new");
        // The lock must not be a link either.
        fs::create_dir(at("state")).unwrap();
        fs::set_permissions(at("state"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(at("precious"), at("state/lock")).unwrap();
        assert!(StateDirectory::begin(&at("state"), &purpose("1", 1)).is_err());
    }

    #[test]
    fn a_folder_in_which_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        for (mode, refused) in
            [(0o770, true), (0o702, true), (0o777, true), (0o1777, true), (0o755, false), (0o700, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let begun = StateDirectory::begin(&path, &purpose("1", 1));
            assert_eq!(begun.is_err(), refused, "{mode:o}");
            if let Err(error) = begun {
                let error = error.to_string();
                assert!(error.contains("chmod go-w") && error.contains(&format!("{mode:04o}")), "{error}");
                assert!(!path.join("lock").exists(), "nothing is written before");
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(StateDirectory::join(&path, &purpose("1", 1), 2).is_err());
        assert!(StateDirectory::begin_from_scratch(&path, &purpose("1", 1)).is_err());
    }

    #[test]
    fn a_generation_waits_for_the_processes_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut starter = StateDirectory::begin(folder.path(), &purpose("1", 1)).unwrap();
        let member = StateDirectory::join(folder.path(), &purpose("1", 1), 1).unwrap();
        let gone = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(member);
        });
        let since = Instant::now();
        starter.begin_next().unwrap();
        assert!(since.elapsed() >= Duration::from_millis(150), "{:?}", since.elapsed());
        gone.join().unwrap();
    }

    #[test]
    fn what_is_no_state_directory_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("identity.json"), "{\"format\":99}").unwrap();
        let error = StateDirectory::begin(folder.path(), &purpose("1", 1)).unwrap_err().to_string();
        assert!(error.contains("format 99"), "{error}");
        fs::write(folder.path().join("identity.json"), "{\"format\":1").unwrap();
        let error = StateDirectory::begin(folder.path(), &purpose("1", 1)).unwrap_err().to_string();
        assert!(error.contains("damaged identity.json"), "{error}");
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(StateDirectory::begin(&folder.path().join("file"), &purpose("1", 1)).is_err());
    }
}
