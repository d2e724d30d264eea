//! The progress log of a shard: the record of what is committed.
//!
//! A frame is one line: a CRC-32 in hexadecimal, a space, and JSON. The first identifies the shard; each further one
//! replaces the one before. Only the last can be torn, since each is flushed before the next is written. To keep it
//! small, the log is now and then replaced by one with a single frame.

use std::fmt;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disk::Disk;
use crate::connectors::file::output::Naming;
use crate::connectors::sink::{Generation, SinkContext};
use crate::error::Result;
use crate::time::Epoch;

/// The version of the format.
const VERSION: u32 = 1;

/// The size beyond which the log is replaced by a new one, in bytes.
const LOG_BYTES_MAX: u64 = 64 * 1024;

/// Digits of the checksum.
const CHECKSUM_DIGITS: usize = 8;

/// Identifies the shard of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProgressLogHeader {
    progress: u32,
    state: String,
    sink: String,
    shard: usize,
    shards: usize,
}

/// The field that the header of every version has.
#[derive(Deserialize)]
struct Versioned {
    progress: u32,
}

impl ProgressLogHeader {
    /// The header of the shard that `context` describes, in any generation of its state directory.
    pub(super) fn new(context: &SinkContext, generation: &Generation) -> Self {
        let SinkContext { name, shard, shards, .. } = context.clone();
        ProgressLogHeader { progress: VERSION, state: generation.state.clone(), sink: name, shard, shards }
    }
}

impl fmt::Display for ProgressLogHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProgressLogHeader { state, sink, shard, shards, .. } = self;
        write!(f, "shard {shard} of {shards} of sink {sink:?} in state directory {state:?}")
    }
}

/// What is committed of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardProgress {
    /// The generation that wrote this.
    pub generation: u64,
    /// The newest epoch with rows that is committed.
    pub epoch: Option<Epoch>,
    /// The number of the current file. All before it are finished.
    pub file: u32,
    /// How many of its bytes are committed.
    pub bytes: u64,
    /// The first epoch with rows in the current file.
    pub first: Option<Epoch>,
    /// Whether the current file is complete, and is being renamed to its final name: a reader may have seen it, and
    /// even moved it away.
    pub finishing: bool,
}

impl ShardProgress {
    /// The progress of a shard that never wrote.
    pub(super) fn begin(generation: u64) -> Self {
        ShardProgress { generation, epoch: None, file: 0, bytes: 0, first: None, finishing: false }
    }

    /// The progress once the current file is finished and the next one is current.
    pub(super) fn next_file(self) -> Self {
        ShardProgress { file: self.file.saturating_add(1), bytes: 0, first: None, finishing: false, ..self }
    }

    /// Whether `later` can follow it in a log.
    fn precedes(&self, later: &ShardProgress) -> bool {
        self.generation <= later.generation
            && self.epoch <= later.epoch
            && (self.file, self.bytes) <= (later.file, later.bytes)
    }
}

/// Why a log cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It has damage that no crash explains.
    Damaged { offset: usize, why: String },
    /// Another release of Tidewatch wrote it.
    Version(u32),
}

/// Parses a log. A torn end is ignored.
pub(super) fn parse(text: &[u8]) -> Result<(ProgressLogHeader, ShardProgress), Unusable> {
    let mut offset = 0;
    let mut frames = text.split_inclusive(|byte| *byte == b'\n').map(|frame| {
        offset += frame.len();
        (offset - frame.len(), frame)
    });
    let damaged = |offset, why: &str| Unusable::Damaged { offset, why: why.to_owned() };
    let (_, header) = frames.next().ok_or_else(|| damaged(0, "it is empty"))?;
    let header = content(header).map_err(|why| damaged(0, why))?;
    let Versioned { progress: version } = decode(0, header)?;
    if version != VERSION {
        return Err(Unusable::Version(version));
    }
    let header = decode(0, header)?;
    let (mut last, mut torn) = (None::<ShardProgress>, None);
    for (offset, frame) in frames {
        match (content(frame), torn.take()) {
            // Something followed it, so it is not a torn end.
            (Ok(_), Some((offset, why))) => return Err(damaged(offset, why)),
            (Ok(json), None) => {
                let progress: ShardProgress = decode(offset, json)?;
                if last.is_some_and(|last| !last.precedes(&progress)) {
                    return Err(damaged(offset, "it says less than the frame before it"));
                }
                last = Some(progress);
            }
            (Err(why), before) => {
                let (offset, why) = before.unwrap_or((offset, why));
                if hides_frame(frame) {
                    return Err(damaged(offset, why));
                }
                torn = Some((offset, why));
            }
        }
    }
    match (last, torn) {
        (Some(last), _) => Ok((header, last)),
        // A log is created with a frame, atomically.
        (None, Some((offset, why))) => Err(damaged(offset, why)),
        (None, None) => Err(damaged(text.len(), "there is nothing after the header")),
    }
}

fn decode<T: DeserializeOwned>(offset: usize, json: &[u8]) -> Result<T, Unusable> {
    serde_json::from_slice(json).map_err(|why| Unusable::Damaged { offset, why: why.to_string() })
}

/// The JSON of a frame with its newline.
fn content(frame: &[u8]) -> Result<&[u8], &'static str> {
    let frame = frame.strip_suffix(b"\n").ok_or("it has no end")?;
    let (checksum, rest) = frame.split_at_checked(CHECKSUM_DIGITS).ok_or("it is too short")?;
    let json = rest.strip_prefix(b" ").ok_or("it has no checksum")?;
    let checksum = std::str::from_utf8(checksum).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    if checksum == Some(crc32fast::hash(json)) { Ok(json) } else { Err("its checksum does not match") }
}

