//! Checks that the result does not depend on how bytes were cut into pieces, on arbitrary bytes.

use super::Splitter;
use crate::connectors::source::{Collector, Partition};
use crate::record::Reason;

/// What was handed over: offsets, sizes and bytes.
#[derive(Debug, Default, PartialEq)]
struct HandedOver(Vec<(u64, u64, Vec<u8>)>);

impl Collector for HandedOver {
    fn record(&mut self, _: Partition, offset: u64, bytes: &[u8]) {
        self.0.push((offset, bytes.len() as u64, bytes.to_vec()));
    }

    fn rejected(&mut self, _: Partition, offset: u64, size: u64, head: &[u8], _: Reason, _: &str) {
        self.0.push((offset, size, head.to_vec()));
    }

    // Not called for lines.
    fn joined(&mut self, _: Partition, _: &str) {}
    fn caught_up(&mut self, _: Partition) {}
    fn lag(&mut self, _: Partition, _: u64) {}
    fn ended(&mut self, _: Partition) {}
}

/// Splits what follows the first two bytes, which give the limit of a record and the size of a piece.
///
/// # Panics
/// If the result depends on the pieces, or contains something that is not in the input.
pub(crate) fn fuzz(bytes: &[u8]) {
    let Some((&[record_bytes_max, piece], bytes)) = bytes.split_first_chunk::<2>() else { return };
    let (record_bytes_max, piece) = (usize::from(record_bytes_max) + 1, usize::from(piece) + 1);
    let whole = split(bytes, record_bytes_max, bytes.len().max(1));
    assert_eq!(split(bytes, record_bytes_max, piece), whole, "pieces of {piece} differ");
    let mut end = 0;
    for (offset, size, text) in &whole.0 {
        assert!(*offset >= end, "lines overlap at {offset}");
        let line = &bytes[*offset as usize..];
        assert!(text.is_empty() || memchr::memmem::find(line, text).is_some(), "a line was made up");
        end = offset + size;
    }
}

fn split(bytes: &[u8], record_bytes_max: usize, piece: usize) -> HandedOver {
    let mut said = HandedOver::default();
    let mut splitter = Splitter::new(Partition(0), record_bytes_max);
    let (mut done, mut read) = (0, 0);
    while read < bytes.len() {
        read = bytes.len().min(read + piece);
        done += splitter.split(done as u64, &bytes[done..read], &mut said);
    }
    splitter.finish(done as u64, &bytes[done..], &mut said);
    said
}
