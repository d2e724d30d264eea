use proptest::prelude::*;

use super::super::tests::{assert_exchanged, assert_survives, message, received};
use super::*;
use crate::abomonate;

abomonate! {
    #[derive(Clone, Debug, PartialEq)]
    struct Origin {
        port: u32,
        secure: bool,
        kind: u8,
        weight: u16,
        host: String,
    }
}

abomonate! {
    #[derive(Clone, Debug, PartialEq)]
    struct Visit {
        at: EventTime,
        origin: Origin,
        share: f64,
        body: Vec<u8>,
    }
}

fn visit() -> impl Strategy<Value = Visit> {
    let origin = (any::<u32>(), any::<bool>(), any::<u8>(), any::<u16>(), ".{0,40}");
    (any::<i64>(), origin, -1e9..1e9f64, prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(at, (port, secure, kind, weight, host), share, body)| Visit {
            at: EventTime::from_millis(at),
            origin: Origin { port, secure, kind, weight, host },
            share,
            body,
        },
    )
}

fn visit_of(i: u32) -> Visit {
    let host = format!("host-{}", "x".repeat(i as usize % 11));
    let origin = Origin { port: i, secure: i.is_multiple_of(2), kind: 1, weight: 2, host };
    Visit { at: EventTime::from_millis(i.into()), origin, share: 0.5, body: vec![7; i as usize % 5] }
}

proptest! {
    #[test]
    fn memory_is_what_was_sent(visits in prop::collection::vec(visit(), 0..20)) {
        assert_survives::<Abomonated<Visit>>(&visits);
    }
}

#[test]
fn rows_are_exchanged_as_memory() {
    // Miri checks every access, a thousand times slower.
    let rows = if cfg!(miri) { 40 } else { 2_000 };
    let visits: Vec<_> = (0..rows).map(visit_of).collect();
    assert_exchanged::<Abomonated<Visit>>(&visits, |visit| visit.origin.port.into());
}

#[test]
fn rows_are_read_where_they_lie() {
    let batch = Abomonated::<Visit>::receive(timely_bytes(message::<Abomonated<Visit>>(vec![visit_of(3)])));
    let (Cow::Borrowed(one), Cow::Borrowed(other)) = (batch.row(0), batch.row(0)) else { panic!("a copy") };
    assert!(std::ptr::eq(one, other));
    let memory = batch.memory.as_ptr_range();
    assert!(memory.contains(&one.origin.host.as_ptr().cast()), "the text lies behind its row");
    // What was read of it outlives the batch.
    let owned = batch.row(0).into_owned();
    drop(batch);
    assert_eq!(owned, visit_of(3));
}

fn timely_bytes(wire: Vec<u8>) -> Bytes {
    timely::bytes::arc::BytesMut::from(wire).freeze()
}

#[test]
fn no_bit_of_a_batch_may_differ() {
    let wire = message::<Abomonated<Visit>>(vec![visit_of(3), visit_of(9)]);
    for bit in 0..wire.len() * 8 {
        let mut damaged = wire.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let read = std::panic::catch_unwind(|| received::<Abomonated<Visit>>(damaged));
        let why = read.err().expect("a batch with another bit is not read");
        let why = why.downcast_ref::<String>().unwrap();
        assert!(why.contains("is not what was sent: its checksum is another"), "{why}");
    }
}

#[test]
#[should_panic(expected = "its checksum is another")]
fn a_batch_is_not_read_as_rows_of_another_type() {
    let wire = message::<Abomonated<u64>>(vec![1, 2, 3]);
    received::<Abomonated<i64>>(wire);
}

#[test]
#[should_panic(expected = "its checksum is another")]
fn a_batch_that_was_cut_short_is_not_read() {
    let mut wire = message::<Abomonated<Visit>>(vec![visit_of(3)]);
    wire.truncate(wire.len() - WORD);
    received::<Abomonated<Visit>>(wire);
}

#[test]
#[should_panic(expected = "a batch begins with a header, and 8 bytes are too few")]
fn a_batch_without_a_head_is_not_read() {
    received::<Abomonated<u64>>(vec![0; WORD]);
}
