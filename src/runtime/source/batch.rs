//! Collects records into batches that fit the first-level cache and the allocator's small sizes.

/// About how large a batch of records is.
const BATCH_BYTES: usize = 32 * 1024;

/// Records in batches.
#[derive(Clone)]
pub(super) struct Batches<T> {
    full: Vec<Vec<T>>,
    open: Vec<T>,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Batches { full: Vec::new(), open: Vec::new() }
    }
}

impl<T> Batches<T> {
    #[inline(always)]
    pub(super) fn push(&mut self, record: T) {
        if self.open.len() == self.open.capacity() {
            self.turn();
        }
        self.open.push(record);
    }

    /// Begins another batch.
    #[cold]
    fn turn(&mut self) {
        let next = Vec::with_capacity((BATCH_BYTES / size_of::<T>().max(1)).clamp(16, 4096));
        let full = std::mem::replace(&mut self.open, next);
        if !full.is_empty() {
            self.full.push(full);
        }
    }

    /// Every record, in the order they came.
    pub(super) fn into_records(self) -> impl Iterator<Item = T> {
        self.full.into_iter().flatten().chain(self.open)
    }

    /// All batches, for sending; none is left.
    pub(super) fn take(&mut self) -> Vec<Vec<T>> {
        if !self.open.is_empty() {
            self.full.push(std::mem::take(&mut self.open));
        }
        std::mem::take(&mut self.full)
    }
}
