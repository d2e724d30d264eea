//! Appends bindings: one thread per process, one flush to the disk for everything that waits. A test may take the thread's turns
//! itself, and so choose when it is where.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::read::{Header, file_name};
use super::{Binding, PartitionBinding, VERSION};
use crate::checkpoint::directory::StateDirectory;
use crate::checkpoint::frame::to_line;
use crate::error::{Error, ErrorKind, Result};
use crate::state::snapshot::Schedule;
use crate::time::Epoch;

/// What a log tells of itself.
pub trait LogObserver: Send {
    /// A flush to the disk took so long, and made so many bytes durable.
    fn flushed(&self, took: Duration, bytes: usize);

    /// The log cannot be written: nothing that was not durable before ever will be.
    fn failed(&self, error: Error);
}

/// The log of one process. Dropping the last clone ends its writer, once everything is written.
#[derive(Clone)]
pub struct BindingLog(Sender<Submission>);

struct Submission {
    binding: Binding,
    /// Gets the epoch, plus one, once it is durable.
    durable: Arc<AtomicU64>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl BindingLog {
    /// Begins the log of process `process` in the generation of `directory`, in which epoch 0 is bound `openings` times over all
    /// processes if it begins from nothing. It begins another file after each epoch at which checkpoints are due. Nothing is
    /// written but by the writer.
    ///
    /// # Errors
    /// Of kind `State`: if the file cannot be made.
    pub fn begin(
        directory: &StateDirectory,
        process: usize,
        openings: usize,
        checkpoints: Schedule,
        observer: impl LogObserver + 'static,
    ) -> Result<(Self, BindingWriter)> {
        let (generation, state) = (directory.generation(), directory.identity().id.clone());
        let header = to_line(&Header { bindings: VERSION, state, generation, process, openings });
        let folder = directory.path().join("bindings");
        let files = Files { folder, generation, process, header, checkpoints, part: 0, from: 0 };
        let (path, file) = files.create()?;
        let (sender, submitted) = channel();
        let observer = Box::new(observer);
        let writer = BindingWriter { files, path, file, submitted, unflushed: Vec::new(), bytes: 0, observer };
        Ok((BindingLog(sender), writer))
    }

    /// A handle for one worker's source; `wake` is called, from another thread, whenever something of it became durable.
    pub fn binder(&self, source: &str, wake: impl Fn() + Send + Sync + 'static) -> Binder {
        Binder { source: source.to_owned(), submissions: self.0.clone(), durable: Arc::default(), wake: Arc::new(wake) }
    }
}

/// Binds the epochs of one worker's source.
pub struct Binder {
    source: String,
    submissions: Sender<Submission>,
    /// The newest durable epoch plus one, or 0.
    durable: Arc<AtomicU64>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Binder {
    /// Has `partitions` bound to `epoch`, which is greater than all before. Never waits.
    pub fn bind(&self, epoch: Epoch, partitions: Vec<PartitionBinding>) {
        let binding = Binding { source: self.source.clone(), epoch, partitions };
        let (durable, wake) = (Arc::clone(&self.durable), Arc::clone(&self.wake));
        // A log that failed has said so, and takes nothing more.
        let _ = self.submissions.send(Submission { binding, durable, wake });
    }

    /// Whether the binding of `epoch` and all before it are on the disk.
    pub fn is_durable(&self, epoch: Epoch) -> bool {
        epoch < self.durable.load(Ordering::Acquire)
    }
}

/// The files of one process.
struct Files {
    folder: PathBuf,
    generation: u64,
    process: usize,
    /// The first frame of each.
    header: Vec<u8>,
    checkpoints: Schedule,
    /// How many there were before the one that is being written.
    part: u32,
    /// The epoch of a checkpoint before all epochs that are in it.
    from: Epoch,
}

impl Files {
    fn create(&self) -> Result<(PathBuf, File)> {
        let path = self.folder.join(file_name(self.generation, self.process, self.part));
        let create = || {
            let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&self.header)?;
            file.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|why| unwritable(&path, why))?;
        Ok((path, file))
    }

    /// The next file, if `epoch` is the first one after a checkpoint.
    fn next(&mut self, epoch: Epoch) -> Result<Option<(PathBuf, File)>> {
        let checkpoint = self.checkpoints.last_before(epoch).unwrap_or(0);
        if checkpoint <= self.from {
            return Ok(None);
        }
        (self.from, self.part) = (checkpoint, self.part + 1);
        self.create().map(Some)
    }
}

/// Writes what is submitted to the log of one process.
pub struct BindingWriter {
    files: Files,
    path: PathBuf,
    file: File,
    submitted: Receiver<Submission>,
    /// What is in the file, and perhaps not on the disk.
    unflushed: Vec<Submission>,
    /// How much that is.
    bytes: usize,
    observer: Box<dyn LogObserver>,
}

/// The log can no longer be written, and has said so.
struct Failed;

impl BindingWriter {
    /// Writes in a thread of its own, until the log is dropped.
    ///
    /// # Errors
    /// Of kind `State`: if the thread cannot be started.
    pub fn start(self) -> Result<()> {
        let thread = std::thread::Builder::new().name("bindings".to_owned()).spawn(move || self.write_all());
        let cannot = |why| Error::new(ErrorKind::State, "cannot start the thread that writes bindings").because(why);
        thread.map(drop).map_err(cannot)
    }

