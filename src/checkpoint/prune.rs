//! Deletes checkpoints that no recovery needs any more.

use std::collections::BTreeSet;

use super::manifest::{LASTING, Listed, MANIFEST, list, read_manifest};
use super::store::CheckpointStore;
use crate::error::Result;
use crate::time::Epoch;

/// What is left after pruning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The epoch of the oldest complete checkpoint that is kept.
    pub oldest: Option<Epoch>,
    /// How many checkpoints were deleted, complete or not.
    pub deleted: usize,
}

/// Keeps the newest `keep` complete checkpoints (at least one), and those that generation `generation` may be taking.
/// Shared entries are kept if one of those has them, or if this generation has written them.
///
/// # Errors
/// Of kind `State`, if the store fails; what was deleted by then is not needed, and the rest can be deleted later.
pub fn prune(store: &CheckpointStore, keep: usize, generation: u64) -> Result<Pruned> {
    let all = list(store)?;
    let mut kept: Vec<Listed> = all.iter().rev().filter(|listed| listed.complete).take(keep.max(1)).copied().collect();
    kept.sort_unstable();
    let newest = kept.last().map(|listed| listed.name);
    let mut pruned = Pruned { oldest: kept.first().map(|listed| listed.name.epoch), deleted: 0 };
    for listed in all {
        let being_taken = !listed.complete && listed.name.generation >= generation && Some(listed.name) > newest;
        if !kept.contains(&listed) && !being_taken {
            delete(store, &listed.name.to_string())?;
            pruned.deleted += 1;
        }
    }
    let mut needed = BTreeSet::new();
    for listed in kept {
        // One that cannot be read needs nothing: no run resumes from it either.
        if let Ok(manifest) = read_manifest(store, listed.name) {
            needed.extend(manifest.lasting.into_iter().map(|object| object.key));
        }
    }
    for object in store.list(LASTING)?.1 {
        let of = object.split('-').next().and_then(|generation| generation.parse::<u64>().ok());
        let key = format!("{LASTING}/{object}");
        if of.is_some_and(|of| of < generation) && !needed.contains(&key) {
            store.delete(&key)?;
        }
    }
    Ok(pruned)
}

/// Deletes a checkpoint, beginning with its manifest.
fn delete(store: &CheckpointStore, folder: &str) -> Result<()> {
    store.delete(&format!("{folder}/{MANIFEST}"))?;
    store.list(folder)?.1.iter().try_for_each(|object| store.delete(&format!("{folder}/{object}")))
}
