//! Where a dataflow's dead letters go: the sink under `dead_letters`, or a few of them into the log.
//!
//! Either way every one is counted, by source and reason.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::{Concatenate, Probe};

use super::{Environment, Flow};
use crate::connectors;
use crate::record::{DeadLetter, Reason};
use crate::runtime::source::letter::SAMPLES_MAX;
use crate::time::Epoch;

/// The name of the sink, in metrics and file names.
pub const DEAD_LETTERS: &str = "dead_letters";

/// Whether a sink takes all dead letters.
pub(super) fn are_wanted(environment: &Environment) -> bool {
    environment.sinks.contains_key(DEAD_LETTERS)
        || environment.sinks_by_default.is_some()
        || environment.node(&[DEAD_LETTERS]).is_some()
}

pub(super) fn attach<'s>(flow: &Flow<'s>, letters: Vec<StreamVec<'s, Epoch, DeadLetter>>) {
    let building = flow.building();
    let letters = building.scope.concatenate(letters);
    let environment = &building.environment;
    let connector = match (environment.sinks.get(DEAD_LETTERS), environment.node(&[DEAD_LETTERS])) {
        (Some(connector), _) => Some(connector.clone()),
        (None, Some(node)) => flow.section(DEAD_LETTERS, Some(node), connectors::kinds::sink_from_section),
        (None, None) => None,
    };
    let connector = match &environment.sinks_by_default {
        Some(make) if !environment.sinks.contains_key(DEAD_LETTERS) => Some(make(DEAD_LETTERS)),
        _ => connector,
    };
    match connector {
        Some(connector) => flow.attach_sink(DEAD_LETTERS, &letters, vec![connector], None),
        None => drop(sample(letters).probe_with(&building.sinks)),
    }
}

/// Logs the first few of each kind.
fn sample(letters: StreamVec<'_, Epoch, DeadLetter>) -> StreamVec<'_, Epoch, ()> {
    letters.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, DEAD_LETTERS, |_, _| {
        let mut seen: BTreeMap<(String, Reason), u64> = BTreeMap::new();
        move |input, _output| {
            input.for_each(|_, batch| {
                for letter in batch.drain(..) {
                    let seen = seen.entry((letter.source.clone(), letter.reason)).or_default();
                    *seen += 1;
                    if *seen <= SAMPLES_MAX as u64 {
                        let DeadLetter { reason, detail, source, partition, offset, text, .. } = letter;
                        tracing::warn!(source, partition, offset, %reason, detail, text, "dead letter");
                    }
                }
            });
        }
    })
}
