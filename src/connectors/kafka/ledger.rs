//! Which sealed epochs are delivered, from delivery reports that arrive in any order.
//!
//! Rows are counted in groups, one per sealed epoch that has rows. Partitions answer independently, so a count of all
//! acknowledgements would not do: a later epoch's rows may be acknowledged before an earlier one's.

use std::collections::VecDeque;

use crate::time::Epoch;

/// A delivery that librdkafka has given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The partition, or -1 if none had been chosen.
    pub(super) partition: i32,
    /// librdkafka's reason.
    pub(super) reason: String,
}

/// The account of one writer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Number of `groups[0]`.
    first: usize,
    groups: VecDeque<Group>,
    durable: Option<Epoch>,
    failure: Option<Failure>,
}

#[derive(Debug, Default)]
struct Group {
    outstanding: u64,
    sealed: Option<Epoch>,
}

impl Ledger {
    /// A row is about to be handed to the client: the group that its delivery report must name.
    pub(super) fn sent(&mut self) -> usize {
        if self.groups.back().is_none_or(|group| group.sealed.is_some()) {
            self.groups.push_back(Group::default());
        }
        if let Some(group) = self.groups.back_mut() {
            group.outstanding += 1;
        }
        self.first + self.groups.len() - 1
    }

    /// The row was not accepted after all, or was delivered: `group` is what [`sent`](Self::sent) returned for it.
    pub(super) fn settled(&mut self, group: usize) {
        if let Some(group) = group.checked_sub(self.first).and_then(|index| self.groups.get_mut(index)) {
            group.outstanding = group.outstanding.saturating_sub(1);
        }
    }

    /// The row will never be delivered. The first such failure is kept; its epoch never becomes durable.
    pub(super) fn failed(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// All rows of `epoch` and before have been sent.
    pub(super) fn seal(&mut self, epoch: Epoch) {
        match self.groups.back_mut() {
            // An epoch without rows of its own is durable together with the one before it.
            Some(group) => group.sealed = Some(epoch),
            None => self.durable = Some(epoch),
        }
    }

    /// The newest epoch whose rows are all delivered.
    pub(super) fn durable(&mut self) -> Option<Epoch> {
        while let Some(Group { outstanding: 0, sealed: Some(epoch) }) = self.groups.front() {
            self.durable = Some(*epoch);
            self.groups.pop_front();
            self.first += 1;
        }
        self.durable
    }

    /// The first delivery that failed for good.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_later_epoch_waits_for_an_earlier_one() {
        let mut ledger = Ledger::default();
        let a = ledger.sent();
        ledger.seal(100);
        let b = ledger.sent();
        ledger.seal(200);
        ledger.settled(b);
        assert_eq!(ledger.durable(), None);
        ledger.settled(a);
        assert_eq!(ledger.durable(), Some(200));
    }

    #[test]
    fn empty_epochs_are_durable_at_once_and_cost_nothing() {
        let mut ledger = Ledger::default();
        ledger.seal(100);
        assert_eq!(ledger.durable(), Some(100));
        let a = ledger.sent();
        for epoch in 200..100_000 {
            ledger.seal(epoch);
        }
        assert_eq!((ledger.durable(), ledger.groups.len()), (Some(100), 1));
        ledger.settled(a);
        assert_eq!(ledger.durable(), Some(99_999));
    }

    #[test]
    fn a_failed_row_keeps_its_epoch_from_being_durable() {
        let mut ledger = Ledger::default();
        ledger.sent();
        ledger.seal(100);
        ledger.failed(Failure { partition: 3, reason: "too large".into() });
        ledger.failed(Failure { partition: 4, reason: "later".into() });
        assert_eq!(ledger.durable(), None);
        assert_eq!(ledger.failure().map(|failure| failure.partition), Some(3));
    }

    proptest! {
        /// Compared with the plain definition: e is durable when every row sent before e was sealed has been settled.
        #[test]
        fn equals_the_definition(steps in prop::collection::vec((0u8..3, any::<prop::sample::Index>()), 0..200)) {
            let mut ledger = Ledger::default();
            let mut open: Vec<(usize, usize)> = Vec::new(); // (group, row number)
            let (mut rows, mut epoch, mut sealed) = (0, 0, Vec::new());
            for (step, pick) in steps {
                match step {
                    0 => { open.push((ledger.sent(), rows)); rows += 1; }
                    1 if !open.is_empty() => ledger.settled(open.swap_remove(pick.index(open.len())).0),
                    _ => { epoch += 100; ledger.seal(epoch); sealed.push((epoch, rows)); }
                }
                let oldest = open.iter().map(|(_, row)| *row).min().unwrap_or(usize::MAX);
                let expected = sealed.iter().rev().find(|(_, before)| *before <= oldest).map(|(epoch, _)| *epoch);
                prop_assert_eq!(ledger.durable(), expected);
            }
        }
    }
}
