//! The fuzz targets' entry points under plain `cargo test`: every committed seed, and what proptest makes of them.
//!
//! No replacement for a fuzzer, which sees the coverage; but it needs neither nightly nor time, so every change meets
//! it. A crash that the fuzzer finds is minimised, named after its cause and added to `fuzz/corpus/TARGET/`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Bytes of an input that proptest makes from nothing, at most.
const NOISE_BYTES_MAX: usize = 512;
/// Changes to a seed, at most.
const CHANGES_MAX: usize = 8;
const SEEDS_MIN: usize = 10;

/// The committed seeds of `target`, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()))
        .map(|entry| entry.expect("the folder stays while we list it").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= SEEDS_MIN, "{} holds {} seeds, expected {SEEDS_MIN}", folder.display(), paths.len());
    paths.iter().map(|path| fs::read(path).expect("a seed is a readable file")).collect()
}

/// One change to an input: the kinds of mistake that senders and disks make.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Truncate(Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match self {
            Change::Set(index, byte) => {
                let at = at(index);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Change::Insert(index, more) => {
                let at = at(index);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Remove(index, count) => {
                let at = at(index);
                bytes.drain(at..bytes.len().min(at + count));
            }
            Change::Repeat(index, count) => {
                let at = at(index);
                let piece = bytes[at..bytes.len().min(at + count)].to_vec();
                bytes.splice(at..at, piece);
            }
            Change::Truncate(index) => bytes.truncate(at(index)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    // Bytes that mean something to a parser come up more often than chance would have them.
    let byte = prop_oneof![any::<u8>(), select(&b"\"\\{}[]:,=.-+eE0123456789 \n\r\t\0u<>()\xff\xc3"[..])];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), vec(byte, 1..8)).prop_map(|(at, more)| Change::Insert(at, more)),
        (any::<Index>(), 1..16_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), 1..64_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        any::<Index>().prop_map(Change::Truncate),
    ]
}

/// A seed with a few changes, or noise.
fn inputs(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (select(seeds), vec(change(), 1..=CHANGES_MAX)).prop_map(|(mut bytes, changes)| {
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    });
    prop_oneof![9 => changed, 1 => vec(any::<u8>(), 0..NOISE_BYTES_MAX)]
}

/// Runs `entry` on every seed of `target`, then on inputs made from them; shrinks an input that makes it panic.
fn exercise(target: &str, entry: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| entry(seed));
    let config = ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(bytes in inputs(seeds))| entry(&bytes));
}

#[test]
fn json() {
    exercise("json", tidewatch::codec::json::fuzz);
}

#[test]
fn openssh() {
    exercise("openssh", tidewatch::codec::openssh::fuzz);
}

#[test]
fn config() {
    exercise("config", tidewatch::config::fuzz);
}

#[test]
fn mesh() {
    exercise("mesh", tidewatch::runtime::mesh::fuzz);
}

#[test]
fn state() {
    exercise("state", tidewatch::testing::fuzz);
}

#[test]
#[should_panic(expected = "found the planted defect")]
fn a_planted_defect_is_found() {
    exercise("json", |bytes| assert!(!bytes.windows(2).any(|pair| pair == b",,"), "found the planted defect"));
}
