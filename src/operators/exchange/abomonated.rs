//! Rows as their bytes in memory: abomonation's way to write them, behind the feature `abomonation`.
//!
//! A row is copied as it lies in memory, the texts it owns behind it, and read where it was received, after its
//! pointers have been set. Nothing is encoded or decoded, which is quick, and nothing but this file keeps it sound. The
//! only unsafe code of Tidewatch is here.
//!
//! # When it is sound
//!
//! The crate `abomonation` itself is unsound (RUSTSEC-2021-0120): it takes any type, writes padding (bytes that must
//! not be read), reads at addresses that do not fit the type, and checks nothing. So this module takes rows that are
//! [`Plain`] alone, copies what it receives to an aligned place, and compares a checksum before it believes a byte.
//! What remains is for whoever uses it to see to:
//!
//! * **One build.** Both sides run the same executable: the layout of a type may differ between two compilations. The
//!   mesh compares a hash of the executable when it forms, and refuses others.
//! * **Peers that are trusted.** The checksum finds accidents (a flipped bit, bytes of another type), not malice:
//!   whoever can write to a connection of the mesh can make a process read what it likes as what it likes. The mesh
//!   authenticates its peers when it forms and protects nothing afterwards, so its network must be one that nobody else
//!   can write to.
//! * **Peers that may see addresses.** A row's pointers are among its bytes: a peer learns where a process keeps its
//!   memory.
//!
//! Batches must not be kept: they are no format for files.
//!
//! # Example
//!
//! ```
//! use tidewatch::abomonate;
//! use tidewatch::operators::exchange::{Abomonated, exchange};
//! use tidewatch::prelude::*;
//! use tidewatch::state::key::key_group;
//!
//! abomonate! {
//!     #[derive(Event)]
//!     struct Login {
//!         #[event(time)]
//!         at: EventTime,
//!         user: String,
//!         bytes: u64,
//!     }
//! }
//!
//! /// Each user's logins on one worker, for a stage of one's own that needs them there.
//! fn build(flow: &Flow, _: &NoParams) -> Result<()> {
//!     let logins = flow.source::<Login>("logins")?;
//!     let by_user = |login: &Login| key_group(&login.user);
//!     logins
//!         .with_timely("by-user", move |logins| exchange::<Abomonated<Login>>("by-user", logins, by_user))
//!         .sink("out")
//! }
//! # fn main() {}
//! ```
#![expect(unsafe_code, reason = "abomonation copies and casts memory; the feature asks for it")]

#[cfg(test)]
mod tests;

use std::any::TypeId;
use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::slice;
use std::sync::Arc;

use foldhash::fast::FixedState;
use timely::bytes::arc::Bytes;

use super::Format;
use crate::time::EventTime;

#[doc(hidden)]
pub use abomonation::Abomonation;

/// A row whose bytes, and those of the texts it owns, are all there is to it. Declare it with
/// [`abomonate!`](crate::abomonate).
///
/// # Safety
///
/// * The type has no padding: each of its bytes belongs to a value.
/// * Its alignment is at most 8, and that of whatever it owns elsewhere is 1: that lies anywhere behind the row.
/// * Every pointer in it is one that its [`Abomonation`] writes behind the row, and sets again when it is read.
/// * The bytes of a value are a value in every process that runs the same executable, once those pointers are set.
pub unsafe trait Plain: Abomonation + Clone + Send + Sync + 'static {}

impl Abomonation for EventTime {}

macro_rules! plain {
    ($($type:ty),*) => {$(
        // SAFETY: a number or the like, without padding, pointers, or an alignment above 8; or text and bytes, whose
        // `Abomonation` writes what they own, of alignment 1, and sets their one pointer to it.
        unsafe impl Plain for $type {}
    )*};
}

plain!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64, bool, char, EventTime, String, Vec<u8>);

