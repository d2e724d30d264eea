//! Packs records into chunks, and chooses the worker that decodes each.
//!
//! Where there are fewer partitions than workers, and a record can be decoded without the ones before it, a chunk goes
//! to the worker with the fewest chunks waiting. That depends on how fast the workers are, so it must not affect the
//! results, and it does not: decoding needs nothing but the record, and lateness is decided afterwards, by the
//! partition's owner and in its order. Otherwise a chunk stays on the worker that read it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use timely::scheduling::Activator;

use super::chunk::{Chunk, ChunkHead, SpareMemory};
use crate::connectors::source::Block;
use crate::time::EventTime;

/// How many bytes of records fill a chunk; the last record may run over. Small enough for the allocator's ordinary
/// sizes and a second-level cache, large enough that a chunk's own cost, some microseconds, does not show.
const CHUNK_BYTES: usize = 64 * 1024;

/// The approximate size of a block of a file, where all workers decode: it is read into the second-level cache of the
/// worker that decodes it. Handing it to another process wakes four threads, which at a quarter of this size takes a
/// tenth of the time of two processes.
const BLOCK_BYTES: usize = 512 * 1024;

/// The same where only the reading worker decodes: nothing is handed on, and what is read should still be in the cache.
const OWN_BLOCK_BYTES: usize = 128 * 1024;

/// How many chunks may wait for one worker, where all decode: bounds the memory.
const CHUNKS_WAITING_MAX: u32 = 16;

/// How many chunks may wait for the reading worker, where it alone decodes, while it reads more: none. So the source is
/// never ahead of its own decoding by more than a poll, records are still in the cache, and what a checkpoint waits for
/// is short.
const OWN_CHUNKS_WAITING_MAX: u32 = 1;

/// How many chunks wait for each other worker before the reading worker keeps one for itself: it decodes what it keeps
/// before it reads on, and meanwhile the others must not run out of work.
const CHUNKS_AHEAD: u32 = 8;

/// Packs the records of one worker's partitions.
pub(super) struct Packer {
    /// By the partition's index among the worker's own.
    partitions: Vec<Packing>,
    /// Chunks to send on.
    pub(super) ready: Vec<Chunk>,
    pub(super) load: Load,
    spare: SpareMemory,
}

struct Packing {
    /// The header of the next chunk; its target is chosen when it is sent.
    next: ChunkHead,
    label: Arc<str>,
    open: Option<Chunk>,
}

impl Packer {
    /// `spare` has memory for reuse.
    pub(super) fn new(load: Load, spare: SpareMemory) -> Self {
        Packer { partitions: Vec::new(), ready: Vec::new(), load, spare }
    }

    pub(super) fn joined(&mut self, partition: u32, label: &str) {
        let next = ChunkHead { target: 0, partition, number: 0, floor: EventTime::MIN, lines: false, live: false };
        self.partitions.push(Packing { next, label: label.into(), open: None });
    }

    /// Earlier events of the partition than `floor` are late after idle from now on.
    pub(super) fn join_at(&mut self, index: usize, floor: EventTime) {
        self.finish();
        let next = &mut self.partitions[index].next;
        next.floor = next.floor.max(floor);
    }

    /// Earlier events of the partition are late after idle.
    pub(super) fn floor(&self, index: usize) -> EventTime {
        self.partitions[index].next.floor
    }

    /// How many chunks of the partition there were.
    pub(super) fn chunks(&self, index: usize) -> u64 {
        self.partitions[index].next.number
    }

    /// Sets whether what follows of the partition is read as soon as it is available.
    pub(super) fn set_live(&mut self, index: usize, live: bool) {
        self.partitions[index].next.live = live;
    }

    #[inline]
    pub(super) fn take(&mut self, index: usize, offset: u64, record: &[u8]) {
        let Packing { next, label, open } = &mut self.partitions[index];
        let chunk = open.get_or_insert_with(|| {
            let chunk = Chunk::with_room(*next, Arc::clone(label), CHUNK_BYTES + record.len(), &self.spare);
            next.number += 1;
            chunk
        });
        chunk.push(offset, record);
        if chunk.bytes() >= CHUNK_BYTES {
            self.ready.extend(open.take());
        }
    }

    /// Takes the lines of a block.
    pub(super) fn take_block(&mut self, index: usize, block: Box<dyn Block>) {
        let Packing { next, label, open } = &mut self.partitions[index];
        self.ready.extend(open.take());
        self.ready.push(Chunk::of_block(*next, Arc::clone(label), block.into()));
        next.number += 1;
    }

    /// The approximate size of a block, in bytes.
    pub(super) fn block_bytes(&self) -> usize {
        if self.load.is_spread() { BLOCK_BYTES } else { OWN_BLOCK_BYTES }
    }

    /// Completes all open chunks.
    pub(super) fn finish(&mut self) {
        self.ready.extend(self.partitions.iter_mut().filter_map(|partition| partition.open.take()));
    }
}

/// How many chunks of this worker's each worker has not decoded yet. Shared with the operators that learn when one is
/// decoded.
#[derive(Clone)]
pub(super) struct Load(Rc<RefCell<Given>>);

struct Given {
    /// By worker.
    waiting: Vec<u32>,
    /// The worker that reads.
    own: usize,
    /// Whether others decode, too.
    spread: bool,
    /// The worker that got the last one; ties are broken in turn.
    last: usize,
    /// Wakes the reading operator.
    activator: Option<Activator>,
}

impl Load {
    /// Without waiting chunks. Only the reading worker decodes, until [`spread`](Self::spread) is called.
    pub(super) fn new(own: usize, workers: usize) -> Self {
        let (waiting, spread, last, activator) = (vec![0; workers], false, own, None);
        Load(Rc::new(RefCell::new(Given { waiting, own, spread, last, activator })))
    }

    /// `activator` wakes the reading operator once a worker has room again.
    pub(super) fn wakes(&self, activator: Activator) {
        self.0.borrow_mut().activator = Some(activator);
    }

    /// Whether all workers decode.
    fn is_spread(&self) -> bool {
        self.0.borrow().spread
    }

    /// All workers decode from now on.
    pub(super) fn spread(&self) {
        self.0.borrow_mut().spread = true;
    }

    /// Whether no worker has room for another chunk.
    pub(super) fn is_full(&self) -> bool {
        let given = self.0.borrow();
        match given.spread {
            true => given.waiting.iter().all(|chunks| *chunks >= CHUNKS_WAITING_MAX),
            false => given.waiting[given.own] >= OWN_CHUNKS_WAITING_MAX,
        }
    }

    /// Chooses the worker that decodes the next chunk.
    pub(super) fn give(&self) -> usize {
        let given = &mut *self.0.borrow_mut();
        let workers = given.waiting.len();
        let in_turn = (1..=workers).map(|step| (given.last + step) % workers);
        let ahead = |worker: usize| if worker == given.own { CHUNKS_AHEAD } else { 0 };
        let target = match given.spread {
            true => in_turn.min_by_key(|worker| given.waiting[*worker] + ahead(*worker)).expect("there are workers"),
            false => given.own,
        };
        given.waiting[target] += 1;
        given.last = target;
        target
    }

    /// `worker` has decoded a chunk of this worker's.
    pub(super) fn done(&self, worker: usize) {
        let given = &mut *self.0.borrow_mut();
        given.waiting[worker] -= 1;
        let full = if given.spread { CHUNKS_WAITING_MAX } else { OWN_CHUNKS_WAITING_MAX };
        if given.waiting[worker] + 1 == full
            && let Some(activator) = &given.activator
        {
            activator.activate();
        }
    }
}
