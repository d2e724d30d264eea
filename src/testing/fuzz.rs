//! Every parser of Tidewatch's own files, behind one entry point for the fuzzer.

use crate::checkpoint::fuzz::{self as checkpoint, FileKind};
use crate::connectors::{file, lines};
use crate::runtime::mesh;

/// Feeds what follows the first byte to the parser that the first byte chooses: the files of a state directory, the
/// progress log of a file sink, lines, and host files. The byte's highest bit says whether checksums are corrected
/// first.
///
/// # Panics
/// If a parser does, or if what it read contradicts itself.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let sealed = choice & 0x80 != 0;
    match choice & 0x07 {
        0 => checkpoint::fuzz(FileKind::Bindings, sealed, bytes),
        1 => checkpoint::fuzz(FileKind::Journal, sealed, bytes),
        2 => checkpoint::fuzz(FileKind::Manifest, sealed, bytes),
        3 => checkpoint::fuzz(FileKind::Object, sealed, bytes),
        4 => checkpoint::fuzz(FileKind::Identity, sealed, bytes),
        5 => file::fuzz_progress(sealed, bytes),
        6 => lines::fuzz(bytes),
        _ => hosts(bytes),
    }
}

fn hosts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match mesh::hosts::parse(&text) {
        Ok(addresses) => {
            assert!(!addresses.is_empty() && addresses.len() <= mesh::PROCESSES_MAX, "as many as there may be");
            assert_eq!(mesh::hosts::parse(&addresses.join("\n")).ok(), Some(addresses), "addresses are read back");
        }
        Err(error) => assert!(error.to_string().lines().count() <= 2, "an error is a line and a hint: {error}"),
    }
}
