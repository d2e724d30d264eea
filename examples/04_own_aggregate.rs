//! An aggregate of one's own: the three most common values.

use std::collections::BTreeMap;

use tidewatch::prelude::*;

/// A question to a name server.
#[derive(Event)]
pub struct Query {
    #[event(time)]
    at: EventTime,
    client: IpAddr,
    domain: Text,
}

/// The three domains asked for most often, and how often; where two are as common, the first in the alphabet.
pub struct TopDomains;

impl Aggregate<Query> for TopDomains {
    // What is kept for each key and window. Ordered, so that its order is the same everywhere.
    type State = BTreeMap<Text, u64>;
    type Output = Vec<(Text, u64)>;

    fn add(&self, state: &mut Self::State, query: &Query) {
        *state.entry(query.domain.clone()).or_default() += 1;
    }

    fn merge(&self, state: &mut Self::State, other: Self::State) {
        for (domain, count) in other {
            *state.entry(domain).or_default() += count;
        }
    }

    fn result(&self, state: Self::State) -> Self::Output {
        let mut counts: Vec<_> = state.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1)); // stable: ties stay in the alphabet's order
        counts.truncate(3);
        counts
    }
}

/// What each client asks for most, every ten minutes.
pub fn top_domains(flow: &Flow, _: &NoParams) -> Result<()> {
    let queries = flow.source::<Query>("queries")?;
    queries
        .key_by(|query| query.client)
        .window("per-client", Tumbling::of(Duration::from_secs(600)))
        .aggregate((Count, TopDomains))
        .sink("top")
}

fn main() -> ExitCode {
    tidewatch::main([dataflow("top-domains", top_domains)])
}
