//! From rows to the JSON that sinks write: into memory, end to end, as the sink operator does it.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tidewatch::prelude::*;

/// The row of `dataflows/auth_windows.rs`.
#[derive(Serialize)]
struct AddressWindow {
    window_start: EventTime,
    src_ip: Text,
    count: u64,
    failures: u64,
    distinct_users: u64,
    sum_bytes: u64,
    avg_bytes: f64,
}

fn address_window(i: usize) -> AddressWindow {
    let (count, sum_bytes) = (i as u64 % 6 + 1, i as u64 * 3_571);
    AddressWindow {
        window_start: EventTime::from_millis(1_767_225_600_000),
        src_ip: format!("10.{}.{}.{}", i % 200 + 20, i * 7 % 250, i * 13 % 250).into(),
        count,
        failures: count / 2,
        distinct_users: count,
        sum_bytes,
        avg_bytes: sum_bytes as f64 / count as f64,
    }
}

fn alert(i: usize) -> Alert {
    let start = EventTime::from_millis(1_767_225_600_000);
    Alert::new("brute-force", format!("192.0.2.{}", i % 250))
        .between(start, EventTime::from_millis(start.millis() + 300_000))
        .evidence("failures", i)
        .evidence("users", i / 3)
}

fn measure<R: Serialize>(c: &mut Criterion, name: &str, rows: &[R]) {
    let mut group = c.benchmark_group("encode");
    let mut bytes = Vec::new();
    let mut encode = || {
        bytes.clear();
        for row in rows {
            serde_json::to_writer(&mut bytes, row).unwrap();
        }
        black_box(bytes.len())
    };
    group.throughput(Throughput::Bytes(encode() as u64));
    group.bench_function(name, |b| b.iter(&mut encode));
}

pub fn bench(c: &mut Criterion) {
    measure(c, "window", &(0..1_000).map(address_window).collect::<Vec<_>>());
    measure(c, "alert", &(0..1_000).map(alert).collect::<Vec<_>>());
}