/// Whether a complete frame begins inside of the invalid `frame`: a newline was damaged.
fn hides_frame(frame: &[u8]) -> bool {
    let begins = |at: &usize| frame[at + CHECKSUM_DIGITS..].starts_with(b" {");
    (1..frame.len().saturating_sub(CHECKSUM_DIGITS)).filter(begins).any(|at| content(&frame[at..]).is_ok())
}

fn frame<T: Serialize>(content: &T) -> Vec<u8> {
    let json = serde_json::to_vec(content).expect("numbers and names can be written as JSON");
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

/// A log that is being written.
pub(super) struct ProgressLog<D: Disk> {
    header: ProgressLogHeader,
    naming: Naming,
    path: PathBuf,
    file: D::File,
    bytes: u64,
}

impl<D: Disk> ProgressLog<D> {
    /// Starts a log with `progress`; it replaces an existing one.
    pub(super) fn begin(
        disk: &D,
        naming: &Naming,
        header: ProgressLogHeader,
        progress: &ShardProgress,
    ) -> Result<Self> {
        let (path, new) = (naming.progress(), naming.new_progress());
        let text = [frame(&header), frame(progress)].concat();
        let failed = |why| naming.error("cannot write its progress log", &path, why);
        if disk.length(&new).map_err(failed)?.is_some() {
            disk.remove(&new).map_err(failed)?;
        }
        let mut file = disk.create(&new).map_err(failed)?;
        disk.append(&mut file, &text).map_err(failed)?;
        disk.sync(&file).map_err(failed)?;
        disk.rename_over(&new, &path).map_err(failed)?;
        disk.sync_folder(naming.folder()).map_err(failed)?;
        Ok(ProgressLog { header, naming: naming.clone(), path, file, bytes: text.len() as u64 })
    }

    /// Appends `progress`; it is durable when this returns.
    pub(super) fn record(&mut self, disk: &D, progress: &ShardProgress) -> Result<()> {
        let frame = frame(progress);
        if self.bytes + frame.len() as u64 > LOG_BYTES_MAX {
            return self.replace(disk, progress);
        }
        let failed = |why| self.naming.error("cannot write its progress log", &self.path, why);
        disk.append(&mut self.file, &frame).map_err(failed)?;
        disk.sync(&self.file).map_err(failed)?;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// As [`record`](Self::record), dropping all earlier frames.
    pub(super) fn replace(&mut self, disk: &D, progress: &ShardProgress) -> Result<()> {
        *self = ProgressLog::begin(disk, &self.naming, self.header.clone(), progress)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ProgressLogHeader {
        ProgressLogHeader { progress: VERSION, state: "a1".into(), sink: "alerts".into(), shard: 0, shards: 2 }
    }

    fn committed(epoch: Epoch) -> ShardProgress {
        ShardProgress { epoch: Some(epoch), bytes: 10 * epoch, first: Some(1), ..ShardProgress::begin(1) }
    }

    fn log(epochs: std::ops::Range<u64>) -> Vec<u8> {
        let mut text = [frame(&header()), frame(&ShardProgress::begin(1))].concat();
        epochs.for_each(|epoch| text.extend(frame(&committed(epoch))));
        text
    }

    fn damage(text: &[u8]) -> (usize, String) {
        match parse(text) {
            Err(Unusable::Damaged { offset, why }) => (offset, why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_whole_frame_counts_wherever_the_log_is_cut() {
        let (short, long) = (log(1..3), log(1..4));
        for end in short.len()..long.len() {
            assert_eq!(parse(&long[..end]), Ok((header(), committed(2))), "cut at {end}");
            // A file can get its length before its bytes.
            let mut zeros = long[..end].to_vec();
            zeros.resize(long.len() + 100, 0);
            assert_eq!(parse(&zeros), Ok((header(), committed(2))), "zeros from {end}");
        }
        assert_eq!(parse(&long), Ok((header(), committed(3))));
    }

    #[test]
    fn damage_before_a_whole_frame_is_not_a_torn_end() {
        let text = log(1..4);
        let (second, last) = (log(1..2).len(), log(1..3).len());
        for at in second..last {
            let mut damaged = text.clone();
            damaged[at] ^= 4;
            assert_eq!(damage(&damaged).0, second, "flipped at {at}");
        }
        let mut twice = text.clone();
        twice[second + 3] = b'\n';
        twice[second + 9] = b'\n';
        assert_eq!(damage(&twice).0, second);
    }

    #[test]
    fn a_log_without_its_beginning_is_damaged() {
        let begin = log(1..1);
        for end in 0..begin.len() {
            damage(&begin[..end]);
        }
        assert_eq!(parse(&begin), Ok((header(), ShardProgress::begin(1))));
    }

    #[test]
    fn a_frame_that_goes_back_is_damage() {
        for back in [
            ShardProgress { epoch: Some(1), ..committed(2) },
            ShardProgress { bytes: 19, ..committed(2) },
            ShardProgress { generation: 0, ..committed(2) },
        ] {
            let text = [log(1..3), frame(&back)].concat();
            assert_eq!(damage(&text), (log(1..3).len(), "it says less than the frame before it".to_owned()));
        }
    }

    #[test]
    fn another_version_is_named() {
        let text = [frame(&serde_json::json!({ "progress": 9, "whose": "unknown" })), frame(&committed(1))].concat();
        assert_eq!(parse(&text), Err(Unusable::Version(9)));
    }
}
