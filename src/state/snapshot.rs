//! Snapshots: the state of every operator at the end of an epoch, written entry by entry, and restored after a restart.
//!
//! Every operator that keeps state from one epoch to the next has a [`Slot`]. Which epochs have snapshots follows from
//! the epochs alone (a [`Schedule`]), so all operators on all workers agree without communicating. Before an operator
//! applies anything of a later epoch it asks its slot whether a snapshot is [due](Slot::due); everything up to that
//! epoch has arrived then, so nothing is in flight between operators, and together their snapshots are the state of the
//! dataflow.
//!
//! An entry has a placement: a key group, and so the worker that owns the group now, or every worker.

#[cfg(test)]
pub(crate) mod memory;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::KEY_GROUPS;
use crate::time::Epoch;

/// The epochs at which snapshots are due: the multiples of an interval, from the first epoch on that no earlier run
/// had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Milliseconds from one to the next; at least 1.
    pub every_ms: u64,
    /// None is due before.
    pub from: Epoch,
}

impl Schedule {
    /// The last one that is due before `next`; none if there is no next epoch.
    pub fn last_before(&self, next: Epoch) -> Option<Epoch> {
        if next == Epoch::MAX {
            return None;
        }
        let epoch = next.checked_sub(1)? / self.every_ms * self.every_ms;
        (epoch > 0 && epoch >= self.from).then_some(epoch)
    }
}

/// Which worker restores an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Every worker.
    Everywhere,
    /// The worker that owns the key group: group modulo workers.
    Group(u64),
}

const EVERYWHERE: u16 = u16::MAX;

/// Takes the snapshots of one worker. Only snapshots whose `begin` returned true are written.
pub trait Recorder {
    /// A slot starts the snapshot of `epoch`; false if it is not needed.
    fn begin(&self, slot: u32, epoch: Epoch) -> bool;

    /// Entries of the snapshot that the slot has started, or, if they are `lasting`, of this and all later ones.
    fn write(&self, slot: u32, lasting: bool, entries: Vec<u8>);

    /// The slot has written all of its snapshot.
    fn end(&self, slot: u32);

    /// From now on this is the slot's snapshot, together with its `lasting` entries: its operator will not change any
    /// more.
    fn settle(&self, slot: u32, entries: Vec<u8>, lasting: Vec<u8>);

    /// Whether more can be written without holding too much in memory.
    fn has_room(&self) -> bool;

    /// The oldest epoch whose snapshot a run can still resume from, as far as this process knows.
    fn oldest(&self) -> Epoch;

    /// Work on a snapshot blocks the worker from here on.
    fn resumed(&self);

    /// The worker continues with something else.
    fn paused(&self);

    /// Restored entries cannot be read.
    fn unreadable(&self, slot: u32, why: &str);
}

/// One operator's part of its worker's snapshots.
pub struct Slot(Option<SlotState>);

struct SlotState {
    index: u32,
    worker: usize,
    workers: usize,
    schedule: Schedule,
    recorder: Rc<dyn Recorder>,
    /// The entries of an earlier run.
    kept: Vec<Bytes>,
    /// The newest epoch that was due.
    passed: Epoch,
    settled: bool,
    entries: Vec<u8>,
    /// Collected only until it settles.
    lasting: Vec<u8>,
}

/// How many bytes of entries are written at once.
const WRITE_BYTES: usize = 256 * 1024;

/// How many bytes and entries an operator writes at most before it yields.
pub const SLICE_BYTES: usize = 256 * 1024;
/// See [`SLICE_BYTES`].
pub const SLICE_ENTRIES: usize = 2048;
/// How long it yields before it writes more.
pub const SLICE_WAIT: Duration = Duration::from_millis(1);

impl Slot {
    /// The slot of an operator whose dataflow has no snapshots.
    pub fn off() -> Self {
        Slot(None)
    }

    /// Slot number `index` of worker `worker` of `workers`, with its entries from an earlier run.
    pub fn new(
        index: u32,
        (worker, workers): (usize, usize),
        schedule: Schedule,
        recorder: Rc<dyn Recorder>,
        kept: Vec<Bytes>,
    ) -> Self {
        let (settled, entries, lasting) = (false, Vec::new(), Vec::new());
        Slot(Some(SlotState { index, worker, workers, schedule, recorder, kept, passed: 0, settled, entries, lasting }))
    }

