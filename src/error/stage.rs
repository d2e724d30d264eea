//! Which stage this thread works on, so that a panic in a dataflow's own code can say where it happened.
//!
//! Entering is one store into a thread-local, cheap enough for every batch and even for every record. Names are never
//! freed; a dataflow has few of them.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

static NAMES: Mutex<Vec<Arc<str>>> = Mutex::new(Vec::new());

thread_local! {
    /// The index of the current name in `NAMES`, counted from 1; 0 outside of stages.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The name of a stage, a source or a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageName(usize);

impl StageName {
    /// The handle of `name`. Looks it up in a table: fetch it once, when a stage is built.
    pub fn of(name: &str) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|known| **known == *name);
        StageName(
            1 + known.unwrap_or_else(|| {
                names.push(Arc::from(name));
                names.len() - 1
            }),
        )
    }

    /// This thread works on the stage until the guard is dropped.
    #[inline]
    pub fn enter(self) -> Entered {
        Entered { outer: CURRENT.replace(self.0) }
    }
}

/// Restores what this thread worked on before [`StageName::enter`].
#[must_use = "the stage is left when the guard is dropped"]
#[derive(Debug)]
pub struct Entered {
    outer: usize,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

/// The stage that this thread works on. Never blocks: it is called while the process panics.
pub fn current() -> Option<Arc<str>> {
    let place = CURRENT.get().checked_sub(1)?;
    NAMES.try_lock().ok()?.get(place).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_nest_and_equal_names_are_one() {
        let (outer, inner) = (StageName::of("outer"), StageName::of("inner"));
        assert_eq!(outer, StageName::of("outer"));
        assert_ne!(outer, inner);
        // Another test's thread may hold the table for a moment.
        let now = || std::iter::repeat_with(current).take(100_000).flatten().next();
        assert_eq!(current(), None);
        let entered = outer.enter();
        {
            let _inner = inner.enter();
            assert_eq!(now().as_deref(), Some("inner"));
        }
        assert_eq!(now().as_deref(), Some("outer"));
        drop(entered);
        assert_eq!(current(), None);
    }
}
