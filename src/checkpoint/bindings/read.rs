//! Recovers what earlier generations bound.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::prune::pruned_through;
use super::{Base, Binding, History, SourceHistory, VERSION};
use crate::checkpoint::frame::from_line;
use crate::error::{Error, ErrorKind, Result};
use crate::operators::watermark::NO_PARTITION;

/// The first frame of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogHeader {
    pub(super) bindings: u32,
    /// The identity of the state directory.
    pub(super) state: String,
    pub(super) generation: u64,
    pub(super) process: usize,
    /// How many bindings of epoch 0 the processes of a generation write in all when it starts from nothing: one per
    /// worker and source, also for workers without partitions.
    pub(super) openings: usize,
}

/// The name of the `part`th file of a process in its generation.
pub(super) fn file_name(generation: u64, process: usize, part: u32) -> String {
    format!("{generation:010}-{process:03}-{part:06}.log")
}

/// The files in `folder`, in the order of generations, processes and parts.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|why| unreadable(folder, why))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    Ok(paths)
}

pub(super) fn unreadable(path: &Path, why: io::Error) -> Error {
    Error::new(ErrorKind::State, format!("state directory: cannot read {path:?}")).because(why)
}

/// Everything that was bound after `base` in the state directory at `directory`, whose identity is `state`. All of it
/// is on disk when this returns, even if the process that wrote it was killed before its flush.
///
/// # Errors
/// Of kind `State`: if a file cannot be read, is damaged other than at its end, or contradicts another.
pub fn recover(directory: &Path, state: &str, base: Base) -> Result<History> {
    let folder = directory.join("bindings");
    // By generation, since the first binding of a partition says where it begins.
    let paths = files(&folder)?;
    let pruned = pruned_through(&folder)?;
    if base.checkpoint.is_none_or(|checkpoint| checkpoint.epoch < pruned) && pruned > 0 {
        let from = base.checkpoint.map_or("no checkpoint".to_owned(), |checkpoint| format!("checkpoint {checkpoint}"));
        let message = format!(
            "state directory: {from} can be resumed from: what was bound up to epoch {pruned} was deleted in {folder:?}, since \
             a checkpoint covered it"
        );
        return Err(Error::new(ErrorKind::State, message).hint(
            "resume from a later checkpoint (`tidewatch checkpoint list`), restore the checkpoints, or start over with \
             --from-scratch",
        ));
    }
    let mut generations: BTreeMap<u64, (usize, Vec<Binding>)> = BTreeMap::new();
    for path in paths {
        let bytes = fs::read(&path).map_err(|why| unreadable(&path, why))?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(|why| unreadable(&path, why))?;
        let (header, bindings) = read_file(&path, &bytes, Some(state))?;
        if let Some(header) = header {
            let generation = generations.entry(header.generation).or_default();
            generation.0 = header.openings;
            generation.1.extend(bindings);
        }
    }
    let mut history = History { last: base.checkpoint.map(|checkpoint| checkpoint.epoch), ..History::default() };
    for (name, base) in base.sources {
        history.sources.insert(name, SourceHistory { base, epochs: BTreeMap::new() });
    }
    for (number, (openings, bindings)) in generations {
        let opened = bindings.iter().filter(|binding| binding.epoch == 0).count();
        // As long as one worker has not bound epoch 0, no epoch can have been released. To resume from there would
        // leave out the partitions that this worker had not announced.
        if history.last.is_none() && opened < openings {
            tracing::info!(
                generation = number,
                opened,
                openings,
                "was killed before every worker had started: its bindings are abandoned"
            );
            continue;
        }
        // Bindings of generations before the one that took the checkpoint count only up to it: what they bound after it
        // was abandoned.
        if base.checkpoint.is_some_and(|checkpoint| number < checkpoint.generation) {
            continue;
        }
        let after = |binding: &Binding| base.checkpoint.is_none_or(|checkpoint| binding.epoch > checkpoint.epoch);
        bindings.into_iter().filter(after).for_each(|binding| history.add(binding));
    }
    check(&history, &folder)?;
    Ok(history)
}

