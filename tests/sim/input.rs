//! What there is to read in a simulation: partitions with records that are on time, late, repeated or no records at all.

use serde_json::json;

use super::chance::Chance;

/// Longer records are rejected by the reader.
pub(crate) const RECORD_BYTES_MAX: usize = 200;

/// How far behind the newest event of its partition an event may be, in milliseconds.
pub(crate) const OUT_OF_ORDER_MS: i64 = 2_000;

/// The first event, in milliseconds since 1970.
const START_MS: i64 = 4_102_444_790_000;

/// In the future, whatever the clock of a simulation shows.
const FUTURE_MS: i64 = 253_370_764_800_000;

/// Every jump of a clock is believed.
const JUMPS: i64 = i64::MAX;

/// How many keys there are.
const KEYS: u64 = 6;

/// A partition from its beginning to its end.
pub(crate) struct PartitionInput {
    /// The offset of the first record: what was before it is long gone.
    pub(crate) base: u64,
    pub(crate) records: Vec<Vec<u8>>,
}

/// The partitions of a source, the latest to appear last.
pub(crate) struct Input {
    pub(crate) partitions: Vec<PartitionInput>,
    /// How many of them there are from the beginning.
    pub(crate) at_start: usize,
    /// How long a partition may have nothing until the others go on without it; if that is never, nothing is late for its sake.
    pub(crate) idle_after_ms: u64,
    /// Whether the watermark of a partition that has nothing for so long follows the clock instead.
    pub(crate) live: bool,
    /// A partition's time may move on by so much, in milliseconds, between two events, until the second has to be confirmed.
    pub(crate) jump_max_ms: i64,
}

impl Input {
    pub(crate) fn draw(chance: &Chance) -> Self {
        let count = chance.between(1, 5) as usize;
        let at_start = if chance.one_in(3) { chance.between(0, count as u64) as usize } else { count };
        let idle_after_ms = if chance.one_in(2) { chance.between(100, 1_500) } else { 1_000_000_000 };
        let records_max = 1 << chance.between(0, 6);
        let mut input =
            Input { partitions: Vec::new(), at_start, idle_after_ms, live: chance.one_in(2), jump_max_ms: JUMPS };
        input.partitions.extend((0..count).map(|_| PartitionInput::draw(chance, records_max)));
        // What is left behind says how far the clock of its partition was, which the oracle does not know.
        if !input.may_leave_behind() && chance.one_in(2) {
            input.jump_max_ms = chance.between(1_000, 5_000) as i64;
        }
        input
    }

    /// Whether what is refused depends on what is read when.
    pub(crate) fn may_leave_behind(&self) -> bool {
        self.at_start < self.partitions.len() || self.idle_after_ms < 1_000_000
    }
}

impl PartitionInput {
    fn draw(chance: &Chance, records_max: u64) -> Self {
        let base = if chance.one_in(3) { chance.below(1_000) } else { 0 };
        let mut at = START_MS + chance.below(10_000) as i64;
        let step = chance.between(1, 2_000);
        let mut records: Vec<Vec<u8>> = Vec::new();
        for _ in 0..chance.below(records_max + 1) {
            at += chance.below(step) as i64 + if chance.one_in(50) { 60_000 } else { 0 };
            let on_time = at - chance.below(OUT_OF_ORDER_MS as u64) as i64;
            records.push(match chance.below(30) {
                0 => b"{\"ts\":".to_vec(),
                1 => b"\xff\xfe".to_vec(),
                2 => event(at - chance.between(2_001, 30_000) as i64, chance),
                3 => event(FUTURE_MS, chance),
                4 => vec![b'x'; RECORD_BYTES_MAX + 1 + chance.below(50) as usize],
                6 => event(at + chance.between(2_000, 30_000) as i64, chance),
                5 if !records.is_empty() => records[records.len() - 1].clone(),
                _ => event(on_time, chance),
            });
        }
        PartitionInput { base, records }
    }
}

fn event(ts: i64, chance: &Chance) -> Vec<u8> {
    let (key, value) = (format!("k{}", chance.below(KEYS)), chance.below(100));
    json!({ "ts": ts, "key": key, "value": value }).to_string().into_bytes()
}
