//! Sums log events, and builds a graph of the sums.
//!
//! Events are frequent and publications are rare: an event is an addition at an index, and whatever needs a search,
//! such as which operators a channel joins, waits for the publication. Identifiers come from one counter per worker, so
//! they serve as indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use differential_dataflow::logging::DifferentialEvent;
use timely::logging::{ChannelsEvent, OperatesEvent, ParkEvent, StartStop, TimelyEvent};

use super::frontiers::Pointstamps;
use crate::telemetry::graph::{Arrangement, Channel, Frontier, Operator, WorkerGraph};

/// The sums of a worker's log events.
#[derive(Default)]
pub(super) struct Collected {
    operators: Vec<Option<OperatorSums>>,
    channels: Vec<Option<ChannelSums>>,
    /// Pointstamp counts, from the reachability log.
    pub(super) pointstamps: Pointstamps,
    parked: Duration,
    parked_at: Option<Duration>,
}

#[derive(Default)]
struct OperatorSums {
    name: String,
    address: Vec<usize>,
    started: Option<Duration>,
    busy: Duration,
    activations: u64,
    arrangement: Option<(i64, i64)>,
    shut_down: bool,
}

struct ChannelSums {
    scope: Vec<usize>,
    source: (usize, usize),
    target: (usize, usize),
    sent: u64,
    received: u64,
}

impl Collected {
    /// Adds an event that timely logged `at` after its start.
    pub(super) fn timely(&mut self, at: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Messages(message) => {
                if let Some(Some(channel)) = self.channels.get_mut(message.channel) {
                    let sum = if message.is_send { &mut channel.sent } else { &mut channel.received };
                    *sum += u64::try_from(message.record_count).unwrap_or(0);
                }
            }
            TimelyEvent::Schedule(schedule) => {
                let Some(Some(operator)) = self.operators.get_mut(schedule.id) else { return };
                match schedule.start_stop {
                    StartStop::Start => operator.started = Some(at),
                    StartStop::Stop => {
                        if let Some(started) = operator.started.take() {
                            operator.busy += at.saturating_sub(started);
                            operator.activations += 1;
                        }
                    }
                }
            }
            TimelyEvent::Park(ParkEvent::Park(_)) => self.parked_at = Some(at),
            TimelyEvent::Park(ParkEvent::Unpark) => {
                if let Some(parked_at) = self.parked_at.take() {
                    self.parked += at.saturating_sub(parked_at);
                }
            }
            TimelyEvent::Operates(OperatesEvent { id, addr, name }) => {
                let sums = OperatorSums { name, address: addr, ..OperatorSums::default() };
                *slot(&mut self.operators, id) = Some(sums);
            }
            TimelyEvent::Channels(ChannelsEvent { id, scope_addr, source, target, .. }) => {
                let sums = ChannelSums { scope: scope_addr, source, target, sent: 0, received: 0 };
                *slot(&mut self.channels, id) = Some(sums);
            }
            TimelyEvent::Shutdown(shutdown) => {
                if let Some(Some(operator)) = self.operators.get_mut(shutdown.id) {
                    operator.shut_down = true;
                }
            }
            _ => {}
        }
    }

    /// Adds an event of differential's.
    pub(super) fn differential(&mut self, event: DifferentialEvent) {
        let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let (id, records, batches) = match event {
            DifferentialEvent::Batch(batch) => (batch.operator, signed(batch.length), 1),
            DifferentialEvent::Drop(dropped) => (dropped.operator, -signed(dropped.length), -1),
            DifferentialEvent::Merge(merge) => match merge.complete {
                Some(length) => (merge.operator, signed(length) - signed(merge.length1) - signed(merge.length2), -1),
                None => return,
            },
            _ => return,
        };
        if let Some(Some(operator)) = self.operators.get_mut(id) {
            let sums = operator.arrangement.get_or_insert_default();
            sums.0 += records;
            sums.1 += batches;
        }
    }

    /// The graph, with all figures so far.
    pub(super) fn graph(&mut self, worker: usize, now_ms: u64) -> WorkerGraph {
        let channels = self.resolved_channels();
        let scopes: BTreeSet<&[usize]> =
            self.operators.iter().flatten().filter_map(|o| o.address.split_last()).map(|(_, scope)| scope).collect();
        let records_in = records_in(&channels);
        let records_out = records_out(&channels);
        let mut operators = Vec::new();
        for (id, sums) in self.operators.iter().enumerate() {
            let Some(sums) = sums else { continue };
            operators.push(Operator {
                id,
                name: sums.name.clone(),
                address: sums.address.clone(),
                scope: scopes.contains(&sums.address[..]),
                records_in: records_in.get(&id).copied().unwrap_or(0),
                records_out: records_out.get(&id).copied().unwrap_or(0),
                activations: sums.activations,
                busy_seconds: sums.busy.as_secs_f64(),
                frontier: Frontier::Unknown,
                arrangement: sums.arrangement.map(|(records, batches)| Arrangement {
                    records: u64::try_from(records).unwrap_or(0),
                    batches: u64::try_from(batches).unwrap_or(0),
                    bytes: None,
                }),
                shut_down: sums.shut_down,
            });
        }
        self.pointstamps.fill_in(&mut operators, &channels);
        WorkerGraph { worker, published_ms: now_ms, parked_seconds: self.parked.as_secs_f64(), operators, channels }
    }

    fn resolved_channels(&self) -> Vec<Channel> {
        let ids: HashMap<(&[usize], usize), usize> = (self.operators.iter().enumerate())
            .filter_map(|(id, sums)| sums.as_ref().map(|sums| (id, sums)))
            .filter_map(|(id, sums)| sums.address.split_last().map(|(index, scope)| ((scope, *index), id)))
            .collect();
        let mut channels = Vec::new();
        for (id, sums) in self.channels.iter().enumerate() {
            let Some(sums) = sums else { continue };
            let operator = |index| ids.get(&(&sums.scope[..], index)).copied();
            channels.push(Channel {
                id,
                scope: sums.scope.clone(),
                source: (operator(sums.source.0), sums.source.1),
                target: (operator(sums.target.0), sums.target.1),
                sent: sums.sent,
                received: sums.received,
            });
        }
        channels
    }
}

fn records_in(channels: &[Channel]) -> BTreeMap<usize, u64> {
    let mut sums = BTreeMap::new();
    for channel in channels {
        if let (Some(operator), _) = channel.target {
            *sums.entry(operator).or_default() += channel.received;
        }
    }
    sums
}

/// Every reader of an output has a channel that carries all of it, so an output has sent as many records as the channel
/// that carried most.
fn records_out(channels: &[Channel]) -> BTreeMap<usize, u64> {
    let mut outputs: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for channel in channels {
        if let (Some(operator), port) = channel.source {
            let sent = outputs.entry((operator, port)).or_default();
            *sent = channel.sent.max(*sent);
        }
    }
    let mut sums = BTreeMap::new();
    for ((operator, _), sent) in outputs {
        *sums.entry(operator).or_default() += sent;
    }
    sums
}

fn slot<T>(slots: &mut Vec<Option<T>>, id: usize) -> &mut Option<T> {
    if slots.len() <= id {
        slots.resize_with(id + 1, || None);
    }
    &mut slots[id]
}
