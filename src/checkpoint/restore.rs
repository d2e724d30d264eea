//! Reads a checkpoint: a chosen one, or the newest that is complete and undamaged.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::identity::Fingerprint;
use super::manifest::{CheckpointName, Manifest, ObjectRef, damaged, list, read_manifest};
use super::object;
use super::store::CheckpointStore;
use crate::error::{Error, ErrorKind, Result};
use crate::state::snapshot;

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Restored {
    /// Its name.
    pub name: CheckpointName,
    /// What keeps state, by number.
    pub slots: Vec<String>,
    /// The entries of each slot, in pieces.
    pieces: Vec<Vec<Bytes>>,
    /// Objects that later checkpoints share.
    pub lasting: Vec<ObjectRef>,
}

impl Restored {
    /// The entries of slot number `slot`, in pieces.
    pub fn pieces(&self, slot: u32) -> Vec<Bytes> {
        self.pieces.get(slot as usize).cloned().unwrap_or_default()
    }

    /// How many entries slot number `slot` has, and how many bytes.
    pub fn size(&self, slot: u32) -> (usize, u64) {
        let pieces = self.pieces(slot);
        (pieces.iter().map(|piece| snapshot::count(piece)).sum(), pieces.iter().map(|piece| piece.len() as u64).sum())
    }

    /// Passes the entries of the slot `name`, of all workers, to `each`.
    ///
    /// # Errors
    /// Of kind `State`, if they are of another type.
    pub fn each<E: DeserializeOwned>(&self, name: &str, each: impl FnMut(E)) -> Result<()> {
        let Some(slot) = self.slots.iter().position(|slot| slot == name) else { return Ok(()) };
        snapshot::read(&self.pieces[slot], 0, 1, each).map_err(|why| unreadable(self.name, name, &why))
    }
}

/// The error for entries of a slot that cannot be read.
pub(super) fn unreadable(name: CheckpointName, slot: &str, why: &str) -> Error {
    Error::new(ErrorKind::State, format!("checkpoint {name}: what it keeps of {slot:?} cannot be read: {why}")).hint(
        "the types of what the stage keeps have changed since: use the program that took it, or start over with \
         --from-scratch",
    )
}

/// The checkpoint to resume from, if there is one: `chosen`, or else the newest of the state directory `state` that can
/// be read. Those that cannot are logged.
///
/// # Errors
/// Of kind `State`: if the store cannot be listed, or the chosen one cannot be read.
pub fn restore(
    store: &CheckpointStore,
    state: &str,
    fingerprint: &Fingerprint,
    chosen: Option<CheckpointName>,
) -> Result<Option<Arc<Restored>>> {
    let read = |name| {
        let manifest = read_manifest(store, name)?;
        of_this_state(&manifest, state, fingerprint)?;
        load(store, &manifest).map(Arc::new)
    };
    if let Some(name) = chosen {
        return read(name).map(Some);
    }
    for listed in list(store)?.into_iter().rev().filter(|listed| listed.complete) {
        match read(listed.name) {
            Ok(restored) => return Ok(Some(restored)),
            Err(error) => {
                tracing::warn!(checkpoint = %listed.name, %error, "cannot resume from it; trying the one before");
            }
        }
    }
    Ok(None)
}

fn of_this_state(manifest: &Manifest, state: &str, fingerprint: &Fingerprint) -> Result<()> {
    let name = manifest.name;
    let differences = manifest.fingerprint.differences(fingerprint, 5);
    let why = match (manifest.state == state, differences.is_empty()) {
        (true, true) => return Ok(()),
        (false, _) => format!("belongs to the state directory {}, not to {state}", manifest.state),
        (true, false) => format!("belongs to another dataflow: {}", differences.join("; ")),
    };
    Err(Error::new(ErrorKind::State, format!("checkpoint {name} {why}")))
}

/// Reads all of a checkpoint and checks it.
///
/// # Errors
/// Of kind `State`, if an object is missing or damaged.
pub fn load(store: &CheckpointStore, manifest: &Manifest) -> Result<Restored> {
    let mut pieces = vec![Vec::new(); manifest.slots.len()];
    for reference in manifest.objects.iter().chain(&manifest.lasting) {
        let bytes = store.get(&reference.key)?;
        object::check(reference, &bytes).map_err(|why| damaged(store, &reference.key, &why))?;
        for (slot, entries) in object::pieces(&bytes).map_err(|why| damaged(store, &reference.key, &why))? {
            let slot = pieces.get_mut(slot as usize);
            slot.ok_or_else(|| damaged(store, &reference.key, "it has a slot that the manifest does not"))?
                .push(entries);
        }
    }
    let Manifest { name, slots, lasting, .. } = manifest.clone();
    Ok(Restored { name, slots, pieces, lasting })
}
