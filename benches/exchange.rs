//! What it costs to write a message of rows for another process, and to read it there: bincode (timely's `Vec`) and columns.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use tidewatch::flow::timely::bytes::arc::{Bytes, BytesMut};
use tidewatch::flow::timely::container::{DrainContainer, buffer};
use tidewatch::flow::timely::dataflow::channels::ContainerBytes;
use tidewatch::operators::exchange::{Batch, Columns, KeyedRow};
use tidewatch::prelude::*;

/// A row with a time, a key and a value, such as the part of a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row<K, V> {
    time: EventTime,
    key: K,
    value: V,
}

impl<K: Record, V: Record> KeyedRow for Row<K, V> {
    type Key = K;
    type Value = V;

    fn columns(&self) -> (EventTime, &K, &V) {
        (self.time, &self.key, &self.value)
    }

    fn of_columns(time: EventTime, key: K, value: V) -> Self {
        Row { time, key, value }
    }
}

#[derive(Event)]
struct Login {
    #[event(time)]
    at: EventTime,
    address: Text,
    user: Text,
    failed: bool,
    bytes: u32,
}

/// The aggregate of `dataflows/auth_windows.rs`.
fn aggregate() -> impl Aggregate<Login> {
    (
        Count,
        Sum::of(|login: &Login| u32::from(login.failed)),
        Distinct::of(|login: &Login| &login.user),
        Sum::of(|login: &Login| login.bytes),
    )
}

fn parts<A: Aggregate<Login>>(aggregate: &A) -> Vec<Row<Text, A::State>> {
    let part = |i: usize| {
        let address: Text = format!("10.{}.{}.{}", i % 200 + 20, i * 7 % 250, i * 13 % 250).into();
        let mut state = A::State::default();
        for j in 0..=i % 6 {
            let user = format!("u{:05}", (i + j * 3 / 2) % 9_000).into();
            let at = EventTime::from_millis(1_767_225_600_000);
            let login = Login { at, address: address.clone(), user, failed: j % 3 == 0, bytes: 3_000 + 17 * j as u32 };
            aggregate.add(&mut state, &login);
        }
        Row { time: EventTime::from_millis(1_767_225_600_000), key: address, value: state }
    };
    (0..buffer::default_capacity::<Row<Text, A::State>>()).map(part).collect()
}

fn write<C: ContainerBytes>(batch: &C, to: &mut [u8]) -> usize {
    let length = batch.length_in_bytes();
    batch.into_bytes(&mut &mut to[..length]);
    length
}

fn message<C: ContainerBytes>(batch: &C) -> Bytes {
    let mut bytes = vec![0; batch.length_in_bytes()];
    write(batch, &mut bytes);
    BytesMut::from(bytes).freeze()
}

fn measure<R: Clone, C: ContainerBytes + From<Vec<R>>>(
    c: &mut Criterion,
    name: &str,
    rows: &[R],
    mut read: impl FnMut(C, &mut Vec<R>),
) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(rows.len() as u64));
    let batch = || C::from(rows.to_vec());
    let bytes = message(&batch());
    println!(
        "{name}: {} rows, {} bytes, {:.1} per row",
        rows.len(),
        bytes.len(),
        bytes.len() as f64 / rows.len() as f64
    );
    let mut to = vec![0; bytes.len()];
    group.bench_function("write", |b| b.iter_batched_ref(batch, |batch| write(batch, &mut to), BatchSize::SmallInput));
    let mut owned = Vec::with_capacity(rows.len());
    group.bench_function("read", |b| {
        b.iter(|| {
            owned.clear();
            read(C::from_bytes(bytes.clone()), &mut owned);
            black_box(&owned);
        });
    });
}

fn bench(c: &mut Criterion) {
    let rows = parts(&aggregate());
    measure::<_, Vec<_>>(c, "parts/bincode", &rows, |mut batch, to| to.append(&mut batch));
    measure::<_, Batch<Columns<_>>>(c, "parts/columns", &rows, |mut batch, to| {
        to.extend(batch.drain().map(std::borrow::Cow::into_owned));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
