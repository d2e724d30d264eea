//! How many different values there are, exactly.
//!
//! Most keys see few values, so a set starts as a short list that is searched in line and becomes a hash set when it grows.

use std::hash::Hash;
use std::marker::PhantomData;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

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

/// A set of values.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "V: Record + Eq + Hash")]
pub enum Values<V> {
    /// A few, in order of arrival.
    List(Vec<V>),
    /// Many. Boxed, since most keys never have so many and each has room for this.
    Set(Box<SetOf<V>>),
}

/// A hash set that serialises as the list of its values.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<V>", into = "Vec<V>", bound = "V: Record + Eq + Hash")]
pub struct SetOf<V>(HashSet<V>);

impl<V: Eq + Hash> From<Vec<V>> for SetOf<V> {
    fn from(values: Vec<V>) -> Self {
        SetOf(values.into_iter().collect())
    }
}

impl<V> From<SetOf<V>> for Vec<V> {
    fn from(set: SetOf<V>) -> Self {
        set.0.into_iter().collect()
    }
}

impl<V> Default for Values<V> {
    fn default() -> Self {
        Values::List(Vec::new())
    }
}

impl<V: Clone + Eq + Hash> Values<V> {
    #[inline]
    fn insert(&mut self, value: &V) {
        match self {
            Values::Set(set) => {
                set.0.get_or_insert_with(value, V::clone);
            }
            Values::List(list) if list.contains(value) => {}
            Values::List(list) if list.len() < LIST_MAX => list.push(value.clone()),
            Values::List(list) => {
                let mut set: HashSet<V> = list.drain(..).collect();
                set.insert(value.clone());
                *self = Values::Set(Box::new(SetOf(set)));
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Values::List(list) => list.len(),
            Values::Set(set) => set.0.len(),
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
        match other {
            Values::List(list) => list.iter().for_each(|value| state.insert(value)),
            Values::Set(set) => set.0.iter().for_each(|value| state.insert(value)),
        }
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
