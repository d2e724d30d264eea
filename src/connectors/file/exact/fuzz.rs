//! Runs the parser of progress logs on arbitrary bytes.

use super::progress::{ShardProgress, parse};

/// Parses `bytes` as a progress log; if it is to be sealed, after correcting the checksums of its lines.
///
/// # Panics
/// If what was parsed contradicts itself.
pub(crate) fn fuzz(sealed: bool, bytes: &[u8]) {
    let seal = |line: &[u8]| {
        let (json, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |json| (json, b"\n"));
        [format!("{:08x} ", crc32fast::hash(json)).as_bytes(), json, end].concat()
    };
    let text =
        if sealed { bytes.split_inclusive(|byte| *byte == b'\n').flat_map(seal).collect() } else { bytes.to_vec() };
    let Ok((header, progress)) = parse(&text) else { return };
    let _ = header.to_string();
    let ShardProgress { file, bytes, .. } = progress.next_file();
    assert!(bytes == 0 && file >= progress.file, "the next file is empty");
}
