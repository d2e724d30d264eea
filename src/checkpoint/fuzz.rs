//! Runs the parsers of a state directory's files on arbitrary bytes.
//!
//! Almost everything in them has a checksum, which no fuzzer guesses. So the input is also given with the right one:
//! then the parsers behind it have to cope with any content.

use std::path::Path;

use bytes::Bytes;

use super::bindings;
use super::directory;
use super::frame::{from_line, seal};
use super::journal;
use super::manifest::{Manifest, WorkerDone};
use super::object;
use crate::state::snapshot;

/// The kinds of files that are parsed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileKind {
    /// Lines of bindings.
    Bindings,
    /// Frames of a journal.
    Journal,
    /// The manifest of a checkpoint.
    Manifest,
    /// An object of a checkpoint.
    Object,
    /// The identity of a state directory.
    Identity,
}

/// Parses `bytes` as a file of this kind; with `sealed`, after checksums that match.
///
/// # Panics
/// If what was parsed contradicts itself.
pub(crate) fn fuzz(kind: FileKind, sealed: bool, bytes: &[u8]) {
    match kind {
        FileKind::Bindings => bindings::fuzz(Path::new("fuzz"), &lines(sealed, bytes)),
        FileKind::Journal => journal::fuzz(Path::new("fuzz"), sealed, bytes),
        FileKind::Manifest => manifest(&lines(sealed, bytes)),
        FileKind::Object => object(bytes),
        FileKind::Identity => directory::fuzz(Path::new("fuzz"), bytes),
    }
}

/// The lines of `bytes`, each with its checksum before it if they are to be sealed.
fn lines(sealed: bool, bytes: &[u8]) -> Vec<u8> {
    if !sealed {
        return bytes.to_vec();
    }
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| {
            let (content, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |content| (content, b"\n"));
            [seal(content), end.to_vec()].concat()
        })
        .collect()
}

fn manifest(bytes: &[u8]) {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let _ = from_line::<WorkerDone>(line);
    if let Ok(manifest) = from_line::<Manifest>(line) {
        let _ = manifest.bytes();
        assert_eq!(manifest.name.to_string().parse(), Ok(manifest.name), "a checkpoint is found by its name");
        assert_eq!(manifest.fingerprint.differences(&manifest.fingerprint, 1), Vec::<String>::new());
    }
}

fn object(bytes: &[u8]) {
    let object = Bytes::copy_from_slice(bytes);
    let reference = object::refer("fuzz".to_owned(), &object);
    assert_eq!(object::check(&reference, &object), Ok(()), "an object is what it is");
    let Ok(pieces) = object::pieces(&object) else { return };
    let mut again = Vec::new();
    for (slot, entries) in &pieces {
        snapshot::count(entries);
        let mut read = 0;
        let _ = snapshot::read::<(String, u64)>(std::slice::from_ref(entries), 0, 1, |_| read += 1);
        assert!(read <= snapshot::count(entries), "an entry is read once");
        object::push(&mut again, *slot, entries);
    }
    assert_eq!(again, bytes, "the pieces of an object are all of it");
}
