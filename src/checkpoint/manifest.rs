//! The manifest of a checkpoint, and the list of checkpoints.
//!
//! ```text
//! 0001732650000000-000003/    the checkpoint of an epoch, by a generation
//!     w000-0000.part          entries of worker 0's operators
//!     w000.done               the list of worker 0's objects
//!     manifest                the list of all objects; written last, so a checkpoint that has it is complete
//! lasting/                    entries that several checkpoints share
//! ```

use serde::{Deserialize, Serialize};

use super::frame::{from_line, to_line};
use super::identity::Fingerprint;
use super::store::CheckpointStore;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// The version of the format of a store of checkpoints.
pub const FORMAT: u32 = 1;

/// The name of the object that makes a checkpoint complete.
pub(super) const MANIFEST: &str = "manifest";

/// The folder of entries that several checkpoints share.
pub(super) const LASTING: &str = "lasting";

/// A checkpoint's name, which is also that of its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CheckpointName {
    /// The state is that at the end of this epoch.
    pub epoch: Epoch,
    /// The run that took it.
    pub generation: u64,
}

impl std::fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016}-{:06}", self.epoch, self.generation)
    }
}

impl std::str::FromStr for CheckpointName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('-').and_then(|(epoch, generation)| Some((epoch.parse().ok()?, generation.parse().ok()?)));
        let (epoch, generation) = parts.ok_or_else(|| {
            format!(
                "{text:?} is no name of a checkpoint; they look like {}",
                CheckpointName { epoch: 1, generation: 1 }
            )
        })?;
        Ok(CheckpointName { epoch, generation })
    }
}

/// An object of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its key in the store.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its CRC-32.
    pub crc32: u32,
}

/// What one worker has written for a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WorkerDone {
    pub(super) objects: Vec<ObjectRef>,
    pub(super) lasting: Vec<ObjectRef>,
}

/// What a checkpoint consists of, and the dataflow that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// The identity of the state directory.
    pub state: String,
    /// Its name.
    pub name: CheckpointName,
    /// When it was completed, in milliseconds since the Unix epoch.
    pub completed_ms: u64,
    /// How many workers took it.
    pub workers: usize,
    /// The dataflow that it belongs to.
    pub fingerprint: Fingerprint,
    /// The names of the slots, by the number that entries have.
    pub slots: Vec<String>,
    /// Entries of this checkpoint alone.
    pub objects: Vec<ObjectRef>,
    /// Entries that it shares with other checkpoints.
    pub lasting: Vec<ObjectRef>,
}

impl Manifest {
    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().chain(&self.lasting).fold(0, |bytes, object| bytes.saturating_add(object.bytes))
    }

    /// Writes it, which makes the checkpoint complete.
    pub(super) fn write(&self, store: &CheckpointStore) -> Result<()> {
        store.put(&format!("{}/{MANIFEST}", self.name), to_line(self))
    }
}

/// Reads a frame that is an object of its own.
pub(super) fn read_frame<T: serde::de::DeserializeOwned>(store: &CheckpointStore, key: &str) -> Result<T> {
    let bytes = store.get(key)?;
    from_line(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).map_err(|why| damaged(store, key, &why))
}

/// The error for an object that is not what was written.
pub(super) fn damaged(store: &CheckpointStore, key: &str, why: &str) -> Error {
    Error::new(ErrorKind::State, format!("checkpoints: {key:?} in {} is damaged: {why}", store.name()))
}

/// A checkpoint in a store, complete or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: CheckpointName,
    /// Whether it is complete.
    pub complete: bool,
}

/// The checkpoints in `store`, oldest first.
///
/// # Errors
/// Of kind `State`, if the store cannot be listed.
pub fn list(store: &CheckpointStore) -> Result<Vec<Listed>> {
    let mut all = Vec::new();
    for folder in store.list("")?.0 {
        if let Ok(name) = folder.parse() {
            let complete = store.list(&folder)?.1.iter().any(|object| object == MANIFEST);
            all.push(Listed { name, complete });
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// Reads the manifest of a checkpoint.
///
/// # Errors
/// Of kind `State`: if it is incomplete, damaged, or of another version.
pub fn read_manifest(store: &CheckpointStore, name: CheckpointName) -> Result<Manifest> {
    let key = format!("{name}/{MANIFEST}");
    let value: serde_json::Value = read_frame(store, &key)?;
    if value["format"] != FORMAT {
        let message = format!(
            "checkpoints: {name} in {} has format {}, and this program reads {FORMAT}",
            store.name(),
            value["format"]
        );
        return Err(Error::new(ErrorKind::State, message).hint("use the version of the program that took it"));
    }
    serde_json::from_value(value).map_err(|why| damaged(store, &key, &why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_epochs() {
        let name = CheckpointName { epoch: 1_732_650_000_000, generation: 12 };
        assert_eq!(name.to_string(), "0001732650000000-000012");
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!("1732650000000-12".parse(), Ok(name));
        assert!("lasting".parse::<CheckpointName>().unwrap_err().contains("they look like"));
    }
}
