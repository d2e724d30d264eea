//! Escapes: a stage in timely, and one in differential dataflow that keeps a recursive query up to date.

use tidewatch::flow::differential_dataflow::operators::iterate::Iterate;
use tidewatch::flow::timely::dataflow::operators::vec::Map;
use tidewatch::prelude::*;

#[derive(Event)]
struct Session {
    #[event(time)]
    at: EventTime,
    from: Text,
    to: Text,
}

/// The table `[params]` of the configuration.
#[derive(Debug, Deserialize)]
pub struct Params {
    /// The host that is known to be compromised.
    entry: Text,
}

/// The hosts that can be reached from one, and when that changes.
pub fn reach(flow: &Flow, params: &Params) -> Result<()> {
    let sessions = flow.source::<Session>("sessions")?;

    // Timely: any operator from records to records. It counts as a stage, so it has a name.
    let hops = sessions
        .with_timely("hops", |sessions| sessions.map(|session| (session.from.to_string(), session.to.to_string())));

    // Differential: every host that can be reached from the entry over any number of sessions. New sessions make the
    // result grow; only what changes is recomputed, and leaves as a change.
    let entry = params.entry.to_string();
    let reached = hops.with_collection("reached", move |hops| {
        let entry = hops.clone().map(move |(from, _)| from).filter(move |from| *from == entry).distinct();
        entry.iterate(|scope, reached| {
            let hops = hops.enter(scope);
            let next = reached.clone().map(|host| (host, ())).join_map(hops, |_, (), to| to.clone());
            reached.concat(next).distinct()
        })
    });
    reached.sink("reached")
}

fn main() -> ExitCode {
    tidewatch::main([dataflow("reach", reach).defaults("params.entry = \"gateway\"")])
}
