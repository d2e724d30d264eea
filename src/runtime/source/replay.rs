//! The epochs of earlier generations that one worker's source replays.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::checkpoint::bindings::{PartitionBinding, SourceHistory};
use crate::connectors::source::{Partition, SourceContext};
use crate::operators::watermark::NO_PARTITION;
use crate::time::Epoch;

/// What was bound to an epoch, by partition.
type Bindings = BTreeMap<u32, PartitionBinding>;

/// What this worker's partitions had in which epoch. Which worker owned them before does not matter.
pub(super) struct EpochReplay {
    epochs: VecDeque<(Epoch, Rc<Bindings>)>,
    begun: bool,
}

impl EpochReplay {
    /// What was bound of the partitions that the worker of `context` owns now.
    pub(super) fn new(history: Option<&SourceHistory>, context: &SourceContext) -> Self {
        let own = |(epoch, bindings): (&Epoch, &Bindings)| {
            let own: Bindings = bindings
                .iter()
                .filter(|(partition, _)| match **partition {
                    NO_PARTITION => context.worker == 0,
                    partition => context.owns(Partition(partition)),
                })
                .map(|(partition, binding)| (*partition, binding.clone()))
                .collect();
            (!own.is_empty()).then(|| (*epoch, Rc::new(own)))
        };
        let epochs = history.into_iter().flat_map(|history| &history.epochs).filter_map(own).collect();
        EpochReplay { epochs, begun: false }
    }

    /// The epoch that is being replayed, if one is left.
    pub(super) fn current(&self) -> Option<(Epoch, Rc<Bindings>)> {
        self.epochs.front().cloned()
    }

    /// Whether the current epoch was not started yet; it is started now.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// The current epoch is complete.
    pub(super) fn done(&mut self) {
        self.epochs.pop_front();
        self.begun = false;
    }
}
