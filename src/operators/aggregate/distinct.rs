//! How many different values there are, exactly.
//!
//! Most keys see few values, so a set starts as one value, becomes a short list that is searched in line, and then a
//! hash set.

use std::hash::Hash;
use std::marker::PhantomData;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize, Serializer};

use super::Aggregate;
use crate::record::Record;

/// The longest list before it becomes a hash set.
const LIST_MAX: usize = 8;

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

/// A set of values. Most keys of a window see one value and few see many, so a set takes as little room as one value,
/// and larger ones are boxed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<V>", bound = "V: Record + Eq + Hash")]
pub enum Values<V> {
    /// None.
    #[default]
    None,
    /// One.
    One(V),
    /// A few, in order of arrival; the rest is `None`.
    Few(Box<[Option<V>; LIST_MAX]>),
    /// Many.
    Many(Box<HashSet<V>>),
}

impl<V: Clone + Eq + Hash> Values<V> {
    #[inline]
    fn insert(&mut self, value: &V) {
        match self {
            Values::None => *self = Values::One(value.clone()),
            Values::One(only) if only == value => {}
            Values::Few(list) => {
                for known in list.iter_mut() {
                    match known {
                        Some(known) if known == value => return,
                        Some(_) => {}
                        None => return *known = Some(value.clone()),
                    }
                }
                self.grow(value);
            }
            Values::Many(set) => {
                set.get_or_insert_with(value, V::clone);
            }
            Values::One(_) => self.grow(value),
        }
    }

    /// Moves to the next larger form, for one more value.
    fn grow(&mut self, value: &V) {
        *self = match std::mem::take(self) {
            Values::One(only) => {
                let mut list = Box::new([const { None }; LIST_MAX]);
                (list[0], list[1]) = (Some(only), Some(value.clone()));
                Values::Few(list)
            }
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
            Values::Few(list) => list.iter().flatten().count(),
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
            // A format may need the number before the values.
            Values::Few(list) => {
                let values = list[..list.iter().flatten().count()].iter();
                serializer.collect_seq(values.map(|value| value.as_ref().expect("values have no gap between them")))
            }
            Values::Many(set) => serializer.collect_seq(set.iter()),
        }
    }
}

impl<V: Clone + Eq + Hash> From<Vec<V>> for Values<V> {
    fn from(mut values: Vec<V>) -> Self {
        if values.len() == 1 {
            return Values::One(values.swap_remove(0));
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
            Values::Few(list) => list.into_iter().flatten().collect(),
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
            let restored: Values<u32> = bincode::deserialize(&bincode::serialize(&restored).unwrap()).unwrap();
            Aggregate::<u32>::merge(&distinct, &mut one, restored);
            prop_assert_eq!(Aggregate::<u32>::result(&distinct, one), expected);
        }
    }
}
