//! The progress log of a shard: what is committed.
//!
//! A frame is one line: a CRC-32 in hexadecimal, a space, and JSON. The first says whose log it is; each further one replaces what
//! the one before said. Only the last can be torn, since each is flushed before the next is written. So that the log stays small, it
//! is now and then replaced, whole, by one with a single frame.

use std::fmt;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disk::Disk;
use crate::connectors::file::output::Naming;
use crate::connectors::sink::{Generation, SinkContext};
use crate::error::Result;
use crate::time::Epoch;

/// The version of the frames.
const VERSION: u32 = 1;

/// The size beyond which the log is replaced by a new one, in bytes.
const LOG_BYTES_MAX: u64 = 64 * 1024;

/// Digits of the checksum.
const CHECKSUM_DIGITS: usize = 8;

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    progress: u32,
    state: String,
    sink: String,
    shard: usize,
    shards: usize,
}

/// The part of every version's header that says which version it is.
#[derive(Deserialize)]
struct Versioned {
    progress: u32,
}

impl Header {
    /// The header of the shard that `context` describes, in any generation of its state directory.
    pub(super) fn new(context: &SinkContext, generation: &Generation) -> Self {
        let SinkContext { name, shard, shards, .. } = context.clone();
        Header { progress: VERSION, state: generation.state.clone(), sink: name, shard, shards }
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { state, sink, shard, shards, .. } = self;
        write!(f, "shard {shard} of {shards} of sink {sink:?} in state directory {state:?}")
    }
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Who wrote this.
    pub generation: u64,
    /// The newest epoch with rows that is committed.
    pub epoch: Option<Epoch>,
    /// The number of the current file. All before it are finished.
    pub file: u32,
    /// How many of its bytes are committed.
    pub bytes: u64,
    /// The first epoch with rows in it.
    pub first: Option<Epoch>,
    /// Whether it is complete, and is being given its final name: a reader may have seen it, and even taken it away.
    pub finishing: bool,
}

impl Progress {
    /// That of a shard that never wrote.
    pub(super) fn begin(generation: u64) -> Self {
        Progress { generation, epoch: None, file: 0, bytes: 0, first: None, finishing: false }
    }

    /// The current file is finished and the next one begins.
    pub(super) fn next_file(self) -> Self {
        Progress { file: self.file.saturating_add(1), bytes: 0, first: None, finishing: false, ..self }
    }

    /// Whether `later` can come after it in a log.
    fn precedes(&self, later: &Progress) -> bool {
        self.generation <= later.generation
            && self.epoch <= later.epoch
            && (self.file, self.bytes) <= (later.file, later.bytes)
    }
}

/// Why a log cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Something in it is wrong that no crash explains.
    Damaged { offset: usize, why: String },
    /// Another release of Tidewatch made it.
    Version(u32),
}

/// What the text of a log says. A torn end is left out.
pub(super) fn parse(text: &[u8]) -> Result<(Header, Progress), Unusable> {
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
    let (mut last, mut torn) = (None::<Progress>, None);
    for (offset, frame) in frames {
        match (content(frame), torn.take()) {
            // Behind it there was something, so it was not torn while it was written.
            (Ok(_), Some((offset, why))) => return Err(damaged(offset, why)),
            (Ok(json), None) => {
                let progress: Progress = decode(offset, json)?;
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
        // A log begins its life with a frame, in one piece.
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

/// Whether a whole frame begins inside of `frame`, which is none: a newline was damaged.
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
pub(super) struct Log<D: Disk> {
    header: Header,
    naming: Naming,
    path: PathBuf,
    file: D::File,
    bytes: u64,
}

impl<D: Disk> Log<D> {
    /// Begins a log that says `progress`; it takes the place of the one that is there, if there is one.
    pub(super) fn begin(disk: &D, naming: &Naming, header: Header, progress: &Progress) -> Result<Self> {
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
        Ok(Log { header, naming: naming.clone(), path, file, bytes: text.len() as u64 })
    }

    /// Says `progress`; it is durable when this returns.
    pub(super) fn record(&mut self, disk: &D, progress: &Progress) -> Result<()> {
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

    /// As [`record`](Self::record), and forgets all before.
    pub(super) fn replace(&mut self, disk: &D, progress: &Progress) -> Result<()> {
        *self = Log::begin(disk, &self.naming, self.header.clone(), progress)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { progress: VERSION, state: "a1".into(), sink: "alerts".into(), shard: 0, shards: 2 }
    }

    fn committed(epoch: Epoch) -> Progress {
        Progress { epoch: Some(epoch), bytes: 10 * epoch, first: Some(1), ..Progress::begin(1) }
    }

    fn log(epochs: std::ops::Range<u64>) -> Vec<u8> {
        let mut text = [frame(&header()), frame(&Progress::begin(1))].concat();
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
            // A file can have got its length before its bytes.
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
        assert_eq!(parse(&begin), Ok((header(), Progress::begin(1))));
    }

    #[test]
    fn a_frame_that_goes_back_is_damage() {
        for back in [
            Progress { epoch: Some(1), ..committed(2) },
            Progress { bytes: 19, ..committed(2) },
            Progress { generation: 0, ..committed(2) },
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