    /// Writes until nobody can submit anything any more, or writing fails.
    fn write_all(mut self) {
        while let Ok(first) = self.submitted.recv() {
            if self.append(first).and_then(|()| self.flush()).is_err() {
                return;
            }
        }
    }

    /// Does the next thing there is to do, if there is one: flushes what is written, or else writes what was submitted. Never waits
    /// for more. Says whether there was something.
    #[doc(hidden)]
    pub fn turn(&mut self) -> bool {
        if !self.unflushed.is_empty() {
            return self.flush().is_ok();
        }
        self.submitted.try_recv().is_ok_and(|first| self.append(first).is_ok())
    }

    /// The file, and how many of its bytes are not known to be on the disk.
    #[doc(hidden)]
    pub fn unflushed(&self) -> (&Path, usize) {
        (&self.path, self.bytes)
    }

    fn append(&mut self, first: Submission) -> Result<(), Failed> {
        self.unflushed.push(first);
        self.unflushed.extend(self.submitted.try_iter());
        let earliest = self.unflushed.iter().map(|submission| submission.binding.epoch).min().unwrap_or(0);
        match self.files.next(earliest) {
            Ok(Some((path, file))) => (self.path, self.file) = (path, file),
            Ok(None) => {}
            Err(error) => return Err(self.failed(error)),
        }
        let line = to_line(&self.unflushed.iter().map(|submission| &submission.binding).collect::<Vec<_>>());
        self.bytes = line.len();
        self.file.write_all(&line).map_err(|why| self.failed(unwritable(&self.path, why)))
    }

    fn flush(&mut self) -> Result<(), Failed> {
        let began = Instant::now();
        self.file.sync_data().map_err(|why| self.failed(unwritable(&self.path, why)))?;
        self.observer.flushed(began.elapsed(), std::mem::take(&mut self.bytes));
        for Submission { binding, durable, wake } in self.unflushed.drain(..) {
            durable.fetch_max(binding.epoch + 1, Ordering::AcqRel);
            wake();
        }
        Ok(())
    }

