//! All random choices of a simulation come from one seed, and are recorded in one number.

use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng;
use rand_pcg::Pcg64Mcg;

/// The random choices of one simulation; clones share them. Only one thread of a simulation runs at a time, so the
/// order of the draws is determined by the seed.
#[derive(Clone)]
pub(crate) struct Chance(Arc<Mutex<Drawn>>);

struct Drawn {
    random: Pcg64Mcg,
    trace: u64,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Pcg64Mcg::new(u128::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        Chance(Arc::new(Mutex::new(Drawn { random, trace: 0xcbf2_9ce4_8422_2325 })))
    }

    fn with<R>(&self, work: impl FnOnce(&mut Drawn) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number below `n`, which is at least 1.
    pub(crate) fn below(&self, n: u64) -> u64 {
        self.with(|drawn| {
            let number = ((u128::from(drawn.random.next_u64()) * u128::from(n)) >> 64) as u64;
            drawn.note(&n.to_le_bytes());
            drawn.note(&number.to_le_bytes());
            number
        })
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// The index of one of `weights`, each as likely as it is heavy.
    pub(crate) fn weighted(&self, weights: &[u64]) -> usize {
        let mut number = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if number < *weight {
                return index;
            }
            number -= weight;
        }
        unreachable!("the number is below the sum")
    }

    /// Records something that was seen.
    pub(crate) fn note(&self, seen: &[u8]) {
        self.with(|drawn| drawn.note(seen));
    }

    /// A hash of everything that was drawn and seen, in order.
    pub(crate) fn trace(&self) -> u64 {
        self.with(|drawn| drawn.trace)
    }
}

impl Drawn {
    /// FNV-1a: depends on the bytes and their order.
    fn note(&mut self, seen: &[u8]) {
        for byte in seen {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