/// What is in a file of the state directory `state`, or of any state directory.
pub(super) fn read_file(path: &Path, bytes: &[u8], state: Option<&str>) -> Result<(Option<LogHeader>, Vec<Binding>)> {
    let damaged = |at: usize, why: &str| {
        Error::new(ErrorKind::State, format!("state directory: {path:?} is damaged at byte {at}: {why}"))
            .hint("restore the file from a copy; without it the epochs after that byte cannot be replayed")
    };
    let (mut at, mut header, mut all) = (0, None, Vec::new());
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map(|end| at + end);
        let line = &bytes[at..end.unwrap_or(bytes.len())];
        let next = end.map_or(bytes.len(), |end| end + 1);
        let taken = if end.is_none() {
            Err("it has no end".to_owned())
        } else if header.is_none() {
            from_line::<LogHeader>(line).map(|read| header = Some(read))
        } else {
            from_line::<Vec<Binding>>(line).map(|bindings| all.extend(bindings))
        };
        if let Err(why) = taken {
            // A frame that was being written when the process or the machine died. No epoch was released by it.
            if next < bytes.len() {
                return Err(damaged(at, &why));
            }
            tracing::info!(file = %path.display(), byte = at, "the last frame is torn, as a kill leaves it: not used");
            break;
        }
        at = next;
        if let Some(LogHeader { bindings, state: of, .. }) = &header
            && (*bindings != VERSION || state.is_some_and(|state| of != state))
        {
            let state = state.unwrap_or(of);
            return Err(damaged(0, &format!("it is of version {bindings} and state {of}, not {VERSION} and {state}")));
        }
    }
    Ok((header, all))
}

/// Reads `bytes` as a file of bindings, and builds from it what a resumed run does.
pub(crate) fn fuzz(path: &Path, bytes: &[u8]) {
    let Ok((_, bindings)) = read_file(path, bytes, None) else { return };
    let mut history = History::default();
    bindings.into_iter().for_each(|binding| history.add(binding));
    if check(&history, path).is_ok() {
        for source in history.sources.values() {
            for known in source.partitions() {
                assert!(known.from <= known.next, "a partition that goes back was let through: {known:?}");
            }
        }
    }
}

impl History {
    fn add(&mut self, binding: Binding) {
        self.last = self.last.max(Some(binding.epoch));
        let source = self.sources.entry(binding.source).or_default();
        let epoch = source.epochs.entry(binding.epoch).or_default();
        // The last binding of an epoch wins; `check` detects offsets that go back.
        epoch.extend(binding.partitions.into_iter().map(|partition| (partition.partition, partition)));
    }
}

