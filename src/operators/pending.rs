//! What has arrived for epochs that are not complete yet, with the capability to send at each.
//!
//! There are at most a handful of epochs in flight, so one capability per epoch costs nothing.

use std::collections::BTreeMap;

use timely::dataflow::operators::{Capability, InputCapability};

use crate::time::Epoch;

/// A value per epoch, until the epoch is complete.
#[derive(Debug)]
pub struct Pending<D> {
    port: usize,
    epochs: BTreeMap<Epoch, (Capability<Epoch>, D)>,
}

impl<D: Default> Pending<D> {
    /// Without epochs; what is retained can be sent at output `port`.
    pub fn new(port: usize) -> Self {
        Pending { port, epochs: BTreeMap::new() }
    }

    /// The value for the epoch of a message, created if there is none. `None` for messages without a time, which timely
    /// allows and nothing here sends.
    pub fn at(&mut self, capability: &InputCapability<Epoch>) -> Option<&mut D> {
        let epoch = *capability.least()?;
        let retain = || capability.retain_least(self.port).expect("a message with a least time can be retained");
        Some(&mut self.epochs.entry(epoch).or_insert_with(|| (retain(), D::default())).1)
    }

    /// Takes the value of the first epoch that is complete, `open` being the first that is not.
    pub fn take_complete(&mut self, open: Option<Epoch>) -> Option<(Capability<Epoch>, D)> {
        let first = self.epochs.first_entry()?;
        open.is_none_or(|open| *first.key() < open).then(|| first.remove())
    }

    /// Takes the value of `epoch`, complete or not.
    pub fn take(&mut self, epoch: Epoch) -> Option<(Capability<Epoch>, D)> {
        self.epochs.remove(&epoch)
    }

    /// The first epoch that has a value.
    pub fn first(&self) -> Option<Epoch> {
        self.epochs.keys().next().copied()
    }

    /// Drops all values.
    pub fn clear(&mut self) {
        self.epochs.clear();
    }
}
