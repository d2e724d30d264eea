//! Checkpoints from snapshots to files and back, with nothing between them but their own threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use object_store::memory::InMemory;

use super::identity::Fingerprint;
use super::manifest::{CheckpointName, ObjectRef, list, read_manifest};
use super::prune::prune;
use super::restore::{Restored, load, restore};
use super::snapshots::{SnapshotPlan, Snapshots};
use super::store::CheckpointStore;
use super::writer::{CheckpointObserver, CheckpointWriterHandle, CheckpointWriterPlan};
use crate::error::Error;
use crate::state::snapshot::{Placement, Schedule, Slot, append};
use crate::time::{Epoch, SystemClock, Ticker};

const PATIENCE: Duration = Duration::from_secs(20);

/// Receives what a checkpoint writer reports.
#[derive(Clone)]
struct WriterReports(Sender<Result<Epoch, String>>);

impl CheckpointObserver for WriterReports {
    fn completed(&self, epoch: Epoch, _: u64, _: Duration) {
        self.0.send(Ok(epoch)).unwrap();
    }

    fn failed(&self, error: Error) {
        self.0.send(Err(error.to_string())).unwrap();
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    store: CheckpointStore,
    fingerprint: Fingerprint,
}

impl Fixture {
    /// A store in memory, or in files.
    fn new(in_memory: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bindings")).unwrap();
        let store = match in_memory {
            true => CheckpointStore::new(Arc::new(InMemory::new()), "memory".to_owned()),
            false => CheckpointStore::folder(&folder.path().join("checkpoints")),
        };
        Fixture { folder, store: store.unwrap(), fingerprint: Fingerprint::default() }
    }

    fn writer(
        &self,
        workers: usize,
        lasting: Vec<(usize, ObjectRef)>,
    ) -> (CheckpointWriterHandle, Receiver<Result<Epoch, String>>) {
        let plan = CheckpointWriterPlan {
            store: self.store.clone(),
            directory: self.folder.path().to_owned(),
            state: "s".into(),
            generation: 1,
            fingerprint: self.fingerprint.clone(),
            workers,
            completes: true,
            keep: 2,
            ticker: Ticker::new(Arc::new(SystemClock), Duration::from_millis(1)),
            lasting,
        };
        let (said, heard) = channel();
        let (handle, writer) = CheckpointWriterHandle::new(plan, WriterReports(said));
        writer.start().unwrap();
        (handle, heard)
    }

    fn restore(&self, chosen: Option<CheckpointName>) -> Result<Option<Arc<Restored>>, Error> {
        restore(&self.store, "s", &self.fingerprint, chosen)
    }
}

/// The snapshots of a worker, and the errors that they report.
fn snapshots(
    writer: &CheckpointWriterHandle,
    worker: usize,
    workers: usize,
    restored: Option<Arc<Restored>>,
) -> (Snapshots, Errors) {
    let errors = Errors::default();
    let told = Rc::clone(&errors);
    let plan = SnapshotPlan {
        worker,
        workers,
        schedule: Schedule { every_ms: 10, from: 0 },
        writer: writer.clone(),
        restored,
        paused: Box::new(|_| {}),
        fail: Box::new(move |error| told.borrow_mut().push(error.to_string())),
    };
    (Snapshots::new(plan), errors)
}

type Errors = Rc<RefCell<Vec<String>>>;

/// Writes `numbers`, each of its own key group.
fn write(slot: &mut Slot, epoch: Epoch, numbers: &[u64]) {
    assert_eq!(slot.due(epoch + 1), Some(epoch));
    slot.take(epoch, |slot| numbers.iter().for_each(|n| assert!(slot.give(Placement::Group(*n), n) > 0)));
}

fn read(slot: &mut Slot) -> Vec<u64> {
    let mut numbers = Vec::new();
    slot.restore(|n: u64| numbers.push(n));
    numbers.sort_unstable();
    numbers
}

#[test]
fn what_workers_wrote_is_spread_over_others() {
    for in_memory in [false, true] {
        let setting = Fixture::new(in_memory);
        let (writer, heard) = setting.writer(2, vec![]);
        let workers: Vec<_> = (0..2).map(|worker| snapshots(&writer, worker, 2, None).0).collect();
        let mut slots: Vec<_> = workers.iter().map(|worker| (worker.slot("a"), worker.slot("b"))).collect();
        write(&mut slots[0].0, 10, &[1, 2, 3]);
        write(&mut slots[1].0, 10, &[3, 4]);
        write(&mut slots[1].1, 10, &[]);
        writer.committed(11);
        assert!(heard.recv_timeout(Duration::from_millis(100)).is_err(), "one slot is missing");
        write(&mut slots[0].1, 10, &[70]);
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(10));

        let restored = setting.restore(None).unwrap();
        let (mut all_a, mut all_b) = (Vec::new(), Vec::new());
        for worker in 0..3 {
            let (snapshots, errors) = snapshots(&writer, worker, 3, restored.clone());
            all_a.extend(read(&mut snapshots.slot("a")));
            all_b.extend(read(&mut snapshots.slot("b")));
            snapshots.built().unwrap();
            assert_eq!((snapshots.kept_at(), errors.borrow().len()), (Some(10), 0));
        }
        all_a.sort_unstable();
        assert_eq!((all_a, all_b), (vec![1, 2, 3, 3, 4], vec![70]));
    }
}

