//! The store that sinks write to in a simulation: in memory, it commits rows together with their epoch, in random
//! turns.
//!
//! It keeps what is committed over all generations, loses what is not when a generation dies, and fences writers of
//! older generations than the newest that has opened a shard.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch::connectors::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use tidewatch::error::{Error, ErrorKind, Result};
use tidewatch::time::Epoch;

use super::chance::Chance;

type Row = Vec<u8>;

/// Clones are the same store.
#[derive(Clone)]
pub(crate) struct Store {
    chance: Chance,
    shards: Arc<Mutex<BTreeMap<Place, Shard>>>,
}

/// A sink and its shard.
type Place = (String, usize);

#[derive(Default)]
struct Shard {
    /// The committed rows, and their newest epoch.
    rows: Vec<Row>,
    committed: Option<Epoch>,
    /// The newest generation that has opened it.
    generation: u64,
    /// Written by that generation for an epoch that is not sealed.
    unsealed: Vec<Row>,
    /// Sealed and not committed, by epoch.
    sealed: VecDeque<(Epoch, Vec<Row>)>,
    /// The newest sealed epoch with nothing uncommitted before it.
    durable: Option<Epoch>,
}

impl Store {
    pub(crate) fn new(chance: Chance) -> Self {
        Store { chance, shards: Arc::default() }
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<Place, Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of its turns: some sealed epochs of one shard are committed together. Returns whether there was anything to
    /// commit.
    pub(crate) fn turn(&self) -> bool {
        let mut shards = self.shards();
        let waiting: Vec<&mut Shard> = shards.values_mut().filter(|shard| !shard.sealed.is_empty()).collect();
        if waiting.is_empty() {
            return false;
        }
        let index = self.chance.below(waiting.len() as u64) as usize;
        let shard = waiting.into_iter().nth(index).expect("it is below their number");
        let epochs = self.chance.between(1, shard.sealed.len() as u64) as usize;
        shard.commit(epochs, &self.chance);
        true
    }

    /// The generation is dead: what it has not committed is lost, except commits that were in flight.
    pub(crate) fn crash(&self) {
        for shard in self.shards().values_mut() {
            if !shard.sealed.is_empty() {
                let on_their_way = self.chance.between(0, shard.sealed.len() as u64) as usize;
                shard.commit(on_their_way, &self.chance);
            }
            shard.sealed.clear();
            shard.unsealed.clear();
        }
    }

    /// The committed rows of a sink.
    pub(crate) fn rows(&self, sink: &str) -> Vec<Row> {
        let shards = self.shards();
        shards.iter().filter(|((of, _), _)| of == sink).flat_map(|(_, shard)| shard.rows.clone()).collect()
    }
}

impl Shard {
    fn commit(&mut self, epochs: usize, chance: &Chance) {
        for (epoch, rows) in self.sealed.drain(..epochs) {
            // An epoch without rows is recorded nowhere.
            if !rows.is_empty() {
                chance.note(&epoch.to_le_bytes());
                rows.iter().for_each(|row| chance.note(row));
                self.rows.extend(rows);
                self.committed = Some(epoch);
            }
            self.durable = Some(epoch);
        }
        // Without rows there is nothing to commit.
        while let Some((epoch, _)) = self.sealed.pop_front_if(|(_, rows)| rows.is_empty()) {
            self.durable = Some(epoch);
        }
    }
}

impl SinkConnector for Store {
    fn open(&self, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let generation = context.generation.as_ref().expect("it is run with a state directory").number;
        let place = (context.name.clone(), context.shard);
        let mut shards = self.shards();
        let shard = shards.entry(place.clone()).or_default();
        assert!(generation > shard.generation, "generation {generation} comes after {}", shard.generation);
        // Also what a dead one has left, unless it was known to be dead.
        *shard = Shard { rows: std::mem::take(&mut shard.rows), committed: shard.committed, ..Shard::default() };
        shard.generation = generation;
        let committed = shard.committed;
        Ok(Box::new(Writer { store: self.clone(), place, generation, committed }))
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }
}

struct Writer {
    store: Store,
    place: Place,
    generation: u64,
    committed: Option<Epoch>,
}

impl Writer {
    fn with<R>(&self, work: impl FnOnce(&mut Shard) -> R) -> Result<R> {
        let mut shards = self.store.shards();
        let shard = shards.get_mut(&self.place).expect("it is open");
        if shard.generation != self.generation {
            return Err(Error::new(
                ErrorKind::Sink,
                format!("{:?} belongs to generation {}", self.place, shard.generation),
            ));
        }
        Ok(work(shard))
    }
}

impl SinkWriter for Writer {
    fn write(&mut self, _: Option<&[u8]>, row: &[u8]) -> Result<()> {
        self.with(|shard| shard.unsealed.push(row.to_vec()))
    }

    fn committed(&self) -> Option<Epoch> {
        self.committed
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.with(|shard| {
            let rows = std::mem::take(&mut shard.unsealed);
            if rows.is_empty() && shard.sealed.is_empty() {
                shard.durable = Some(epoch);
            } else {
                shard.sealed.push_back((epoch, rows));
            }
        })
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        self.with(|shard| shard.durable)
    }

    fn finish(&mut self) -> Result<()> {
        self.with(|shard| {
            assert!(shard.sealed.is_empty() && shard.unsealed.is_empty(), "finished before it is durable");
        })
    }
}
