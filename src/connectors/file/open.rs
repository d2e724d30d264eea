//! How files are opened: without waiting, regular ones only, and how many at once.
//!
//! A path can become anything between being listed and being opened. A pipe, opened the usual way, would hold the worker until
//! somebody writes to it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::discover::FileKey;

/// How many files a reader holds open at once.
pub(super) const OPEN_FILES_MAX: usize = 512;

/// What a compressed file begins with, and what a program that decompresses it is called.
const COMPRESSED: [(&[u8], &str); 5] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (b"BZh", "bzip2"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
];

/// How many bytes at the start of a file say whether it is compressed.
pub(super) const MAGIC_BYTES_MAX: usize = 10;

/// What follows `BZh` and a digit in a file of bzip2: a line of text can begin with `BZh`.
const BZIP2_BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];

/// Opens the regular file at `path`.
pub(super) fn open(path: &Path) -> io::Result<(File, FileKey)> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok((file, FileKey::of(&metadata)))
}

/// By what program the file at `path`, which begins with `head`, was compressed, if it was; `None` also if that is not certain yet.
pub(super) fn compression(path: &Path, head: &[u8]) -> Option<&'static str> {
    let &(_, program) = COMPRESSED.iter().find(|(magic, _)| head.starts_with(magic))?;
    let is_bzip2 = || path.extension() == Some(OsStr::new("bz2")) || head.get(4..MAGIC_BYTES_MAX) == Some(BZIP2_BLOCK);
    (program != "bzip2" || is_bzip2()).then_some(program)
}

/// Whether the process, or the machine, has no room for another open file.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [Errno::MFILE, Errno::NFILE].contains(&Errno::from_raw_os_error(code)))
}

/// How many files each of `workers` readers may hold open: at most [`OPEN_FILES_MAX`], and half of what the process may open
/// for all of them together.
pub(super) fn open_files_max(workers: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    share(limit.unwrap_or(usize::MAX), workers)
}

fn share(limit: usize, workers: usize) -> usize {
    (limit / 2 / workers.max(1)).clamp(1, OPEN_FILES_MAX)
}

/// The name, in the folder of `path`, of the file with the key `key`, which had the name `path`.
pub(super) fn renamed(path: &Path, key: FileKey) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let has_key = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| FileKey::of(&found) == key);
    fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| has_key(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_files_are_told_from_text_that_begins_alike() {
        for (head, expected) in [
            (&[0x1f, 0x8b, 8][..], Some("gzip")),
            (&[0x28, 0xb5, 0x2f, 0xfd, 4], Some("zstd")),
            (b"\xfd7zXZ\0\0", Some("xz")),
            (b"BZh91AY&SY..", Some("bzip2")),
            (&[0x04, 0x22, 0x4d, 0x18, 0x64], Some("lz4")),
            (b"BZh9 is a chess move\n", None),
            (b"(\xb5", None),
            (b"", None),
        ] {
            assert_eq!(compression(Path::new("a.log"), head), expected, "{head:?}");
        }
        assert_eq!(compression(Path::new("a.log.1.bz2"), b"BZh9"), Some("bzip2"));
        assert_eq!(compression(Path::new("a.log.1.bz2"), b"BZ"), None);
    }

    #[test]
    fn nothing_but_regular_files_is_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(open(&pipe).unwrap_err().to_string().contains("not a regular file"));
        assert!(open(dir.path()).is_err());
        assert!(open(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn workers_share_half_of_the_descriptors() {
        assert_eq!(share(1_024, 1), 512);
        assert_eq!(share(1_000_000, 4), OPEN_FILES_MAX);
        assert_eq!(share(256, 4), 32);
        assert_eq!(share(16, 64), 1);
        assert!(open_files_max(1) >= 1);
    }
}
