//! The sockets carry timely: two "processes" in one, each with two workers, exchange records and end cleanly.

use std::sync::atomic::{AtomicU64, Ordering};

use ::timely::WorkerConfig;
use ::timely::communication::allocator::ProcessBuilder;
use ::timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use ::timely::communication::{AllocatorBuilder, Hooks};
use ::timely::dataflow::InputHandle;
use ::timely::dataflow::operators::vec::Input;
use ::timely::dataflow::operators::{Exchange, Inspect, Probe};
use ::timely::worker::Worker;

use super::*;

const RECORDS: u64 = 100_000;

#[test]
fn timely_runs_over_the_mesh() {
    let received = Arc::new((0..4).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
    let processes: Vec<_> = configs(2)
        .into_iter()
        .map(|config| {
            let received = Arc::clone(&received);
            thread::spawn(move || run(&config, &received))
        })
        .collect();
    for process in processes {
        process.join().unwrap();
    }
    let received: Vec<u64> = received.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    assert_eq!(received, [RECORDS; 4]);
}

/// Every worker sends `RECORDS` records, an equal share to each.
fn run(config: &MeshConfig, received: &Arc<Vec<AtomicU64>>) {
    let received = Arc::clone(received);
    execute(config, move |worker| {
        let (index, received) = (worker.index(), Arc::clone(&received));
        let mut input = InputHandle::new();
        let probe = worker.dataflow::<u64, _, _>(|scope| {
            scope
                .input_from(&mut input)
                .exchange(|record: &u64| *record)
                .inspect(move |_| {
                    received[index].fetch_add(1, Ordering::Relaxed);
                })
                .probe()
                .0
        });
        for record in 0..RECORDS {
            input.send(record);
        }
        drop(input);
        worker.step_while(|| !probe.done());
    });
}

/// Forms the mesh and runs `logic` on the workers of this process.
pub(super) fn execute(config: &MeshConfig, logic: impl Fn(&mut Worker) + Send + Sync + 'static) {
    let sockets = form(config).unwrap();
    let hooks = Hooks::default();
    let local = ProcessBuilder::new_typed_vector(config.threads, hooks.refill.clone(), hooks.spill.clone());
    let (builders, guard) =
        initialize_networking_from_sockets(local, sockets, config.index, config.threads, hooks).unwrap();
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
    let guards = ::timely::execute::execute_from(builders, Box::new(guard), WorkerConfig::default(), logic);
    for outcome in guards.unwrap().join() {
        outcome.unwrap();
    }
}
