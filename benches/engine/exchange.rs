//! The cost of writing a message of rows for another process and reading it there, in every format side by side.
//!
//! A message holds as many rows as timely cuts it to, 8 KiB of them in memory. `write` makes its bytes; `read` looks at
//! each row as the message gives it; `own` also makes each a row of its own; `round-trip` is `write` and `own`.

mod crate_columnar;

mod rows;

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use tidewatch::flow::timely::bytes::arc::{Bytes, BytesMut};
use tidewatch::flow::timely::container::{DrainContainer, buffer};
use tidewatch::flow::timely::dataflow::channels::ContainerBytes;
#[cfg(feature = "abomonation")]
use tidewatch::operators::exchange::Abomonated;
use tidewatch::operators::exchange::{Batch, Columns, Format};

use self::crate_columnar::Column;
use self::rows::{Counts, Record, counts, part, record};

/// Messages prepared outside the measurement. A message keeps its bytes once it is written: many would not fit the
/// cache.
const BATCHES: BatchSize = BatchSize::NumIterations(32);

/// A container of rows, as a receiver uses it.
pub trait Message: ContainerBytes + From<Vec<Self::Row>> {
    type Row: Clone;

    /// Looks at every row.
    fn read(self);

    /// Makes every row one's own.
    fn own(self, to: &mut Vec<Self::Row>);
}

impl<R: Clone> Message for Vec<R>
where
    Vec<R>: ContainerBytes,
{
    type Row = R;

    fn read(self) {
        for row in &self {
            black_box(row);
        }
    }

    fn own(mut self, to: &mut Vec<R>) {
        to.append(&mut self);
    }
}

impl<F: Format> Message for Batch<F> {
    type Row = F::Row;

    fn read(mut self) {
        for row in self.drain() {
            black_box(&*row);
        }
    }

    fn own(mut self, to: &mut Vec<F::Row>) {
        to.extend(self.drain().map(Cow::into_owned));
    }
}

fn write(batch: &impl ContainerBytes, to: &mut [u8]) -> usize {
    let length = batch.length_in_bytes();
    batch.into_bytes(&mut &mut to[..length]);
    length
}

fn sent(batch: &impl ContainerBytes) -> Bytes {
    let mut bytes = vec![0; batch.length_in_bytes()];
    write(batch, &mut bytes);
    BytesMut::from(bytes).freeze()
}

fn measure<M: Message>(c: &mut Criterion, name: &str, row: impl Fn(usize) -> M::Row) {
    let rows: Vec<_> = (0..buffer::default_capacity::<M::Row>()).map(row).collect();
    let batch = || M::from(rows.to_vec());
    let bytes = sent(&batch());
    println!("exchange/{name}: {} rows of {:.1} bytes", rows.len(), bytes.len() as f64 / rows.len() as f64);

    let mut group = c.benchmark_group(format!("exchange/{name}"));
    group.throughput(Throughput::Elements(rows.len() as u64));
    let (mut to, mut owned) = (vec![0; bytes.len()], Vec::with_capacity(rows.len()));
    group.bench_function("write", |b| b.iter_batched_ref(batch, |batch| write(batch, &mut to), BATCHES));
    group.bench_function("read", |b| b.iter(|| M::from_bytes(bytes.clone()).read()));
    let mut own = |bytes: Bytes| {
        owned.clear();
        M::from_bytes(bytes).own(&mut owned);
        black_box(owned.len())
    };
    group.bench_function("own", |b| b.iter(|| own(bytes.clone())));
    group.bench_function("round-trip", |b| {
        b.iter_batched_ref(batch, |batch| own(sent(batch)), BATCHES);
    });
}

pub fn bench(c: &mut Criterion) {
    measure::<Vec<_>>(c, "part/bincode", part);
    measure::<Batch<Columns<_>>>(c, "part/columns", part);

    measure::<Vec<Counts>>(c, "counts/bincode", counts);
    measure::<Batch<Columns<Counts>>>(c, "counts/columns", counts);
    measure::<Column<Counts>>(c, "counts/columnar-crate", counts);
    #[cfg(feature = "abomonation")]
    measure::<Batch<Abomonated<Counts>>>(c, "counts/abomonation", counts);

    measure::<Vec<Record>>(c, "record/bincode", record);
    measure::<Batch<Columns<Record>>>(c, "record/columns", record);
    measure::<Column<Record>>(c, "record/columnar-crate", record);
    #[cfg(feature = "abomonation")]
    measure::<Batch<Abomonated<Record>>>(c, "record/abomonation", record);
}
