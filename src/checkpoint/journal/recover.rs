//! Recovers what an earlier generation left of a journal, and cuts off what it did not finish.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::append::create;
use super::frame::{FrameHeader, HEADER_BYTES, MAGIC, entry, sealed_frame};
use super::segments::Segment;
use super::{Wanted, damaged, segment_path, unreadable, unwritable};
use crate::error::{Error, ErrorKind, Result};

/// The journal as it was found.
pub(super) struct Recovered {
    pub(super) segments: Vec<Segment>,
    /// The newest segment, to append to.
    pub(super) newest: File,
    /// The offset after the last record.
    pub(super) next: u64,
}

/// Creates the folder of a journal in that of all journals, unless it exists.
pub(super) fn make(all: &Path, folder: &Path) -> Result<()> {
    let make = || {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        all.parent().map_or(Ok(()), |state| File::open(state)?.sync_all())?;
        File::open(all)?.sync_all()
    };
    make().map_err(|why| unwritable(folder, why))
}

/// Reads the newest segment in `folder` to its end. The older ones are checked when they are read.
pub(super) fn recover(folder: &Path, wanted: Wanted, seed: u32) -> Result<Recovered> {
    let firsts = list(folder).map_err(|why| unreadable(folder, why))?;
    if firsts.first().is_some_and(|first| *first > wanted.from) || (firsts.is_empty() && wanted.from < wanted.next) {
        let message = format!(
            "journal: {folder:?} has no records from offset {} on; earlier runs read those before offset {}",
            wanted.from, wanted.next
        );
        return Err(
            Error::new(ErrorKind::State, message).hint("restore its files, or begin with a new state directory")
        );
    }
    let Some(&first) = firsts.last() else {
        let path = segment_path(folder, wanted.from);
        let newest = create(folder, &path).map_err(|why| unwritable(&path, why))?;
        let segments = vec![Segment { first: wanted.from, bytes: 0 }];
        return Ok(Recovered { segments, newest, next: wanted.from });
    };
    let path = segment_path(folder, first);
    let bytes = fs::read(&path).map_err(|why| unreadable(&path, why))?;
    let Sound { bytes: sound, next, torn } = measure(&path, &bytes, first, seed)?;
    if next < wanted.next {
        let why = torn.unwrap_or_else(|| "it ends".to_owned());
        let why = format!("{why}; the records from offset {next} to {} were read from it", wanted.next);
        return Err(damaged(&path, sound, &why));
    }
    if torn.is_some() {
        let left_out = bytes.len() as u64 - sound;
        tracing::info!(file = %path.display(), byte = sound, left_out, "the last frame is torn, as a kill leaves it: cut off");
    }
    let open = || {
        let newest = OpenOptions::new().append(true).open(&path)?;
        newest.set_len(sound)?;
        // Frames that are not torn may not be on disk either: the process may have been killed before its flush.
        newest.sync_all()?;
        Ok(newest)
    };
    let newest = open().map_err(|why| unwritable(&path, why))?;
    let size = |first: u64| fs::metadata(segment_path(folder, first)).map(|file| Segment { first, bytes: file.len() });
    let segments = firsts.iter().map(|first| size(*first)).collect::<io::Result<_>>();
    Ok(Recovered { segments: segments.map_err(|why| unreadable(folder, why))?, newest, next })
}

/// The first offset of each segment, in order.
fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        firsts.extend(name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The usable part of a segment.
struct Sound {
    bytes: u64,
    /// The offset after the last record.
    next: u64,
    /// Why the rest is not usable.
    torn: Option<String>,
}

fn measure(path: &Path, bytes: &[u8], first: u64, seed: u32) -> Result<Sound> {
    let (mut at, mut next) = (0, first);
    while at < bytes.len() {
        match frame_at(bytes, at, seed) {
            Ok(header) if header.first == next => {
                at += header.frame_bytes() as usize;
                next = header.next();
            }
            Ok(header) => {
                let why = format!("the record at offset {} follows that before offset {next}", header.first);
                return Err(damaged(path, at as u64, &why));
            }
            // What comes after a frame was appended after the frame was flushed.
            Err(FrameFault { why, more }) if more || has_frame(bytes, at + 1, seed) => {
                return Err(damaged(path, at as u64, &why));
            }
            Err(FrameFault { why, .. }) => return Ok(Sound { bytes: at as u64, next, torn: Some(why) }),
        }
    }
    Ok(Sound { bytes: at as u64, next, torn: None })
}

/// Why there is no sound frame.
struct FrameFault {
    why: String,
    /// Its end is known, and something follows it.
    more: bool,
}

fn frame_at(bytes: &[u8], at: usize, seed: u32) -> Result<FrameHeader, FrameFault> {
    let rest = &bytes[at..];
    let header = FrameHeader::parse(&rest[..rest.len().min(HEADER_BYTES)], seed)
        .map_err(|why| FrameFault { why, more: false })?;
    let end = usize::try_from(header.frame_bytes()).unwrap_or(usize::MAX);
    let Some(body) = rest.get(HEADER_BYTES..end) else {
        return Err(FrameFault { why: "it has no end".to_owned(), more: false });
    };
    header.check(body, seed).map_err(|why| FrameFault { why, more: end < rest.len() })?;
    Ok(header)
}

/// Whether a sound frame begins anywhere from `at` on.
fn has_frame(bytes: &[u8], at: usize, seed: u32) -> bool {
    memchr::memmem::find_iter(&bytes[at..], &MAGIC).any(|found| frame_at(bytes, at + found, seed).is_ok())
}

/// Reads `bytes` as a segment whose first record has the offset in its first 8 bytes; if they are to be sealed, as the
/// bodies of frames, each after a length in 2 bytes and the number of its entries in 1.
///
/// # Panics
/// If a frame that was found sound has other entries than its header says, and they are read.
pub(crate) fn fuzz(path: &Path, sealed: bool, bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first_chunk::<8>() else { return };
    let (first, seed) = (u64::from_le_bytes(*first), 0);
    let mut segment = bytes.to_vec();
    if sealed {
        segment.clear();
        let (mut rest, mut next) = (bytes, first);
        while let Some((&[l0, l1, entries], after)) = rest.split_first_chunk::<3>() {
            let (body, after) = after.split_at(after.len().min(u16::from_le_bytes([l0, l1]).into()));
            segment.extend(sealed_frame(next, entries.into(), body, seed));
            (rest, next) = (after, next.wrapping_add(entries.into()));
        }
    }
    let Ok(sound) = measure(path, &segment, first, seed) else { return };
    let mut at = 0;
    while at < sound.bytes as usize {
        let Ok(header) = frame_at(&segment, at, seed) else { panic!("byte {at} was found sound") };
        let end = at + header.frame_bytes() as usize;
        let mut body = &segment[at + HEADER_BYTES..end];
        for _ in 0..header.entries {
            let Some((_, bytes)) = entry(body) else { break };
            body = &body[bytes..];
        }
        at = end;
    }
    assert_eq!(at as u64, sound.bytes, "sound frames end where the next one begins");
}