#[test]
fn is_complete_only_once_the_sinks_have_committed_it() {
    let setting = Fixture::new(true);
    let (writer, heard) = setting.writer(1, vec![]);
    let mut slot = snapshots(&writer, 0, 1, None).0.slot("a");
    writer.committed(10);
    write(&mut slot, 10, &[1]);
    assert!(heard.recv_timeout(Duration::from_millis(200)).is_err());
    assert!(setting.restore(None).unwrap().is_none());
    writer.committed(11);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(10));
    assert!(setting.restore(None).unwrap().is_some());
}

#[test]
fn an_operator_that_has_ended_is_part_of_all_later_ones() {
    let setting = Fixture::new(true);
    let (writer, heard) = setting.writer(1, vec![]);
    let worker = snapshots(&writer, 0, 1, None).0;
    let (mut ended, mut goes_on, mut collects) = (worker.slot("a"), worker.slot("b"), worker.slot("c"));
    writer.committed(Epoch::MAX);
    let lasting = |n: u64| {
        let mut entries = Vec::new();
        append(&mut entries, Placement::Group(n), &n);
        entries
    };
    // It has written its part of 10, and what comes after that must not be in 10.
    write(&mut ended, 10, &[1]);
    collects.take(10, |slot| slot.give_lasting(lasting(100)));
    ended.settle(|slot| slot.give(Placement::Group(2), &2u64));
    collects.settle(|slot| slot.give_lasting(lasting(200)));
    write(&mut goes_on, 10, &[5]);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(10));
    let kept = |epoch| {
        let restored = setting.restore(Some(CheckpointName { epoch, generation: 1 })).unwrap();
        let worker = snapshots(&writer, 0, 1, restored).0;
        ["a", "b", "c"].map(|name| read(&mut worker.slot(name)))
    };
    assert_eq!(kept(10), [vec![1], vec![5], vec![100]]);
    for epoch in [20, 30] {
        write(&mut goes_on, epoch, &[6]);
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(epoch));
        assert_eq!(kept(epoch), [vec![2], vec![6], vec![100, 200]]);
    }
}

#[test]
fn one_that_is_begun_while_another_is_written_is_abandoned() {
    let setting = Fixture::new(true);
    let (writer, heard) = setting.writer(1, vec![]);
    writer.committed(Epoch::MAX);
    let worker = snapshots(&writer, 0, 1, None).0;
    let (mut slow, mut fast) = (worker.slot("a"), worker.slot("b"));
    assert_eq!(slow.due(11), Some(10));
    assert!(slow.begin(10));
    write(&mut fast, 10, &[1]);
    assert_eq!(fast.due(21), Some(20));
    assert!(!fast.begin(20), "the other one writes");
    slow.end();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(10));
    assert_eq!(slow.due(21), Some(20));
    assert!(!slow.begin(20), "it would never be complete");
    write(&mut slow, 30, &[2]);
    write(&mut fast, 30, &[3]);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(30));
    // An operator that missed one does not block the others from the next.
    write(&mut slow, 40, &[]);
    write(&mut slow, 50, &[]);
    write(&mut fast, 50, &[]);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(50));
}

#[test]
fn a_dataflow_that_cannot_be_kept_has_none() {
    let setting = Fixture::new(true);
    let (writer, _heard) = setting.writer(1, vec![]);
    let worker = snapshots(&writer, 0, 1, None).0;
    let mut slot = worker.slot("a");
    worker.refuse("a stage is written in timely");
    assert_eq!(slot.due(11), Some(10));
    assert!(!slot.begin(10));
}

