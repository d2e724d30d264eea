//! Several aggregates at once: a tuple of aggregates is an aggregate whose result is the tuple of results.

use super::Aggregate;

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<T, $($name: Aggregate<T>),+> Aggregate<T> for ($($name,)+) {
            type State = ($($name::State,)+);
            type Output = ($($name::Output,)+);

            #[inline]
            fn add(&self, state: &mut Self::State, record: &T) {
                $(self.$index.add(&mut state.$index, record);)+
            }

            fn merge(&self, state: &mut Self::State, other: Self::State) {
                $(self.$index.merge(&mut state.$index, other.$index);)+
            }

            fn result(&self, state: Self::State) -> Self::Output {
                ($(self.$index.result(state.$index),)+)
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
