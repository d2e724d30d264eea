//! Sums, extremes and moments of a number per record.
//!
//! Numbers are accumulated exactly, whole numbers as they are and fractions as whole multiples of 10⁻⁶ in 128 bits, so
//! the result does not depend on the order of the records, and could be retracted. The sum of squares that the variance
//! needs is kept in multiples of 10⁻¹², saturating.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Aggregate;
use crate::record::Record;

/// Fixed-point numbers hold whole multiples of one millionth.
const SCALE: i128 = 1_000_000;

/// A number as aggregates keep it: a whole count of millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fixed(i128);

impl Fixed {
    /// The nearest `f64`.
    pub fn to_f64(self) -> f64 {
        // Whole and fractional part apart: large whole numbers stay exact.
        (self.0 / SCALE) as f64 + (self.0 % SCALE) as f64 / SCALE as f64
    }
}

/// What can be summed: whole numbers exactly, `f64` and `f32` rounded to a millionth (NaN counts as 0).
pub trait Number: Copy + 'static {
    /// The type of a sum of such numbers.
    type Sum: Record + Default + PartialEq + fmt::Debug;

    /// The type that a sum is accumulated in: wide enough that it does not saturate before the `Sum` does, and no
    /// wider, since there is one per key and window.
    type Total: Copy + Default + Serialize + DeserializeOwned + Send + 'static;

    /// The number in millionths.
    fn fixed(self) -> Fixed;

    /// The total of this number alone.
    fn total(self) -> Self::Total;

    /// The total of two totals, saturating.
    fn plus(one: Self::Total, other: Self::Total) -> Self::Total;

    /// The sum of a total, saturating.
    fn sum(total: Self::Total) -> Self::Sum;
}

macro_rules! whole_numbers {
    ($($type:ty => $total:ty => $sum:ty),*) => {$(
        impl Number for $type {
            type Sum = $sum;
            type Total = $total;
            #[inline]
            fn fixed(self) -> Fixed {
                Fixed(i128::from(self) * SCALE)
            }
            #[inline]
            fn total(self) -> $total {
                self.into()
            }
            #[inline]
            fn plus(one: $total, other: $total) -> $total {
                one.saturating_add(other)
            }
            fn sum(total: $total) -> $sum {
                let total = i128::from(total);
                <$sum>::try_from(total).unwrap_or(if total < 0 { <$sum>::MIN } else { <$sum>::MAX })
            }
        }
    )*};
}

whole_numbers!(u8 => u64 => u64, u16 => u64 => u64, u32 => u64 => u64, u64 => i128 => u64);
whole_numbers!(i8 => i64 => i64, i16 => i64 => i64, i32 => i64 => i64, i64 => i128 => i64);

macro_rules! fractions {
    ($($type:ty),*) => {$(
        impl Number for $type {
            type Sum = f64;
            type Total = Fixed;
            #[inline]
            fn fixed(self) -> Fixed {
                Fixed((f64::from(self) * SCALE as f64).round() as i128)
            }
            #[inline]
            fn total(self) -> Fixed {
                self.fixed()
            }
            #[inline]
            fn plus(one: Fixed, other: Fixed) -> Fixed {
                Fixed(one.0.saturating_add(other.0))
            }
            fn sum(total: Fixed) -> f64 {
                total.to_f64()
            }
        }
    )*};
}

fractions!(f32, f64);

/// The sum of a number over the records.
pub struct Sum<F, N>(F, PhantomData<fn() -> N>);

impl Sum<(), ()> {
    /// Sums `number(record)`: `Sum::of(|e: &Event| e.bytes)`.
    pub fn of<T, N: Number, F: Fn(&T) -> N + 'static>(number: F) -> Sum<F, N> {
        Sum(number, PhantomData)
    }
}

impl<T, N: Number, F: Fn(&T) -> N + 'static> Aggregate<T> for Sum<F, N> {
    type State = N::Total;
    type Output = N::Sum;

    #[inline]
    fn add(&self, state: &mut N::Total, record: &T) {
        *state = N::plus(*state, (self.0)(record).total());
    }

    fn merge(&self, state: &mut N::Total, other: N::Total) {
        *state = N::plus(*state, other);
    }

    fn result(&self, state: N::Total) -> N::Sum {
        N::sum(state)
    }
}

/// The mean of a number over the records.
pub struct Mean<F, N>(F, PhantomData<fn() -> N>);

impl Mean<(), ()> {
    /// Averages `number(record)`: `Mean::of(|e: &Event| e.bytes)`.
    pub fn of<T, N: Number, F: Fn(&T) -> N + 'static>(number: F) -> Mean<F, N> {
        Mean(number, PhantomData)
    }
}

impl<T, N: Number, F: Fn(&T) -> N + 'static> Aggregate<T> for Mean<F, N> {
    type State = (u64, Fixed);
    type Output = f64;

    #[inline]
    fn add(&self, state: &mut (u64, Fixed), record: &T) {
        state.0 += 1;
        state.1.0 = state.1.0.saturating_add((self.0)(record).fixed().0);
    }

    fn merge(&self, state: &mut (u64, Fixed), other: (u64, Fixed)) {
        state.0 += other.0;
        state.1.0 = state.1.0.saturating_add(other.1.0);
    }

    fn result(&self, (count, sum): (u64, Fixed)) -> f64 {
        sum.to_f64() / count as f64
    }
}

/// Count, sum and sum of squares: enough for the variance.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    sum: i128,
    squares: i128,
}

