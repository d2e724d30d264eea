//! The files that a finite source reads: listed once per process, and shared by its workers.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::discover::{self, FoundFile, nothing_found};
use super::skips::Skips;
use super::tail::{compressed, compressed_error, probe, read_error};
use crate::connectors::source::Collector;
use crate::error::{Error, Result, Shown};
use crate::telemetry::SkipReason;

/// Files in the order of their paths, each once, and what was skipped.
#[derive(Debug)]
pub(super) struct FileList {
    pub(super) files: Vec<FoundFile>,
    skips: Mutex<Skips>,
}

impl FileList {
    /// The files that `patterns` name and that can be read.
    ///
    /// # Errors
    /// If a file that is named by its path cannot be read, or if a pattern has no readable file: a mistake is reported
    /// at the start, not hours later.
    pub(super) fn new(source: &str, patterns: &[String]) -> Result<Self> {
        let (mut skips, mut files) = (Skips::default(), Vec::new());
        for pattern in patterns {
            let found = discover::find(source, pattern, &mut skips)?;
            if skips.is_out_of_files() {
                return Err(read_error(source, Path::new(pattern), Errno::MFILE.into()));
            }
            if found.is_empty() {
                return Err(nothing_found(source, pattern, &skips));
            }
            let (mut readable, mut first) = (Vec::new(), None);
            for found in found {
                match check(source, &found, &mut skips) {
                    Ok(true) => readable.push(found),
                    Ok(false) => {}
                    Err(error) if found.named || skips.is_out_of_files() => return Err(error),
                    Err(error) => drop(first.get_or_insert(error)),
                }
            }
            match first {
                Some(error) if readable.is_empty() => return Err(error),
                _ => files.extend(readable),
            }
        }
        let mut files = discover::in_order(files);
        let mut keys = BTreeMap::new();
        files.retain(|found| match keys.insert(found.key, found.path.clone()) {
            None => true,
            Some(first) => {
                let why = format!("another name of {}, which is read", Shown::from(&*first));
                keys.insert(found.key, first);
                skips.add(source, &found.path, SkipReason::Duplicate, why);
                false
            }
        });
        Ok(FileList { files, skips: Mutex::new(skips) })
    }

    /// Records that the file at `path`, which is in the list, turned out to be unreadable.
    pub(super) fn skip(&self, source: &str, path: &Path, why: &io::Error) {
        let mut skips = self.skips.lock().unwrap_or_else(PoisonError::into_inner);
        skips.add_unseen(source, path, why);
    }

    /// Reports the paths that are not read and were not reported before, by any reader.
    pub(super) fn report_skips(&self, collector: &mut dyn Collector) {
        self.skips.lock().unwrap_or_else(PoisonError::into_inner).report(collector);
    }
}

/// Whether a file can be read; `false` if it is gone. If it cannot, it is added to `skips` unless it is named.
fn check(source: &str, found: &FoundFile, skips: &mut Skips) -> Result<bool, Error> {
    let (path, named) = (&found.path, found.named);
    match probe(path) {
        Ok(None) => Ok(true),
        Ok(Some(program)) => {
            if !named {
                skips.add(source, path, SkipReason::Compressed, compressed(program));
            }
            Err(compressed_error(source, path, program))
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound && !named => Ok(false),
        Err(why) => {
            if !named {
                skips.add_unseen(source, path, &why);
            }
            Err(read_error(source, path, why))
        }
    }
}
