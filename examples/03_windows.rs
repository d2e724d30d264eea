//! Windows of event time: tumbling and hopping, and several aggregates at once.

use tidewatch::prelude::*;

#[derive(Event)]
struct Request {
    #[event(time)]
    at: EventTime,
    client: IpAddr,
    path: Text,
    bytes: u64,
    seconds: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Traffic {
    minute: EventTime,
    client: IpAddr,
    requests: u64,
    paths: u64,
    bytes: u64,
    slowest_ms: u64,
    mean_seconds: f64,
}

/// Requests per client and minute, and clients per path and hour.
pub fn traffic(flow: &Flow, _: &NoParams) -> Result<()> {
    let requests = flow.source::<Request>("requests")?;

    // Each request is in one window of a minute; a row leaves per client and minute, when the minute is over.
    requests
        .key_by(|request| request.client)
        .window("per-minute", Tumbling::of(Duration::from_secs(60)))
        .aggregate((
            Count,
            Distinct::of(|request: &Request| &request.path),
            Sum::of(|request: &Request| request.bytes),
            Max::of(|request: &Request| (request.seconds * 1000.0) as u64),
            Mean::of(|request: &Request| request.seconds),
        ))
        .map("traffic-row", |window| {
            let (requests, paths, bytes, slowest_ms, mean_seconds) = window.value;
            Traffic { minute: window.start, client: window.key, requests, paths, bytes, slowest_ms, mean_seconds }
        })
        .sink("traffic")?;

    // Each request is in twelve windows of an hour, one of which ends every five minutes. Without map, a row is a
    // Window: {"key":…,"start":…,"end":…,"value":…}.
    requests
        .key_by(|request| request.path.clone())
        .window("per-hour", Hopping::of(Duration::from_secs(3600)).every(Duration::from_secs(300)))
        .aggregate(Distinct::of(|request: &Request| &request.client))
        .sink("clients-per-path")
}

fn main() -> ExitCode {
    tidewatch::main([dataflow("traffic", traffic)])
}
