//! Records into the windows of their keys, and closed windows into rows: the operators alone, on one worker.

use std::cell::Cell;
use std::rc::Rc;

use criterion::{BatchSize, Criterion, Throughput};
use tidewatch::flow::timely::WorkerConfig;
use tidewatch::flow::timely::communication::Allocator;
use tidewatch::flow::timely::communication::allocator::thread::Thread;
use tidewatch::flow::timely::dataflow::operators::{Input, Inspect, Probe};
use tidewatch::flow::timely::worker::Worker;
use tidewatch::operators::window::{WindowStage, window};
use tidewatch::prelude::*;
use tidewatch::state::snapshot::Slot;
use tidewatch::telemetry::Metrics;
use tidewatch::time::Epoch;

#[derive(Event)]
struct Login {
    #[event(time)]
    at: EventTime,
    address: Text,
    user: Text,
    failed: bool,
    bytes: u32,
}

/// Records per iteration.
const RECORDS: usize = 10_000;
const MINUTE: i64 = 60_000;

/// Events of `keys` addresses in one minute, and four users for each of them.
fn logins(minute: i64, keys: usize) -> Vec<Login> {
    let login = |i: usize| {
        let address = i * 7_919 % keys;
        Login {
            at: EventTime::from_millis(minute * MINUTE + i as i64 % MINUTE),
            address: format!("10.{}.{}.7", address / 250, address % 250).into(),
            user: format!("u{:05}", address + i % 4).into(),
            failed: i.is_multiple_of(8),
            bytes: i as u32,
        }
    };
    (0..RECORDS).map(login).collect()
}

/// Windows of a minute, for the records of each iteration; with `close`, each iteration also closes its own minute.
fn measure(c: &mut Criterion, name: &str, keys: usize, close: bool) {
    let mut group = c.benchmark_group("window");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let mut worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Thread::default()), None);
    let rows = Rc::new(Cell::new(0));
    let seen = Rc::clone(&rows);
    let stage = WindowStage {
        slot: Slot::off(),
        name: "per-address".to_owned(),
        intervals: Tumbling::of(Duration::from_secs(60)),
        keys_max: usize::MAX,
        fail: Box::new(|why| panic!("{why}")),
        metrics: Metrics::new("bench").stage("per-address", 0),
    };
    let (mut records, mut watermark, probe) = worker.dataflow::<Epoch, _, _>(|scope| {
        let (records, logins) = scope.new_input::<Vec<Login>>();
        let (watermark, marks) = scope.new_input::<Vec<EventTime>>();
        let aggregate = (
            Count,
            Sum::of(|login: &Login| u32::from(login.failed)),
            Distinct::of(|login: &Login| &login.user),
            Sum::of(|login: &Login| login.bytes),
        );
        let (windows, _) = window(stage, logins, marks, |login: &Login| login.address.clone(), aggregate);
        let (probe, _) = windows.inspect(move |_| seen.set(seen.get() + 1)).probe();
        (records, watermark, probe)
    });
    let (mut epoch, mut closed, mut minute) = (0, 0, 0);
    group.bench_function(name, |b| {
        b.iter_batched(
            || {
                minute += i64::from(close);
                (minute, logins(minute, keys))
            },
            |(minute, mut logins)| {
                records.send_batch(&mut logins);
                if close {
                    watermark.send(EventTime::from_millis((minute + 1) * MINUTE));
                    closed += 1;
                }
                epoch += 1;
                records.advance_to(epoch);
                watermark.advance_to(epoch);
                worker.step_while(|| probe.less_than(&epoch));
            },
            BatchSize::PerIteration,
        );
    });
    assert_eq!(rows.get(), closed * keys, "one row per key and minute");
}

pub fn bench(c: &mut Criterion) {
    measure(c, "apply/100-keys", 100, false);
    measure(c, "apply/10000-keys", 10_000, false);
    measure(c, "apply-and-close/100-keys", 100, true);
    measure(c, "apply-and-close/10000-keys", 10_000, true);
}
