//! Holds the epochs of a source open until their bindings are on disk.

use std::collections::VecDeque;

use timely::dataflow::operators::Capability;

use crate::checkpoint::bindings::{Binder, PartitionBinding};
use crate::time::Epoch;

/// The epochs that were read, and whose bindings are not known to be durable.
pub(super) struct EpochBinder {
    binder: Binder,
    held: VecDeque<(Epoch, Vec<Capability<Epoch>>)>,
}

impl EpochBinder {
    pub(super) fn new(binder: Binder) -> Self {
        EpochBinder { binder, held: VecDeque::new() }
    }

    /// Binds `partitions` to the epoch of `capabilities`, which stays open until the binding is durable. An epoch in
    /// which nothing changed is not bound and not held, except epoch 0, with which a worker announces that it has
    /// started.
    pub(super) fn bind(&mut self, partitions: Vec<PartitionBinding>, capabilities: &[Capability<Epoch>]) {
        if partitions.is_empty() && *capabilities[0].time() > 0 {
            return;
        }
        let epoch = *capabilities[0].time();
        self.binder.bind(epoch, partitions);
        self.held.push_back((epoch, capabilities.to_vec()));
    }

    /// Releases the epochs whose bindings are durable. Returns whether any is left.
    pub(super) fn release(&mut self) -> bool {
        while self.held.front().is_some_and(|(epoch, _)| self.binder.is_durable(*epoch)) {
            self.held.pop_front();
        }
        !self.held.is_empty()
    }
}
