//! What the sink asks of a file system. Nothing is durable before the flush that says so: neither bytes nor names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use tempfile::TempPath;

use crate::connectors::file::output::ROWS_MODE;

/// A file system.
pub(super) trait Disk: Send + 'static {
    /// A file that is open for appending.
    type File: Send;

    /// The names in `folder`.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// The bytes of a file; `None` if it is not there.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// How many bytes a file has; `None` if it is not there.
    fn length(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Whether two names mean one file.
    fn same(&self, one: &Path, other: &Path) -> io::Result<bool>;

    /// Makes a file whose name must be free.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Adds `bytes` at the end.
    fn append(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Cuts off everything after `length` bytes.
    fn truncate(&self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Makes the bytes of a file and its length durable.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Gives a file another name, which is taken from the file that has it.
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name, which must be free.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// The file system of the operating system.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalDisk;

impl Disk for LocalDisk {
    type File = File;

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        fs::read_dir(folder)?.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose()).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if_there(fs::read(path))
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(if_there(fs::symlink_metadata(path))?.map(|metadata| metadata.len()))
    }

    fn same(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let (one, other) = (fs::symlink_metadata(one)?, fs::symlink_metadata(other)?);
        Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).create_new(true).mode(ROWS_MODE).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
    }

    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        TempPath::try_from_path(from)?.persist_noclobber(to).map_err(|failed| {
            // Dropping the path would delete the rows.
            let _kept = failed.path.keep();
            failed.error
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

/// Makes `folder` itself durable, and the folders it is in, any of which may have been made for it just now.
pub(super) fn keep_folder(folder: &Path) -> io::Result<()> {
    let folder = fs::canonicalize(folder)?;
    let device = fs::metadata(&folder)?.dev();
    for parent in folder.ancestors().skip(1) {
        // Neither a file system nor a folder that is closed to us was made by us.
        if fs::metadata(parent)?.dev() != device {
            break;
        }
        match File::open(parent) {
            Ok(parent) => parent.sync_all()?,
            Err(why) if why.kind() == ErrorKind::PermissionDenied => break,
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why),
    }
}
