//! A field that must be there, and is not kept.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A field that must be present and of type `T`, is checked to be, and is then dropped: it takes no space.
///
/// Records with other values than `T`'s are refused, as with a field of type `T`. In a record that derives `Event` it
/// is left out when the record is written as JSON, since the value is gone; on the way between workers it is zero
/// bytes.
pub struct Ignored<T>(PhantomData<fn() -> T>);

impl<T> Ignored<T> {
    /// The only value there is.
    pub const fn new() -> Self {
        Ignored(PhantomData)
    }
}

impl<T> Default for Ignored<T> {
    fn default() -> Self {
        Ignored::new()
    }
}

impl<T> Clone for Ignored<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ignored<T> {}

impl<T> fmt::Debug for Ignored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ignored")
    }
}

impl<T> PartialEq for Ignored<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Ignored<T> {}

impl<T> PartialOrd for Ignored<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ignored<T> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl<T> Hash for Ignored<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl<T> Serialize for Ignored<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ignored<T> {
    /// Formats for people hold the value; the others hold what `serialize` wrote.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            T::deserialize(deserializer)?;
        } else {
            <()>::deserialize(deserializer)?;
        }
        Ok(Ignored::new())
    }
}
