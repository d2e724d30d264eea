//! Input frontiers of operators, from timely's reachability log.
//!
//! The log says how many messages are in flight to each input, and how many capabilities are held at each output, by
//! epoch and over all workers. What can still arrive at an operator is the oldest of these anywhere upstream. It is
//! assumed that every input of an operator leads to each of its outputs at the same epoch: where that is not so, the
//! frontier found is older than the true one, never newer.

use std::collections::{BTreeMap, HashMap};

use timely::progress::ChangeBatch;
use timely::progress::reachability::logging::TrackerEvent;

use crate::telemetry::graph::{Channel, Frontier, Operator};
use crate::time::Epoch;

/// After every epoch: nothing can arrive.
const CLOSED: Epoch = Epoch::MAX;

/// A place where a pointstamp can be, in one scope: node and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum PointstampLocation {
    Output(usize, usize),
    Input(usize, usize),
}

/// The outstanding pointstamps of every scope whose timestamp is an epoch, by the scope's operator id.
#[derive(Default)]
pub(super) struct Pointstamps {
    scopes: BTreeMap<usize, ChangeBatch<(PointstampLocation, Epoch)>>,
}

impl Pointstamps {
    /// Adds a change. Amortised, memory is bounded by the pointstamps that are outstanding.
    pub(super) fn add(&mut self, event: TrackerEvent<Epoch>) {
        match event {
            TrackerEvent::SourceUpdate(change) => {
                let scope = self.scopes.entry(change.tracker_id).or_default();
                let at = |(node, port, epoch, diff)| ((PointstampLocation::Output(node, port), epoch), diff);
                scope.extend(change.updates.into_iter().map(at));
            }
            TrackerEvent::TargetUpdate(change) => {
                let scope = self.scopes.entry(change.tracker_id).or_default();
                let at = |(node, port, epoch, diff)| ((PointstampLocation::Input(node, port), epoch), diff);
                scope.extend(change.updates.into_iter().map(at));
            }
        }
    }

    /// Writes the frontiers of all `operators` of these scopes.
    pub(super) fn fill_in(&mut self, operators: &mut [Operator], channels: &[Channel]) {
        for (scope, changes) in &mut self.scopes {
            let Some(address) = operators.iter().find(|o| o.id == *scope).map(|o| o.address.clone()) else { continue };
            let mut oldest: BTreeMap<PointstampLocation, Epoch> = BTreeMap::new();
            for ((place, epoch), count) in changes.iter() {
                if *count > 0 {
                    let known = oldest.entry(*place).or_insert(CLOSED);
                    *known = (*known).min(*epoch);
                }
            }
            let index: HashMap<usize, usize> = operators.iter().map(|o| (o.id, node(o))).collect();
            let edges: Vec<Edge> = channels
                .iter()
                .filter(|c| c.scope == address)
                .map(|c| {
                    let node = |end: Option<usize>| end.and_then(|id| index.get(&id)).copied().unwrap_or(0);
                    Edge { source: (node(c.source.0), c.source.1), target: node(c.target.0) }
                })
                .collect();
            let frontiers = frontiers(&oldest, &edges);
            for operator in operators.iter_mut().filter(|o| o.address.split_last().is_some_and(|(_, s)| s == address)) {
                operator.frontier = match frontiers.get(&node(operator)) {
                    None | Some(&CLOSED) => Frontier::Closed,
                    Some(epoch) => Frontier::At(*epoch),
                };
            }
        }
    }
}

/// An operator's index in its scope.
fn node(operator: &Operator) -> usize {
    operator.address.last().copied().unwrap_or(0)
}

/// A channel of one scope, whose node 0 is the outside.
struct Edge {
    source: (usize, usize),
    target: usize,
}

/// The frontier of every node: at its inputs, or for a node without inputs, at its outputs.
fn frontiers(oldest: &BTreeMap<PointstampLocation, Epoch>, edges: &[Edge]) -> BTreeMap<usize, Epoch> {
    let mut inputs: BTreeMap<usize, Epoch> = edges.iter().map(|edge| (edge.target, CLOSED)).collect();
    for (place, epoch) in oldest {
        if let PointstampLocation::Input(node, _) = place {
            let known = inputs.entry(*node).or_insert(CLOSED);
            *known = (*known).min(*epoch);
        }
    }
    loop {
        let mut changed = false;
        for edge in edges {
            let held = oldest.get(&PointstampLocation::Output(edge.source.0, edge.source.1)).copied().unwrap_or(CLOSED);
            let through = if edge.source.0 == 0 { None } else { inputs.get(&edge.source.0).copied() };
            let arriving = held.min(through.unwrap_or(CLOSED));
            let known = inputs.entry(edge.target).or_insert(CLOSED);
            changed |= arriving < *known;
            *known = (*known).min(arriving);
        }
        if !changed {
            break;
        }
    }
    for (place, epoch) in oldest {
        if let PointstampLocation::Output(node, _) = place
            && !edges.iter().any(|edge| edge.target == *node)
        {
            let known = inputs.entry(*node).or_insert(CLOSED);
            *known = (*known).min(*epoch);
        }
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_upstream_decides() {
        // 1 -> 2 -> 3, and 4 -> 3; node 2 holds back epoch 7, a message of epoch 9 is on its way to 3.
        let edges = [(1, 2), (2, 3), (4, 3)].map(|(source, target)| Edge { source: (source, 0), target });
        let mut oldest = BTreeMap::from([
            (PointstampLocation::Output(1, 0), 12),
            (PointstampLocation::Output(2, 0), 7),
            (PointstampLocation::Output(4, 0), 30),
            (PointstampLocation::Input(3, 1), 9),
        ]);
        assert_eq!(frontiers(&oldest, &edges), BTreeMap::from([(1, 12), (2, 12), (3, 7), (4, 30)]));
        oldest.remove(&PointstampLocation::Output(2, 0));
        assert_eq!(frontiers(&oldest, &edges)[&3], 9);
        oldest.clear();
        assert_eq!(frontiers(&oldest, &edges)[&3], CLOSED);
    }

    #[test]
    fn a_loop_ends() {
        let edges = [(1, 2), (2, 3), (3, 2)].map(|(source, target)| Edge { source: (source, 0), target });
        let oldest = BTreeMap::from([(PointstampLocation::Output(1, 0), 5)]);
        assert_eq!(frontiers(&oldest, &edges), BTreeMap::from([(1, 5), (2, 5), (3, 5)]));
    }
}