    /// Whether there are snapshots.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this is the worker that writes state that all workers share.
    pub fn is_first(&self) -> bool {
        self.0.as_ref().is_some_and(|taking| taking.worker == 0)
    }

    /// Passes the entries of an earlier run that are placed on this worker to `each`. Can be called once.
    pub fn restore<E: DeserializeOwned>(&mut self, each: impl FnMut(E)) {
        let Some(taking) = &mut self.0 else { return };
        let kept = std::mem::take(&mut taking.kept);
        if let Err(why) = read(&kept, taking.worker, taking.workers, each) {
            taking.recorder.unreadable(taking.index, &why);
        }
    }

    /// Everything before epoch `next` has been applied, and nothing else: returns the snapshot that is due now, if one
    /// is.
    #[inline]
    pub fn due(&mut self, next: Epoch) -> Option<Epoch> {
        let taking = self.0.as_mut()?;
        let epoch = taking.schedule.last_before(next)?;
        let due = epoch > taking.passed;
        if due {
            taking.passed = epoch;
        }
        due.then_some(epoch)
    }

    /// The snapshot that will be [due](Self::due) before anything of `epoch` is applied, if there is one.
    #[inline]
    pub fn upcoming(&self, epoch: Epoch) -> Option<Epoch> {
        let taking = self.0.as_ref()?;
        taking.schedule.last_before(epoch).filter(|due| *due > taking.passed)
    }

    /// Starts the snapshot of `epoch`, if it is needed. All of it must be written as it is at this moment, if not at
    /// once.
    #[must_use]
    pub fn begin(&mut self, epoch: Epoch) -> bool {
        let Some(taking) = &mut self.0 else { return false };
        taking.entries.clear();
        let begun = taking.recorder.begin(taking.index, epoch);
        if begun {
            taking.recorder.resumed();
        }
        begun
    }

    /// Writes an entry and returns how many bytes it has. Entries of an operator are values of one type, written with
    /// borrowed parts or with owned ones.
    pub fn give<E: Serialize>(&mut self, place: Placement, entry: &E) -> usize {
        let Some(taking) = &mut self.0 else { return 0 };
        let before = taking.entries.len();
        append(&mut taking.entries, place, entry);
        let bytes = taking.entries.len() - before;
        if taking.entries.len() >= WRITE_BYTES {
            taking.recorder.write(taking.index, false, std::mem::take(&mut taking.entries));
        }
        bytes
    }

    /// Writes entries (see [`append`]) that all later snapshots include, too, without being written again.
    pub fn give_lasting(&mut self, entries: Vec<u8>) {
        match &mut self.0 {
            Some(taking) if taking.settled => taking.lasting.extend(entries),
            Some(taking) => taking.recorder.write(taking.index, true, entries),
            None => {}
        }
    }

    /// The snapshot is complete.
    pub fn end(&mut self) {
        let Some(taking) = &mut self.0 else { return };
        if !taking.entries.is_empty() {
            taking.recorder.write(taking.index, false, std::mem::take(&mut taking.entries));
        }
        taking.recorder.paused();
        taking.recorder.end(taking.index);
    }

    /// Takes the snapshot of `epoch` at once, if it is needed.
    pub fn take<R>(&mut self, epoch: Epoch, write: impl FnOnce(&mut Slot) -> R) {
        if self.begin(epoch) {
            write(self);
            self.end();
        }
    }

    /// The operator will not change any more: what `write` writes is its part of all later snapshots. Only the first
    /// call counts.
    pub fn settle<R>(&mut self, write: impl FnOnce(&mut Slot) -> R) {
        if self.0.as_mut().is_none_or(|taking| std::mem::replace(&mut taking.settled, true)) {
            return;
        }
        write(self);
        let Some(taking) = &mut self.0 else { return };
        let (entries, lasting) = (std::mem::take(&mut taking.entries), std::mem::take(&mut taking.lasting));
        taking.recorder.settle(taking.index, entries, lasting);
    }

    /// The oldest epoch whose snapshot a run can still resume from.
    pub fn oldest(&self) -> Epoch {
        self.0.as_ref().map_or(0, |taking| taking.recorder.oldest())
    }

    /// Continues with a snapshot, if more of it can be written now.
    pub fn resume(&self) -> bool {
        let Some(taking) = &self.0 else { return true };
        let room = taking.recorder.has_room();
        if room {
            taking.recorder.resumed();
        }
        room
    }

