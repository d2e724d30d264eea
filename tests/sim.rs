//! Deterministic simulation: the workers of whole generations run one step at a time in an order that a seed chooses,
//! which also chooses when they crash, what of their writes a crash leaves, and how the broker and the store of their
//! rows behave. What is committed in the end is compared with the results of one pass over the input.
//!
//! `TIDEWATCH_SEED=N` chooses the first seed and `TIDEWATCH_ROUNDS=N` how many follow; a failure prints its seed.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

#[path = "sim/baton.rs"]
mod baton;
#[path = "sim/broker.rs"]
mod broker;
#[path = "sim/chance.rs"]
mod chance;
#[path = "faults/check.rs"]
mod check;
#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/flow.rs"]
mod flow;
#[path = "sim/generation.rs"]
mod generation;
#[path = "sim/input.rs"]
mod input;
#[path = "sim/oracle.rs"]
mod oracle;
#[path = "sim/simulation.rs"]
mod simulation;
#[path = "sim/store.rs"]
mod store;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use simulation::{Report, simulate};

/// A number from the environment, or the default.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Runs the simulations of `rounds` seeds from `first` on, on all cores, and returns what happened in all of them.
fn simulate_all(first: u64, rounds: u64) -> Report {
    let (next, sum, wrong) = (AtomicU64::new(first), Mutex::new(Report::default()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < first + rounds
                    && wrong.lock().unwrap().is_empty()
                {
                    match simulate(seed) {
                        Ok(report) => *sum.lock().unwrap() += report,
                        Err(why) => wrong.lock().unwrap().push((seed, why)),
                    }
                }
            });
        }
    });
    if let Some((seed, why)) = wrong.into_inner().unwrap().into_iter().next() {
        panic!("TIDEWATCH_SEED={seed} TIDEWATCH_ROUNDS=1 cargo test --test sim seeds: {why}");
    }
    sum.into_inner().unwrap()
}

#[test]
fn seeds_give_the_results_of_one_pass_over_the_input() {
    let (first, rounds) = (number("TIDEWATCH_SEED", 1), number("TIDEWATCH_ROUNDS", 300));
    let sum = simulate_all(first, rounds);
    println!("{rounds} seeds: {sum:?}");
    // What never happens tests nothing.
    let happened =
        [sum.crashes, sum.stops, sum.failures, sum.torn, sum.stillborn, sum.clusters, sum.left_behind, sum.restored];
    assert!(rounds < 200 || happened.into_iter().all(|times| times > 5), "{sum:?}");
}

/// All random choices must come from the seed, or a failure could not be repeated.
#[test]
fn the_same_seed_is_the_same_simulation() {
    for seed in 1..=20 {
        let (one, other) = (simulate(seed).unwrap(), simulate(seed).unwrap());
        assert_eq!(one, other, "TIDEWATCH_SEED={seed}");
    }
}
