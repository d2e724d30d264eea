//! Keys, and the stable hash that decides which worker owns one.
//!
//! Placement must survive restarts with another number of workers, so keys fall into a fixed number of key groups by a
//! hash that is specified (SipHash-1-3 with a fixed key) and not by a hash map's own, which no library promises to
//! keep.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

use crate::record::Record;

/// What records can be keyed by. Implemented for every type that has these traits.
pub trait Key: Record + Ord + Hash + std::fmt::Debug {}

impl<K: Record + Ord + Hash + std::fmt::Debug> Key for K {}

/// How many key groups there are: the unit in which keyed state is placed. Fixed for the life of a state.
pub const KEY_GROUPS: u64 = 512;

const HASH_KEY: (u64, u64) = (0x7469_6465_7761_7463, 0x6820_6b65_7920_6772);

/// The group of a key: the same in every run.
///
/// It depends on the bytes that the key's `Hash` feeds, which Rust only keeps for one version of a type, and in which
/// integers are in the machine's byte order.
pub fn key_group<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(HASH_KEY.0, HASH_KEY.1);
    key.hash(&mut hasher);
    hasher.finish() % KEY_GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn groups_are_a_format_that_must_not_change() {
        let groups = [key_group("root"), key_group(&7u64), key_group(&IpAddr::V4(Ipv4Addr::LOCALHOST))];
        assert_eq!(groups, [12, 440, 327]);
    }

    #[test]
    fn spreads_keys_over_groups() {
        let mut seen = vec![0u32; KEY_GROUPS as usize];
        (0..100_000u64).for_each(|key| seen[key_group(&key) as usize] += 1);
        assert!(seen.iter().all(|n| (100..300).contains(n)), "{seen:?}");
    }
}
