//! A disk that loses its power at a chosen step, and what it may have kept then.
//!
//! It implements exactly what is promised: bytes are durable after the flush of their file, names after the flush of
//! their folder. Before that, anything goes: any of the changed names may be the old or the new one, and a file may end
//! anywhere behind the bytes that did not change, with garbage in place of those that did. Bytes whose flush failed can
//! still be read later, and no later flush writes them: that is what Linux does.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::Rng;

use super::disk::Disk;

/// A handle to a disk.
#[derive(Clone, Default)]
pub(super) struct ModelDisk(Arc<Mutex<World>>);

#[derive(Clone, Default)]
struct World {
    files: Vec<FileBytes>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last flush of the folder.
    changes: Vec<NameChange>,
    counts: Counts,
    stop_at: Option<u64>,
    failing_sync: Option<u64>,
}

#[derive(Clone, Default)]
struct FileBytes {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// The range whose flush failed.
    forgotten: Range<usize>,
}

#[derive(Clone)]
struct NameChange {
    gone: Option<PathBuf>,
    new: Option<(PathBuf, usize)>,
}

/// The operations so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Everything that changes the disk or makes it durable.
    pub steps: u64,
    /// Flushes of files.
    pub syncs: u64,
}

impl ModelDisk {
    /// Cuts the power instead of step number `step`, from 0.
    pub(super) fn stop_at(&self, step: u64) {
        self.world().stop_at = Some(step);
    }

    /// Makes flush number `sync` of a file, from 0, fail.
    pub(super) fn fail_sync(&self, sync: u64) {
        self.world().failing_sync = Some(sync);
    }

    pub(super) fn counts(&self) -> Counts {
        self.world().counts
    }

    /// The disk after the process died: nothing that was done is lost.
    pub(super) fn after_kill(&self) -> ModelDisk {
        let World { files, names, durable_names, changes, .. } = self.world().clone();
        ModelDisk(Arc::new(Mutex::new(World { files, names, durable_names, changes, ..World::default() })))
    }

    /// The disk after the power was restored.
    pub(super) fn after_power_loss(&self, random: &mut impl Rng) -> ModelDisk {
        let mut world = self.world().clone();
        let mut names = world.durable_names.clone();
        for NameChange { gone, new } in world.changes.drain(..) {
            if random.next_u32().is_multiple_of(2) {
                gone.map(|path| names.remove(&path));
                names.extend(new);
            }
        }
        let files = world.files.iter().map(|file| file.after_power_loss(random)).collect();
        let durable_names = names.clone();
        ModelDisk(Arc::new(Mutex::new(World { files, names, durable_names, ..World::default() })))
    }

    /// All files that are there, by name.
    pub(super) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.world();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        world.names.iter().map(|(path, file)| (name(path), world.files[*file].now.clone())).collect()
    }

    /// Another program's doing: writes a file, or deletes it.
    pub(super) fn meddle(&self, path: &Path, bytes: Option<&[u8]>) {
        let mut world = self.world();
        world.names.remove(path);
        if let Some(bytes) = bytes {
            world.files.push(FileBytes { now: bytes.to_vec(), durable: bytes.to_vec(), forgotten: 0..0 });
            let file = world.files.len() - 1;
            world.names.insert(path.to_owned(), file);
        }
        world.durable_names = world.names.clone();
        world.changes.clear();
    }

    /// Gives a file a second name.
    pub(super) fn link(&self, path: &Path, other: &Path) {
        let mut world = self.world();
        let file = world.names[path];
        world.names.insert(other.to_owned(), file);
        world.durable_names = world.names.clone();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Counts a step, or fails if the power is off.
    fn step(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        if world.stop_at.is_some_and(|stop| world.counts.steps >= stop) {
            return Err(io::Error::other("the power is off"));
        }
        world.counts.steps += 1;
        Ok(world)
    }
}

impl FileBytes {
    fn unchanged(&self) -> usize {
        self.now.iter().zip(&self.durable).take_while(|(now, durable)| now == durable).count()
    }

    fn truncate(&mut self, length: usize) {
        self.now.truncate(length);
        self.forgotten.end = self.forgotten.end.min(length);
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.durable[self.forgotten.start.min(self.forgotten.end)..self.forgotten.end].fill(0);
    }

    fn after_power_loss(&self, random: &mut impl Rng) -> FileBytes {
        let unchanged = self.unchanged();
        let mut pick = |below: usize| (random.next_u64() % (below as u64 + 1)) as usize;
        let longest = if pick(1) == 0 { &self.now } else { &self.durable };
        let mut bytes = longest[..unchanged + pick(longest.len() - unchanged)].to_vec();
        let rubbish = unchanged + pick(bytes.len() - unchanged);
        if pick(1) == 0 {
            let with = [0, b'x', b'\n'][pick(2)];
            bytes[rubbish..].fill(with);
        }
        FileBytes { now: bytes.clone(), durable: bytes, forgotten: 0..0 }
    }
}

impl World {
    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change(&mut self, gone: Option<&Path>, new: Option<(&Path, usize)>) {
        gone.map(|path| self.names.remove(path));
        let new = new.map(|(path, file)| (path.to_owned(), file));
        self.names.extend(new.clone());
        self.changes.push(NameChange { gone: gone.map(Path::to_owned), new });
    }
}

impl Disk for ModelDisk {
    type File = usize;

    fn names(&self, _folder: &Path) -> io::Result<Vec<String>> {
        Ok(self.all().into_keys().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let world = self.world();
        Ok(world.names.get(path).map(|file| world.files[*file].now.clone()))
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.read(path)?.map(|bytes| bytes.len() as u64))
    }

    fn same(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let world = self.world();
        Ok(world.find(one)? == world.find(other)?)
    }

    fn create(&self, path: &Path) -> io::Result<usize> {
        let mut world = self.step()?;
        if world.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        world.files.push(FileBytes::default());
        let file = world.files.len() - 1;
        world.change(None, Some((path, file)));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<usize> {
        self.world().find(path)
    }

    fn append(&self, file: &mut usize, bytes: &[u8]) -> io::Result<()> {
        match self.step() {
            Ok(mut world) => world.files[*file].now.extend_from_slice(bytes),
            Err(off) => {
                // Some of it was written, but only the first time: after that the process is gone.
                let mut world = self.world();
                if world.stop_at == Some(world.counts.steps) {
                    world.stop_at = Some(0);
                    world.files[*file].now.extend_from_slice(&bytes[..bytes.len() / 2]);
                }
                return Err(off);
            }
        }
        Ok(())
    }

    fn truncate(&self, file: &usize, length: u64) -> io::Result<()> {
        self.step()?.files[*file].truncate(length as usize);
        Ok(())
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        let mut world = self.step()?;
        world.counts.syncs += 1;
        let fails = world.failing_sync.is_some_and(|failing| world.counts.syncs == failing + 1);
        let bytes = &mut world.files[*file];
        if fails {
            bytes.forgotten = bytes.unchanged()..bytes.now.len();
            return Err(io::Error::other("a flush failed"));
        }
        bytes.sync();
        Ok(())
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.step()?;
        let file = world.find(from)?;
        world.change(Some(from), Some((to, file)));
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.step()?;
        if world.names.contains_key(to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = world.find(from)?;
        world.change(Some(from), Some((to, file)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.step()?;
        world.find(path)?;
        world.change(Some(path), None);
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut world = self.step()?;
        world.durable_names = world.names.clone();
        world.changes.clear();
        Ok(())
    }
}