/// The population variance of a number over the records.
pub struct Variance<F, N>(F, PhantomData<fn() -> N>);

impl Variance<(), ()> {
    /// The variance of `number(record)`: `Variance::of(|e: &Event| e.bytes)`.
    pub fn of<T, N: Number, F: Fn(&T) -> N + 'static>(number: F) -> Variance<F, N> {
        Variance(number, PhantomData)
    }
}

impl<T, N: Number, F: Fn(&T) -> N + 'static> Aggregate<T> for Variance<F, N> {
    type State = Moments;
    type Output = f64;

    #[inline]
    fn add(&self, state: &mut Moments, record: &T) {
        let number = (self.0)(record).fixed().0;
        state.count += 1;
        state.sum = state.sum.saturating_add(number);
        state.squares = state.squares.saturating_add(number.saturating_mul(number));
    }

    fn merge(&self, state: &mut Moments, other: Moments) {
        state.count += other.count;
        state.sum = state.sum.saturating_add(other.sum);
        state.squares = state.squares.saturating_add(other.squares);
    }

    fn result(&self, state: Moments) -> f64 {
        // n·Σx² − (Σx)² is exact in integers, where the same difference of floats would cancel; it is rounded once.
        let n = i128::from(state.count);
        let scale = (SCALE as f64) * (SCALE as f64);
        match (n.checked_mul(state.squares), state.sum.checked_mul(state.sum)) {
            (Some(a), Some(b)) => (a - b) as f64 / (n as f64 * n as f64) / scale,
            _ => {
                let mean = state.sum as f64 / n as f64;
                (state.squares as f64 / n as f64 - mean * mean).max(0.0) / scale
            }
        }
    }
}

/// The least of something over the records.
pub struct Min<F, V>(F, PhantomData<fn() -> V>);

impl Min<(), ()> {
    /// The least `value(record)`: `Min::of(|e: &Event| e.at)`.
    pub fn of<T, V: Record + Ord, F: Fn(&T) -> V + 'static>(value: F) -> Min<F, V> {
        Min(value, PhantomData)
    }
}

/// The greatest of something over the records.
pub struct Max<F, V>(F, PhantomData<fn() -> V>);

impl Max<(), ()> {
    /// The greatest `value(record)`: `Max::of(|e: &Event| e.at)`.
    pub fn of<T, V: Record + Ord, F: Fn(&T) -> V + 'static>(value: F) -> Max<F, V> {
        Max(value, PhantomData)
    }
}

macro_rules! extreme {
    ($name:ident, $better:tt) => {
        impl<T, V: Record + Ord, F: Fn(&T) -> V + 'static> Aggregate<T> for $name<F, V> {
            type State = Option<V>;
            type Output = V;

            #[inline]
            fn add(&self, state: &mut Option<V>, record: &T) {
                self.merge_value(state, (self.0)(record));
            }

            fn merge(&self, state: &mut Option<V>, other: Option<V>) {
                if let Some(value) = other {
                    self.merge_value(state, value);
                }
            }

            fn result(&self, state: Option<V>) -> V {
                state.expect("a window has at least one record")
            }
        }

        impl<F, V: Ord> $name<F, V> {
            #[inline]
            fn merge_value(&self, state: &mut Option<V>, value: V) {
                if state.as_ref().is_none_or(|best| value $better *best) {
                    *state = Some(value);
                }
            }
        }
    };
}

extreme!(Min, <);
extreme!(Max, >);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fold<A: Aggregate<T>, T>(aggregate: &A, records: &[T]) -> A::Output {
        let mut state = A::State::default();
        records.iter().for_each(|r| aggregate.add(&mut state, r));
        aggregate.result(state)
    }

    #[test]
    fn sums_saturate_at_the_type() {
        let sum = Sum::of(|n: &u64| *n);
        assert_eq!(fold(&sum, &[u64::MAX, 1]), u64::MAX);
        assert_eq!(fold(&Sum::of(|n: &i64| *n), &[i64::MIN, -1]), i64::MIN);
        assert_eq!(fold(&Sum::of(|n: &f64| *n), &[0.1, 0.2, f64::NAN]), 0.3);
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(mut numbers in prop::collection::vec(-1e9f64..1e9, 1..40), cut in 0usize..40) {
            let (mean, variance) = (Mean::of(|n: &f64| *n), Variance::of(|n: &f64| *n));
            let whole = (fold(&mean, &numbers), fold(&variance, &numbers));
            numbers.reverse();
            let cut = cut.min(numbers.len());
            let mut states = (Default::default(), Default::default());
            for part in [&numbers[..cut], &numbers[cut..]] {
                let (mut m, mut v) = Default::default();
                part.iter().for_each(|n| { mean.add(&mut m, n); variance.add(&mut v, n); });
                mean.merge(&mut states.0, m);
                variance.merge(&mut states.1, v);
            }
            prop_assert_eq!(whole, (Aggregate::<f64>::result(&mean, states.0), Aggregate::<f64>::result(&variance, states.1)));
        }

        #[test]
        fn variance_is_that_of_the_textbook(numbers in prop::collection::vec(-1000i64..1000, 1..50)) {
            let mean = numbers.iter().sum::<i64>() as f64 / numbers.len() as f64;
            let expected = numbers.iter().map(|n| (*n as f64 - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
            let found = fold(&Variance::of(|n: &i64| *n), &numbers);
            prop_assert!((found - expected).abs() <= 1e-6 * expected.max(1.0), "{found} {expected}");
        }
    }
}
