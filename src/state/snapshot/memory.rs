//! Snapshots of one operator in memory, for tests: taken while it works, and resumed from.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::capture::{Capture, Event};
use timely::dataflow::operators::vec::Input;
use timely::dataflow::{ProbeHandle, StreamVec};

use super::{Recorder, Schedule, Slot};
use crate::record::Record;
use crate::time::{Epoch, EventTime};

/// How many milliseconds are between two snapshots.
pub(crate) const EVERY_MS: u64 = 100;

#[derive(Default)]
struct MemoryRecorder {
    writing: Cell<Option<Epoch>>,
    kept: RefCell<BTreeMap<Epoch, Vec<u8>>>,
    complete: RefCell<BTreeSet<Epoch>>,
    lasting: RefCell<Vec<(Epoch, Vec<u8>)>>,
    slices: Cell<usize>,
}

impl Recorder for MemoryRecorder {
    fn begin(&self, _: u32, epoch: Epoch) -> bool {
        let free = self.writing.get().is_none();
        if free {
            self.writing.set(Some(epoch));
            self.kept.borrow_mut().insert(epoch, Vec::new());
        }
        free
    }

    fn write(&self, _: u32, lasting: bool, entries: Vec<u8>) {
        let epoch = self.writing.get().expect("a snapshot was begun");
        if lasting {
            self.lasting.borrow_mut().push((epoch, entries));
        } else {
            self.kept.borrow_mut().get_mut(&epoch).expect("it was begun").extend(entries);
        }
    }

    fn end(&self, _: u32) {
        self.complete.borrow_mut().insert(self.writing.take().expect("a snapshot was begun"));
    }

    fn settle(&self, _: u32, entries: Vec<u8>, lasting: Vec<u8>) {
        self.kept.borrow_mut().insert(Epoch::MAX, entries);
        self.lasting.borrow_mut().push((Epoch::MAX, lasting));
        self.complete.borrow_mut().insert(Epoch::MAX);
    }

    fn has_room(&self) -> bool {
        true
    }

    fn oldest(&self) -> Epoch {
        0
    }

    fn resumed(&self) {
        self.slices.set(self.slices.get() + 1);
    }

    fn paused(&self) {}

    fn unreadable(&self, _: u32, why: &str) {
        panic!("{why}");
    }
}

/// What arrives at an epoch: records, and the watermark then.
pub(crate) type Arrivals<I> = (Epoch, Vec<I>, EventTime);

/// The results of a run.
pub(crate) struct OperatorRun<O> {
    pub(crate) rows: Vec<(Epoch, O)>,
    /// The entries, by the epoch of the snapshot.
    pub(crate) kept: BTreeMap<Epoch, Vec<Bytes>>,
    /// The number of slices in which they were written.
    pub(crate) slices: usize,
}

/// Runs an operator over `arrivals`, each of which it gets while it may still be writing a snapshot; resumed from the
/// snapshot of an epoch, if that is given.
pub(crate) fn run<I: Record + Sync, O: Record>(
    arrivals: Vec<Arrivals<I>>,
    from: Option<(Epoch, Vec<Bytes>)>,
    build: impl for<'s> FnOnce(StreamVec<'s, Epoch, I>, StreamVec<'s, Epoch, EventTime>, Slot) -> StreamVec<'s, Epoch, O>
    + Send
    + Sync
    + 'static,
) -> OperatorRun<O> {
    timely::execute_directly(move |worker| {
        let memory = Rc::new(MemoryRecorder::default());
        let (first, kept) = from.map_or((0, vec![]), |(epoch, kept)| (epoch + 1, kept));
        let schedule = Schedule { every_ms: EVERY_MS, from: first };
        let slot = Slot::new(0, (0, 1), schedule, Rc::clone(&memory) as Rc<dyn Recorder>, kept);
        let probe = ProbeHandle::new();
        let (mut records, mut watermark, rows) = worker.dataflow::<Epoch, _, _>(|scope| {
            let (records, all) = scope.new_input::<I>();
            let (watermark, marks) = scope.new_input::<EventTime>();
            let rows = build(all, marks, slot);
            (records, watermark, rows.probe_with(&probe).capture())
        });
        for (epoch, new, time) in arrivals.into_iter().filter(|(epoch, ..)| *epoch >= first) {
            records.advance_to(epoch);
            watermark.advance_to(epoch);
            new.into_iter().for_each(|record| records.send(record));
            watermark.send(time);
            worker.step();
        }
        records.close();
        watermark.close();
        while !probe.done() {
            worker.step();
        }
        let messages = rows.try_iter().filter_map(|event| match event {
            Event::Messages(stamp, rows) => {
                let epoch = *stamp.least().expect("rows have an epoch");
                Some(rows.into_iter().map(move |row| (epoch, row)))
            }
            Event::Progress(_) => None,
        });
        let rows = messages.flatten();
        let lasting = |epoch: Epoch| {
            let lasting = memory.lasting.borrow();
            lasting
                .iter()
                .filter(|(at, _)| *at <= epoch)
                .map(|(_, entries)| entries.clone().into())
                .collect::<Vec<Bytes>>()
        };
        let all = memory.kept.borrow();
        let complete = all.iter().filter(|(epoch, _)| memory.complete.borrow().contains(epoch));
        let kept = complete
            .map(|(epoch, kept)| (*epoch, lasting(*epoch).into_iter().chain([Bytes::from(kept.clone())]).collect()));
        OperatorRun { rows: rows.collect(), kept: kept.collect(), slices: memory.slices.get() }
    })
}

/// Runs an operator without interruption, and then from each snapshot that this has left: its output after the snapshot
/// must be the same.
pub(crate) fn same_from_every_snapshot<I, O>(
    arrivals: &[Arrivals<I>],
    build: impl for<'s> Fn(StreamVec<'s, Epoch, I>, StreamVec<'s, Epoch, EventTime>, Slot) -> StreamVec<'s, Epoch, O>
    + Clone
    + Send
    + Sync
    + 'static,
) -> OperatorRun<O>
where
    I: Record + Sync,
    O: Record + Ord + std::fmt::Debug,
{
    let sorted = |mut rows: Vec<(Epoch, O)>| {
        rows.sort();
        rows
    };
    let undisturbed = run(arrivals.to_vec(), None, build.clone());
    let snapshots = undisturbed.kept.iter().filter(|(epoch, _)| **epoch < Epoch::MAX);
    let mut after_some = 0;
    for (epoch, kept) in snapshots {
        let again = run(arrivals.to_vec(), Some((*epoch, kept.clone())), build.clone());
        let expected: Vec<_> = undisturbed.rows.iter().filter(|(at, _)| at > epoch).cloned().collect();
        after_some += usize::from(!expected.is_empty());
        assert_eq!(sorted(again.rows), sorted(expected), "from epoch {epoch}");
    }
    assert!(after_some > 2, "only {after_some} snapshots had something after them");
    undisturbed
}
