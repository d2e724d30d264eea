//! Deletes bindings that no recovery needs any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::read::{files, read_file, unreadable};
use crate::checkpoint::directory::write_whole;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// Deletes the files in the state directory at `directory` that bind no epoch after `through`, except those that
/// processes of `generation` are writing.
///
/// # Errors
/// Of kind `State`, if a file cannot be read or deleted.
pub fn prune(directory: &Path, through: Epoch, generation: u64) -> Result<()> {
    let folder = directory.join("bindings");
    remember(&folder, through)?;
    // Of each process, the newest file is being written if it is of this generation.
    let mut processes: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in files(&folder)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let process = name.rsplit_once('-').map_or(name.as_str(), |(process, _)| process).to_owned();
        processes.entry(process).or_default().push(path);
    }
    for (process, mut paths) in processes {
        let of = process.split('-').next().and_then(|generation| generation.parse::<u64>().ok());
        if of.is_none_or(|of| of >= generation) {
            paths.pop();
        }
        for path in paths {
            let bytes = fs::read(&path).map_err(|why| unreadable(&path, why))?;
            let (_, bindings) = read_file(&path, &bytes, None)?;
            if bindings.iter().all(|binding| binding.epoch <= through) {
                fs::remove_file(&path).map_err(|why| {
                    Error::new(ErrorKind::State, format!("state directory: cannot delete {path:?}")).because(why)
                })?;
            }
        }
    }
    Ok(())
}

/// The file that records up to which epoch bindings may have been deleted.
const PRUNED: &str = "pruned";

/// Records it before they are deleted. The recorded epoch never decreases.
fn remember(folder: &Path, through: Epoch) -> Result<()> {
    if pruned_through(folder)? < through { write_whole(folder, PRUNED, through.to_string().as_bytes()) } else { Ok(()) }
}

/// The epoch up to which bindings may have been deleted; 0 if none were.
///
/// # Errors
/// Of kind `State`, if the record cannot be read.
pub(super) fn pruned_through(folder: &Path) -> Result<Epoch> {
    let path = folder.join(PRUNED);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|why| unreadable(&path, io::Error::other(why))),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(why) => Err(unreadable(&path, why)),
    }
}