/// Declares a struct that can be exchanged as its bytes in memory: [`Plain`], checked field by field when it is
/// compiled.
///
/// Fields may be whole numbers up to 64 bits, `f32`, `f64`, `bool`, `char`, [`EventTime`](crate::time::EventTime),
/// `String`, `Vec<u8>`, and structs declared with this macro. Their sizes must add up to that of the struct, so that no
/// padding is between them: make a field wider, or add one, if they do not.
///
/// ```
/// tidewatch::abomonate! {
///     #[derive(Clone, Debug, PartialEq)]
///     pub struct Visit {
///         pub at: u64,
///         pub page: String,
///     }
/// }
/// ```
///
/// Padding and other types do not compile:
///
/// ```compile_fail,E0080
/// tidewatch::abomonate! {
///     #[derive(Clone)]
///     struct Visit { at: u64, admin: bool } // seven bytes of padding
/// }
/// ```
/// ```compile_fail,E0277
/// tidewatch::abomonate! {
///     #[derive(Clone)]
///     struct Visit { pages: Vec<u64> } // would lie at an address that is not one for u64
/// }
/// ```
#[macro_export]
macro_rules! abomonate {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),+
        }

        const _: () = {
            use $crate::operators::exchange::abomonated::{Abomonation, Plain};

            const fn is_plain<T: Plain>() {}
            $(is_plain::<$type>();)+
            let sizes = 0 $(+ ::core::mem::size_of::<$type>())+;
            assert!(sizes == ::core::mem::size_of::<$name>(), concat!(stringify!($name), " has padding"));
            assert!(::core::mem::align_of::<$name>() <= 8, concat!(stringify!($name), " is aligned to more than 8 bytes"));

            impl Abomonation for $name {
                unsafe fn entomb<W: ::std::io::Write>(&self, writer: &mut W) -> ::std::io::Result<()> {
                    // SAFETY: the caller keeps the same promise for the whole.
                    $(unsafe { self.$field.entomb(writer)? };)+
                    Ok(())
                }

                unsafe fn exhume<'a>(&mut self, bytes: &'a mut [u8]) -> Option<&'a mut [u8]> {
                    // SAFETY: as above; each field takes what its `entomb` wrote, in the same order.
                    $(let bytes = unsafe { self.$field.exhume(bytes)? };)+
                    Some(bytes)
                }

                fn extent(&self) -> usize {
                    0 $(+ self.$field.extent())+
                }
            }

            // SAFETY: every field is plain, and there is nothing between them.
            unsafe impl Plain for $name {}
        };
    };
}

/// Rows as they were received: how many there are and a checksum, the rows as they lay in memory, what they own.
#[derive(Clone)]
pub struct Abomonated<T> {
    rows: usize,
    /// Behind the head; words, for their alignment. Its pointers point into itself, so it is shared and never copied.
    memory: Arc<Vec<u64>>,
    of: PhantomData<fn() -> T>,
}

const WORD: usize = size_of::<u64>();
const HEAD_WORDS: usize = 2;

/// The checksum of rows of type `T`: that of another type differs, too.
fn checksum<T: 'static>(rows: u64, memory: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    (TypeId::of::<T>(), rows).hash(&mut hasher);
    hasher.write(memory);
    hasher.finish()
}

impl<T: Plain> Format for Abomonated<T> {
    type Row = T;

    fn write(rows: &[T], to: &mut Vec<u8>) {
        let head = HEAD_WORDS * WORD;
        to.resize(head, 0);
        // SAFETY: a plain row has no padding, so each byte of the slice is part of a value.
        to.extend(unsafe { slice::from_raw_parts(rows.as_ptr().cast::<u8>(), size_of_val(rows)) });
        for row in rows {
            // SAFETY: `receive` reads it as the same type.
            unsafe { row.entomb(to) }.expect("a vector takes every byte");
        }
        to.resize(to.len().next_multiple_of(WORD), 0);
        let count = rows.len() as u64;
        let sum = checksum::<T>(count, &to[head..]);
        to[..WORD].copy_from_slice(&count.to_ne_bytes());
        to[WORD..head].copy_from_slice(&sum.to_ne_bytes());
    }

    fn receive(wire: Bytes) -> Self {
        let mut words = wire.chunks_exact(WORD).map(|word| u64::from_ne_bytes(*word.first_chunk().expect("a word")));
        let (Some(count), Some(sum)) = (words.next(), words.next()) else {
            panic!("a batch begins with a header, and {} bytes are too few", wire.len())
        };
        assert!(
            wire.len().is_multiple_of(WORD) && sum == checksum::<T>(count, &wire[HEAD_WORDS * WORD..]),
            "a batch of {count} rows of {} in {} bytes is not what was sent: its checksum is another",
            std::any::type_name::<T>(),
            wire.len()
        );
        let rows = usize::try_from(count).expect("a length fits");
        let mut memory: Vec<u64> = words.collect();
        exhume::<T>(rows, &mut memory).expect("a batch with the right checksum is complete");
        Abomonated { rows, memory: Arc::new(memory), of: PhantomData }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn row(&self, i: usize) -> Cow<'_, T> {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: `exhume` made `rows` values of the words, which nobody changes, and they live as long as `self`.
        Cow::Borrowed(unsafe { &*self.memory.as_ptr().cast::<T>().add(i) })
    }
}

/// Makes values of the copied bytes of `rows` rows: sets each pointer to what lies behind the rows. `None` if that ends
/// too soon.
fn exhume<T: Plain>(rows: usize, memory: &mut [u64]) -> Option<()> {
    let bytes = size_of_val(memory);
    // SAFETY: the same memory; every byte of a word is a byte.
    let memory = unsafe { slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<u8>(), bytes) };
    let (values, mut owned) = memory.split_at_mut_checked(rows.checked_mul(size_of::<T>())?)?;
    let values = values.as_mut_ptr().cast::<T>();
    for i in 0..rows {
        // SAFETY: the checksum says that these are bytes of values of `T`, and a plain one is a value wherever it lies
        // but for its pointers, which nothing follows before `exhume` has set them. A word is aligned enough for it.
        owned = unsafe { (*values.add(i)).exhume(owned) }?;
    }
    Some(())
}
