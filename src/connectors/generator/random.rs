//! Reproducible random numbers: a sequence per decision, seeded by what identifies the decision.
//!
//! SipHash and PCG are specified to the bit, so the numbers are the same everywhere and in every version. The helpers
//! are our own because those of `rand` may change their numbers between versions.

use std::hash::Hasher;

use rand::Rng;
use rand_pcg::Pcg64Mcg;
use siphasher::sip128::{Hasher128, SipHasher13};

/// What is decided; keeps the sequences for different purposes apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum RandomPurpose {
    /// A record of the profile `auth-events`, by partition and number.
    AuthEvent = 1,
    /// The character of an address of the profile `auth-events`, by its rank.
    Character = 2,
    /// An attack, by cycle and number.
    Attack = 3,
    /// A block of lines, by host and number.
    Block = 4,
    /// An event of the profile `nexmark`, by number.
    NexmarkEvent = 5,
    /// The letters that texts of the profile `nexmark` are cut from.
    NexmarkLetters = 6,
}

/// A sequence of random numbers.
pub(super) struct Random(Pcg64Mcg);

impl Random {
    /// The sequence for thing `a`, `b` of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: RandomPurpose, a: u64, b: u64) -> Self {
        let mut hasher = SipHasher13::new_with_keys(seed, purpose as u64);
        // Bytes, since `write_u64` depends on the machine's byte order.
        hasher.write(&a.to_le_bytes());
        hasher.write(&b.to_le_bytes());
        Random(Pcg64Mcg::new(hasher.finish128().as_u128()))
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True with probability `share`.
    pub fn chance(&mut self, share: f64) -> bool {
        self.fraction() < share
    }

    /// A number from 0 to 1, which is not included.
    pub fn fraction(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `items`, which are not empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// The numbers themselves, for distributions.
    pub fn raw(&mut self) -> &mut Pcg64Mcg {
        &mut self.0
    }
}

/// The address of `rank` in 10.0.0.0/8: different ranks below 2^24 have different addresses.
pub(super) fn private_address(rank: u64) -> std::net::Ipv4Addr {
    // An odd factor and a summand permute the numbers below a power of two.
    let [_, b, c, d] = ((rank.wrapping_mul(0x9E37_79B1).wrapping_add(0x12_3456) & 0xFF_FFFF) as u32).to_be_bytes();
    std::net::Ipv4Addr::new(10, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change() {
        let mut random = Random::new(42, RandomPurpose::AuthEvent, 1, 2);
        let found: Vec<u64> = (0..4).map(|_| random.below(1_000_000)).collect();
        assert_eq!(found, PINNED);
    }

    const PINNED: [u64; 4] = [718_055, 981_493, 277_612, 763_788];

    #[test]
    fn every_argument_matters() {
        let first = |seed, purpose, a, b| Random::new(seed, purpose, a, b).below(u64::MAX);
        let all = [
            first(1, RandomPurpose::Attack, 0, 0),
            first(0, RandomPurpose::Attack, 1, 0),
            first(0, RandomPurpose::Attack, 0, 1),
            first(0, RandomPurpose::Block, 0, 0),
            first(0, RandomPurpose::Attack, 0, 0),
        ];
        assert!((1..all.len()).all(|i| !all[..i].contains(&all[i])));
    }

    #[test]
    fn ranges_hold_their_ends() {
        let mut random = Random::new(1, RandomPurpose::Block, 0, 0);
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| random.between(3, 5)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert!((0..100).all(|_| random.chance(1.0) && !random.chance(0.0)));
    }
}