    /// After a flush that failed nobody can say what is on the disk, so it is not tried again.
    fn failed(&self, error: Error) -> Failed {
        self.observer.failed(error);
        Failed
    }
}

fn unwritable(path: &Path, why: io::Error) -> Error {
    let full = matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error = Error::new(ErrorKind::State, format!("state directory: cannot write {path:?}")).because(why);
    error.hint(if full {
        "free some space, then start again: nothing is lost"
    } else {
        "check the disk, then start again: what was bound before is not lost"
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::checkpoint::bindings::{Base, Joined, Phase, prune, recover};
    use crate::checkpoint::bindings::{Position, SourceBase};
    use crate::checkpoint::directory::Purpose;
    use crate::checkpoint::identity::Fingerprint;
    use crate::checkpoint::manifest::CheckpointName;
    use crate::time::EventTime;

    const NEVER: Schedule = Schedule { every_ms: u64::MAX, from: 0 };

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl LogObserver for Seen {
        fn flushed(&self, _: Duration, bytes: usize) {
            self.0.lock().unwrap().push(format!("flushed {}", bytes > 0));
        }
        fn failed(&self, error: Error) {
            self.0.lock().unwrap().push(error.to_string());
        }
    }

    fn begin(path: &Path) -> StateDirectory {
        StateDirectory::begin(path, &Purpose { fingerprint: Fingerprint::default(), workers: 1, now_ms: 0 }).unwrap()
    }

    fn partition(next: u64, joined: bool) -> PartitionBinding {
        let joined = joined.then(|| Joined { label: "p".into(), from: 0, identity: None });
        PartitionBinding { partition: 0, joined, next, phase: Phase::Active, floor: None, follows: None }
    }

    #[test]
    fn what_is_durable_is_found_by_the_next_generation() {
        let folder = tempfile::tempdir().unwrap();
        let (woken, wakes) = channel();
        for generation in 1..=2u64 {
            let directory = begin(folder.path());
            let (log, writer) = BindingLog::begin(&directory, 0, 0, NEVER, Seen::default()).unwrap();
            writer.start().unwrap();
            let woken = woken.clone();
            let binder = log.binder("in", move || woken.send(()).unwrap());
            assert!(!binder.is_durable(0));
            binder.bind(generation * 100, vec![partition(generation, generation == 1)]);
            wakes.recv().unwrap();
            assert!(binder.is_durable(generation * 100) && !binder.is_durable(generation * 100 + 1));
            drop((log, binder, directory));
            let history = recover(folder.path(), begin(folder.path()).identity().id.as_str(), Base::default()).unwrap();
            assert_eq!(history.last, Some(generation * 100));
        }
    }

    #[test]
    fn files_that_a_checkpoint_covers_are_deleted_and_the_rest_is_a_history_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (woken, wakes) = channel();
        let mut from = 0;
        let count = || std::fs::read_dir(folder.path().join("bindings")).unwrap().count();
        for generation in 1..=2u64 {
            let directory = begin(folder.path());
            let every = Schedule { every_ms: 100, from };
            let (log, writer) = BindingLog::begin(&directory, 0, 0, every, Seen::default()).unwrap();
            writer.start().unwrap();
            let woken = woken.clone();
            let binder = log.binder("in", move || woken.send(()).unwrap());
            for epoch in [10, 90, 110, 190, 210].map(|epoch| generation * 1000 + epoch) {
                binder.bind(epoch, vec![partition(epoch, epoch == 1010)]);
                wakes.recv().unwrap();
            }
            from = generation * 1000 + 211;
        }
        // Each file but the first begins after a multiple of 100.
        let files = count();
        assert_eq!(files, 8);
        prune(folder.path(), 2150, 2).unwrap();
        assert_eq!(count(), 3, "what has 2190, what is being written, and up to where the rest is gone");
        let position = |next| {
            let (label, floor) = ("p".to_owned(), EventTime::MIN);
            Position { partition: 0, label, next, phase: Phase::Active, floor, identity: None }
        };
        let base = SourceBase { positions: [(0, position(2110))].into(), ..SourceBase::default() };
        let checkpoint = |epoch| Some(CheckpointName { epoch, generation: 2 });
        let base = |epoch| Base { checkpoint: checkpoint(epoch), sources: [("in".to_owned(), base.clone())].into() };
        let state = begin(folder.path()).identity().id.clone();
        let history = recover(folder.path(), &state, base(2150)).unwrap();
        assert_eq!(history.sources["in"].epochs.keys().copied().collect::<Vec<_>>(), [2190, 2210]);
        let known = &history.sources["in"].partitions()[0];
        assert_eq!((known.from, known.next, history.last), (2110, 2210, Some(2210)));
        let error = recover(folder.path(), &state, Base::default()).unwrap_err().to_string();
        assert!(error.contains("no checkpoint can be gone on from"), "{error}");
    }

    #[test]
    fn what_is_written_by_hand_is_durable_after_the_flush() {
        let folder = tempfile::tempdir().unwrap();
        let directory = begin(folder.path());
        let (log, mut writer) = BindingLog::begin(&directory, 0, 0, NEVER, Seen::default()).unwrap();
        let binder = log.binder("in", || {});
        assert!(!writer.turn());
        binder.bind(1, vec![partition(1, true)]);
        assert!(writer.turn() && writer.unflushed().1 > 0 && !binder.is_durable(1));
        binder.bind(2, vec![partition(2, false)]);
        assert!(writer.turn() && writer.unflushed().1 == 0 && binder.is_durable(1) && !binder.is_durable(2));
        assert!(writer.turn() && writer.turn() && binder.is_durable(2) && !writer.turn());
    }

    #[test]
    fn a_log_that_cannot_be_written_says_so_and_makes_nothing_durable() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, submitted) = channel();
        let durable = Arc::new(AtomicU64::new(0));
        let binding = Binding { source: "in".into(), epoch: 1, partitions: vec![partition(1, true)] };
        sender.send(Submission { binding, durable: Arc::clone(&durable), wake: Arc::new(|| panic!("woken")) }).unwrap();
        let seen = Seen::default();
        let (folder, header) = (folder.path().to_owned(), vec![]);
        let files = Files { folder, generation: 1, process: 0, header, checkpoints: NEVER, part: 0, from: 0 };
        let (path, observer) = (PathBuf::from("/dev/full"), Box::new(seen.clone()));
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        BindingWriter { files, path, file, submitted, unflushed: Vec::new(), bytes: 0, observer }.write_all();
        let said = seen.0.lock().unwrap();
        assert_eq!((said.len(), durable.load(Ordering::Acquire)), (1, 0));
        assert!(said[0].contains("cannot write") && said[0].contains("free some space"), "{said:?}");
    }
}
