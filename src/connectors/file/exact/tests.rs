//! What all tests of exactly-once files share.

mod crashes;
mod refusals;
mod writer;

use std::path::Path;

use super::disk::Disk;
use super::model::ModelDisk;
use super::progress::ProgressLogHeader;
use super::recover;
use super::shard::ShardFiles;
use crate::connectors::file::output::{Naming, Rolling};
use crate::connectors::sink::{Generation, SinkContext};
use crate::error::Result;
use crate::time::Epoch;

fn generation(number: u64) -> Generation {
    Generation { state: "a1b2".into(), number }
}

fn context(number: u64) -> SinkContext {
    SinkContext { name: "alerts".into(), shard: 1, shards: 4, run_ms: 0, generation: Some(generation(number)) }
}

/// In a folder of a model disk, which has no others.
fn naming() -> Naming {
    Naming::new(&context(1), Path::new("out"))
}

/// Small enough that files end every few epochs, by size and by age.
const ROLLING: Rolling = Rolling { bytes: 60, after_ms: 4 };

fn open(disk: &ModelDisk, number: u64) -> Result<ShardFiles<ModelDisk>> {
    recover::open(
        disk.clone(),
        naming(),
        ProgressLogHeader::new(&context(number), &generation(number)),
        number,
        ROLLING,
    )
}

/// The error of an open that must fail.
fn refusal(disk: &ModelDisk, number: u64) -> String {
    open(disk, number).err().expect("must not open").to_string()
}

/// Adds rows and seals them.
fn give<D: Disk>(shard: &mut ShardFiles<D>, epoch: Epoch, rows: &str) {
    shard.append(rows.as_bytes()).unwrap();
    shard.seal(epoch).unwrap();
}

/// Names and texts of the files of rows that are there, finished ones or hidden ones.
fn rows_of(disk: &ModelDisk, finished: bool) -> Vec<(String, Vec<u8>)> {
    let ours = |name: &str| name.starts_with('.') != finished && naming().sequence(name).is_some();
    disk.all().into_iter().filter(|(name, _)| ours(name)).collect()
}

fn text_of(files: &[(String, Vec<u8>)]) -> String {
    files.iter().map(|(_, text)| String::from_utf8_lossy(text)).collect()
}