/// Whether every partition has a beginning and only moves forward.
fn check(history: &History, folder: &Path) -> Result<()> {
    for (name, source) in &history.sources {
        let at_checkpoint = source.base.positions.values();
        let mut reached: BTreeMap<u32, u64> =
            at_checkpoint.map(|position| (position.partition, position.next)).collect();
        for (epoch, partitions) in &source.epochs {
            for (partition, binding) in partitions.iter().filter(|(partition, _)| **partition != NO_PARTITION) {
                let begins = binding.joined.as_ref().map(|joined| joined.from);
                let before = reached.insert(*partition, binding.next);
                let fits = match (before, begins) {
                    (Some(before), None) => before <= binding.next,
                    (None, Some(from)) => from <= binding.next,
                    _ => false,
                };
                if !fits {
                    let message = format!(
                        "state directory: the files in {folder:?} contradict each other about partition {partition} of \
                         source {name:?} at epoch {epoch}: {before:?} before, {binding:?}"
                    );
                    return Err(Error::new(ErrorKind::State, message).hint(
                        "a file is missing or from elsewhere: restore what is missing, or start over with --from-scratch",
                    ));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Joined, PartitionBinding, Phase, Position, SourceBase};
    use super::*;
    use crate::checkpoint::frame::to_line;
    use crate::checkpoint::manifest::CheckpointName;
    use crate::time::EventTime;

    fn header(generation: u64) -> Vec<u8> {
        to_line(&LogHeader { bindings: VERSION, state: "s".into(), generation, process: 0, openings: 1 })
    }

    fn bound(epoch: u64, next: u64, joined: bool) -> Vec<u8> {
        let joined = joined.then(|| Joined { label: "p".into(), from: 0, identity: None });
        let partition =
            PartitionBinding { partition: 0, joined, next, phase: Phase::Active, floor: None, follows: None };
        to_line(&vec![Binding { source: "in".into(), epoch, partitions: vec![partition] }])
    }

    /// What a worker without partitions binds when it starts.
    fn nothing() -> Vec<u8> {
        to_line(&vec![Binding { source: "in".into(), epoch: 0, partitions: vec![] }])
    }

    fn folder(files: &[Vec<Vec<u8>>]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bindings")).unwrap();
        for (generation, frames) in (1..).zip(files) {
            fs::write(folder.path().join("bindings").join(file_name(generation, 0, 0)), frames.concat()).unwrap();
        }
        folder
    }

    #[test]
    fn files_of_several_generations_are_one_history() {
        let folder = folder(&[
            vec![header(1), bound(0, 0, true), bound(100, 5, false)],
            vec![header(2), bound(200, 9, false)],
            vec![],
        ]);
        let history = recover(folder.path(), "s", Base::default()).unwrap();
        assert_eq!(history.last, Some(200));
        let source = &history.sources["in"];
        assert_eq!(source.epochs.keys().copied().collect::<Vec<_>>(), [0, 100, 200]);
        let known = source.partitions();
        assert_eq!((known[0].from, known[0].next, known[0].label.as_str()), (0, 9, "p"));
    }

    #[test]
    fn what_ended_before_every_worker_had_begun_is_abandoned() {
        let two = |generation| {
            let header = LogHeader { bindings: VERSION, state: "s".into(), generation, process: 0, openings: 2 };
            to_line(&header)
        };
        let begun = vec![two(1), bound(0, 0, true), bound(100, 5, false)];
        let folder = folder(&[begun.clone(), vec![two(2)]]);
        assert_eq!(recover(folder.path(), "s", Base::default()).unwrap(), History::default());
        let third = [vec![two(3), bound(0, 0, true), nothing()], vec![bound(200, 7, false)]].concat();
        fs::write(folder.path().join("bindings").join(file_name(3, 0, 0)), third.concat()).unwrap();
        assert_eq!(recover(folder.path(), "s", Base::default()).unwrap().sources["in"].partitions()[0].next, 7);
    }

    #[test]
    fn what_was_abandoned_stays_out_when_there_is_a_checkpoint() {
        let folder = folder(&[
            vec![header(1), bound(50, 3, true), bound(900, 8, false)],
            vec![header(2), bound(0, 0, true), bound(100, 5, false), bound(500, 6, false)],
        ]);
        let checkpoint = Some(CheckpointName { epoch: 100, generation: 2 });
        let position = Position {
            partition: 0,
            label: "p".into(),
            next: 5,
            phase: Phase::Active,
            floor: EventTime::MIN,
            identity: None,
        };
        let source = SourceBase { positions: [(0, position)].into(), ..SourceBase::default() };
        let history =
            recover(folder.path(), "s", Base { checkpoint, sources: [("in".into(), source)].into() }).unwrap();
        assert_eq!(history.sources["in"].epochs.keys().copied().collect::<Vec<_>>(), [500]);
    }

    #[test]
    fn a_torn_end_is_not_used_and_any_other_damage_is_an_error() {
        let frames = [header(1), bound(0, 0, true), bound(100, 5, false)];
        let whole = frames.concat();
        let last = whole.len() - frames[2].len();
        for cut in last..whole.len() {
            let folder = folder(&[vec![whole[..cut].to_vec()]]);
            assert_eq!(recover(folder.path(), "s", Base::default()).unwrap().last, Some(0), "cut at {cut}");
        }
        for at in 0..last - 1 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            let folder = folder(&[vec![flipped]]);
            let error = recover(folder.path(), "s", Base::default()).unwrap_err().to_string();
            assert!(error.contains("damaged at byte") && error.contains("0000000001-000-000000.log"), "{at}: {error}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_an_error() {
        let error = |frames: Vec<Vec<u8>>, state: &str| {
            recover(folder(&[frames]).path(), state, Base::default()).unwrap_err().to_string()
        };
        assert!(error(vec![header(1)], "other").contains("state s, not"));
        assert!(error(vec![header(1), nothing(), bound(100, 5, false)], "s").contains("contradict"));
        let back = vec![header(1), bound(0, 0, true), bound(100, 5, false), bound(200, 4, false)];
        assert!(error(back, "s").contains("epoch 200"));
    }
}