    /// Yields before the snapshot is complete.
    pub fn pause(&self) {
        if let Some(taking) = &self.0 {
            taking.recorder.paused();
        }
    }
}

/// The header of an entry: its placement, and its size.
const HEAD_BYTES: usize = size_of::<u16>() + size_of::<u32>();

/// Appends an entry: its placement, its size, and itself in the postcard format,
/// <https://postcard.jamesmunns.com/wire-format>.
///
/// # Panics
/// If the entry cannot be written by serde, or has 4 GiB or more.
pub fn append<E: Serialize>(entries: &mut Vec<u8>, place: Placement, entry: &E) {
    let place = match place {
        Placement::Everywhere => EVERYWHERE,
        Placement::Group(group) => u16::try_from(group % KEY_GROUPS).expect("there are few key groups"),
    };
    let head = entries.len();
    entries.extend(place.to_le_bytes());
    entries.extend([0; size_of::<u32>()]);
    let written = postcard::to_extend(entry, std::mem::take(entries));
    *entries = written.expect("what a state holds can be written by serde, as `Record` asks for");
    let bytes = u32::try_from(entries.len() - head - HEAD_BYTES).expect("an entry is smaller than 4 GiB");
    entries[head + size_of::<u16>()..head + HEAD_BYTES].copy_from_slice(&bytes.to_le_bytes());
}

/// Reads those entries in `kept` that are placed on `worker`.
///
/// # Errors
/// A description, if they are not entries of this type.
pub fn read<E: DeserializeOwned>(
    kept: &[Bytes],
    worker: usize,
    workers: usize,
    mut each: impl FnMut(E),
) -> Result<(), String> {
    for entries in kept {
        let mut rest = &entries[..];
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let [p0, p1, bytes @ ..] = *head;
            let (place, bytes) = (u16::from_le_bytes([p0, p1]), u32::from_le_bytes(bytes) as usize);
            let (entry, after) = after.split_at_checked(bytes).ok_or("an entry is cut off")?;
            rest = after;
            if place == EVERYWHERE || usize::from(place) % workers == worker {
                let (entry, left) = postcard::take_from_bytes(entry).map_err(|why| why.to_string())?;
                if !left.is_empty() {
                    return Err(format!("an entry has {} bytes more than its type", left.len()));
                }
                each(entry);
            }
        }
        if !rest.is_empty() {
            return Err("an entry is cut off".to_owned());
        }
    }
    Ok(())
}

/// How many entries there are.
pub fn count(mut entries: &[u8]) -> usize {
    let mut count = 0;
    while let Some((head, after)) = entries.split_first_chunk::<HEAD_BYTES>() {
        let [_, _, bytes @ ..] = *head;
        entries = after.get(u32::from_le_bytes(bytes) as usize..).unwrap_or_default();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_at_multiples_after_the_epochs_of_earlier_runs() {
        let schedule = Schedule { every_ms: 100, from: 250 };
        let due: Vec<_> = [0, 250, 300, 301, 350, 400, 401, Epoch::MAX].map(|next| schedule.last_before(next)).into();
        assert_eq!(due, [None, None, None, Some(300), Some(300), Some(300), Some(400), None]);
    }

    #[test]
    fn entries_go_to_the_workers_of_their_groups() {
        let mut entries = Vec::new();
        for group in 0..6u64 {
            append(&mut entries, Placement::Group(group), &(group, "x"));
        }
        append(&mut entries, Placement::Everywhere, &(99u64, "y"));
        let kept = [Bytes::from(entries.clone())];
        let of = |worker, workers| {
            let mut seen = Vec::new();
            read(&kept, worker, workers, |(n, _): (u64, String)| seen.push(n)).unwrap();
            seen
        };
        assert_eq!((of(0, 1), of(1, 3), of(4, 5)), (vec![0, 1, 2, 3, 4, 5, 99], vec![1, 4, 99], vec![4, 99]));
        for cut in 1..HEAD_BYTES {
            let cut = [Bytes::copy_from_slice(&entries[..entries.len() - cut])];
            assert!(read(&cut, 0, 1, |_: (u64, String)| {}).is_err());
        }
        assert!(read(&kept, 0, 1, |_: (u64, String, u64)| {}).is_err(), "another type");
        assert!(read(&kept, 0, 1, |_: u8| {}).is_err(), "a shorter type");
    }
}
