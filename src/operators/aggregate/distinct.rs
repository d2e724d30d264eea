//! How many different values there are, exactly.
//!
//! Most keys see few values, so a set starts as one value, becomes a short list that is searched in line, and then a hash set.

use std::hash::Hash;
use std::marker::PhantomData;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize, Serializer};

use super::Aggregate;
use crate::record::Record;

/// The longest list before it becomes a hash set.
const LIST_MAX: usize = 16;

/// How many different values of something the records have.
pub struct Distinct<F, V>(F, PhantomData<fn() -> V>);

impl Distinct<(), ()> {
    /// Counts the different `value(record)`: `Distinct::of(|e: &Event| &e.user)`.
    ///
    /// A value is cloned when it is first seen in a window, and not again.
    pub fn of<T, V: Record + Eq + Hash, F: Fn(&T) -> &V + 'static>(value: F) -> Distinct<F, V> {
        Distinct(value, PhantomData)
    }
}

/// A set of values. Most keys of a window see one value and few see many, so a set takes as little room as one value, and
/// what is larger is elsewhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<V>", bound = "V: Record + Eq + Hash")]
pub enum Values<V> {
    /// None.
    #[default]
    None,
    /// One.
    One(V),
    /// A few, in order of arrival.
    #[expect(clippy::box_collection, reason = "a vector is three times as large as the box, for every key")]
    Few(Box<Vec<V>>),
    /// Many.
    Many(Box<HashSet<V>>),
}

impl<V: Clone + Eq + Hash> Values<V> {
    #[inline]
    fn insert(&mut self, value: &V) {
        match self {
            Values::None => *self = Values::One(value.clone()),
            Values::One(only) if only == value => {}
            Values::Many(set) => {
                set.get_or_insert_with(value, V::clone);
            }
            Values::Few(list) if list.contains(value) => {}
            Values::Few(list) if list.len() < LIST_MAX => list.push(value.clone()),
            Values::One(_) | Values::Few(_) => self.grow(value),
        }
    }

    /// Moves to the next larger form, for one more value.
    fn grow(&mut self, value: &V) {
        *self = match std::mem::take(self) {
            Values::One(only) => Values::Few(Box::new(vec![only, value.clone()])),
            smaller => {
                let mut set: HashSet<V> = smaller.into();
                set.insert(value.clone());
                Values::Many(Box::new(set))
            }
        };
    }

    fn len(&self) -> usize {
        match self {
            Values::None => 0,
            Values::One(_) => 1,
            Values::Few(list) => list.len(),
            Values::Many(set) => set.len(),
        }
    }
}

/// A list: serde's own `into` would clone every value to make one.
impl<V: Serialize> Serialize for Values<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Values::None => serializer.collect_seq::<[&V; 0]>([]),
            Values::One(only) => serializer.collect_seq([only]),
            Values::Few(list) => serializer.collect_seq(list.iter()),
            Values::Many(set) => serializer.collect_seq(set.iter()),
        }
    }
}

impl<V: Clone + Eq + Hash> From<Vec<V>> for Values<V> {
    fn from(mut values: Vec<V>) -> Self {
        // What was written by one of these holds every value once: it is taken as it is.
        let differ = |values: &[V]| (1..values.len()).all(|i| !values[..i].contains(&values[i]));
        match values.len() {
            1 => return Values::One(values.swap_remove(0)),
            2..=LIST_MAX if differ(&values) => return Values::Few(Box::new(values)),
            _ => {}
        }
        let mut set = Values::None;
        values.iter().for_each(|value| set.insert(value));
        set
    }
}

impl<V> From<Values<V>> for Vec<V> {
    fn from(values: Values<V>) -> Self {
        match values {
            Values::None => Vec::new(),
            Values::One(only) => vec![only],
            Values::Few(list) => *list,
            Values::Many(set) => set.into_iter().collect(),
        }
    }
}

impl<V: Eq + Hash> From<Values<V>> for HashSet<V> {
    fn from(values: Values<V>) -> Self {
        match values {
            Values::Many(set) => *set,
            smaller => Vec::from(smaller).into_iter().collect(),
        }
    }
}

impl<T: 'static, V: Record + Eq + Hash, F: Fn(&T) -> &V + 'static> Aggregate<T> for Distinct<F, V> {
    type State = Values<V>;
    type Output = u64;

    #[inline]
    fn add(&self, state: &mut Values<V>, record: &T) {
        state.insert((self.0)(record));
    }

    fn merge(&self, state: &mut Values<V>, other: Values<V>) {
        // The smaller one goes into the larger.
        let smaller = if other.len() > state.len() { std::mem::replace(state, other) } else { other };
        Vec::from(smaller).iter().for_each(|value| state.insert(value));
    }

    fn result(&self, state: Values<V>) -> u64 {
        state.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_like_a_set(values in prop::collection::vec(0u32..60, 0..200), cut in 0usize..200) {
            let distinct = Distinct::of(|v: &u32| v);
            let expected = values.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
            let (mut one, mut other) = (Values::default(), Values::default());
            for (i, value) in values.iter().enumerate() {
                distinct.add(if i < cut { &mut one } else { &mut other }, value);
            }
            let restored: Values<u32> = serde_json::from_str(&serde_json::to_string(&other).unwrap()).unwrap();
            Aggregate::<u32>::merge(&distinct, &mut one, restored);
            prop_assert_eq!(Aggregate::<u32>::result(&distinct, one), expected);
        }
    }
}