/// Takes the checkpoints of `epochs`.
fn take(setting: &Fixture, epochs: &[Epoch]) {
    let (writer, heard) = setting.writer(1, vec![]);
    writer.committed(Epoch::MAX);
    let mut slot = snapshots(&writer, 0, 1, None).0.slot("a");
    for epoch in epochs {
        write(&mut slot, *epoch, &[*epoch]);
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(*epoch));
    }
    // The writer prunes after it has reported.
    while list(&setting.store).unwrap().len() > 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_newest_that_is_whole_is_restored() {
    let setting = Fixture::new(false);
    take(&setting, &[10, 20, 30, 40]);
    let all = list(&setting.store).unwrap();
    assert_eq!(all.iter().map(|listed| listed.name.epoch).collect::<Vec<_>>(), [30, 40], "two are kept");
    assert_eq!(setting.restore(None).unwrap().unwrap().name.epoch, 40);
    assert_eq!(setting.restore(Some(all[0].name)).unwrap().unwrap().name.epoch, 30);
    // Every file of the newest is cut at any byte and has any bit flipped: the one before is restored.
    let folder = setting.folder.path().join("checkpoints").join(all[1].name.to_string());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        // The lists of the workers are in the manifest, too.
        let needed = !path.to_string_lossy().ends_with(".done");
        let expect = |bytes: &[u8], what: String| {
            std::fs::write(&path, bytes).unwrap();
            let found = setting.restore(None).unwrap().unwrap();
            assert_eq!(found.name.epoch, if needed { 30 } else { 40 }, "{path:?} {what}");
        };
        for at in (0..whole.len()).step_by(1 + whole.len() / 64) {
            expect(&whole[..at], format!("cut at {at}"));
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            expect(&flipped, format!("flipped at {at}"));
        }
        std::fs::write(&path, &whole).unwrap();
    }
    let error = setting.restore(Some(CheckpointName { epoch: 35, generation: 1 })).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("000035"), "{error}");
}

#[test]
fn what_belongs_to_another_state_or_dataflow_or_version_is_not_restored() {
    let setting = Fixture::new(true);
    take(&setting, &[10]);
    let name = CheckpointName { epoch: 10, generation: 1 };
    let error = restore(&setting.store, "other", &setting.fingerprint, Some(name)).unwrap_err().to_string();
    assert!(error.contains("belongs to the state directory s, not to other"), "{error}");
    let other = Fingerprint([("params.size".to_owned(), "1".to_owned())].into());
    let error = restore(&setting.store, "s", &other, Some(name)).unwrap_err().to_string();
    assert!(error.contains("params.size was nothing and is 1"), "{error}");
    let mut manifest = serde_json::to_value(read_manifest(&setting.store, name).unwrap()).unwrap();
    manifest["format"] = 2.into();
    setting.store.put(&format!("{name}/manifest"), super::frame::to_line(&manifest)).unwrap();
    let error = setting.restore(Some(name)).unwrap_err().to_string();
    assert!(error.contains("has format 2, and this program reads 1"), "{error}");
}

#[test]
fn a_changed_dataflow_or_type_is_an_error_that_says_what() {
    let setting = Fixture::new(true);
    take(&setting, &[10]);
    let (writer, _heard) = setting.writer(1, vec![]);
    let (worker, _) = snapshots(&writer, 0, 1, setting.restore(None).unwrap());
    worker.slot("a");
    worker.slot("b");
    let error = worker.built().unwrap_err().to_string();
    assert!(error.contains("other stages that keep state: a; now a, b"), "{error}");
    let (worker, errors) = snapshots(&writer, 0, 1, setting.restore(None).unwrap());
    worker.slot("a").restore(|_: (String, u64)| {});
    let errors = errors.borrow();
    assert!(errors.len() == 1 && errors[0].contains("what it keeps of \"a\" cannot be read"), "{errors:?}");
}

#[test]
fn what_several_checkpoints_share_is_deleted_with_the_last_of_them() {
    let setting = Fixture::new(true);
    let shared = "lasting/000000-000-000000.part";
    setting.store.put(shared, b"".to_vec()).unwrap();
    let (writer, heard) = setting.writer(1, vec![(0, super::object::refer(shared.to_owned(), b""))]);
    writer.committed(Epoch::MAX);
    let mut slot = snapshots(&writer, 0, 1, None).0.slot("a");
    write(&mut slot, 10, &[1]);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Ok(10));
    let manifest = read_manifest(&setting.store, CheckpointName { epoch: 10, generation: 1 }).unwrap();
    load(&setting.store, &manifest).unwrap();
    setting.store.put("0000000000000020-000001/w000-0000.part", b"being taken".to_vec()).unwrap();
    setting.store.put("0000000000000005-000001/w000-0000.part", b"abandoned".to_vec()).unwrap();
    assert_eq!(prune(&setting.store, 1, 1).unwrap().deleted, 1);
    assert_eq!(list(&setting.store).unwrap().len(), 2);
    assert!(setting.store.get(shared).is_ok());
    setting
        .store
        .put("0000000000000030-000001/manifest", super::frame::to_line(&manifest_without_lasting(&manifest)))
        .unwrap();
    prune(&setting.store, 1, 1).unwrap();
    assert!(setting.store.get(shared).is_err());
}

fn manifest_without_lasting(manifest: &super::manifest::Manifest) -> super::manifest::Manifest {
    super::manifest::Manifest { lasting: vec![], ..manifest.clone() }
}
