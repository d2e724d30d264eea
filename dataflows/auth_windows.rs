//! Authentication events per source address and minute: counts, failures, distinct users, bytes, and an alert for
//! addresses with many failures. The workload that the engine's speed is measured on.

use tidewatch::prelude::*;

/// One authentication event, as a line of JSON. What the dataflow does not need may be absent.
#[derive(Event)]
struct AuthEvent {
    #[event(time)]
    ts: EventTime,
    #[event(default)]
    host: Ignored<Text>,
    src_ip: Text,
    user: Text,
    #[event(default)]
    action: Ignored<Text>,
    outcome: Outcome,
    bytes: u32,
    #[event(default)]
    message: Ignored<Text>,
}

/// The outcome of the event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Success,
    Failure,
    /// Any other value that a host may write.
    #[serde(other)]
    Other,
}

/// What an address did in one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AddressWindow {
    window_start: EventTime,
    src_ip: Text,
    count: u64,
    failures: u64,
    distinct_users: u64,
    sum_bytes: u64,
    avg_bytes: f64,
}

/// An address whose failures in a window reached the limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FailureAlert {
    window_start: EventTime,
    src_ip: Text,
    failures: u64,
}

/// The parameters in `config/auth-windows.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(with = "tidewatch::settings::duration")]
    window: Duration,
    failures_min: u64,
}

/// An address that a host writes as IPv6 although it is IPv4 (`::ffff:192.0.2.1`), as IPv4: it is one address, and one
/// key.
fn unmapped(address: &Text) -> Text {
    // Bytes, since each event comes by: as text they would be checked to be UTF-8 again.
    if !address.as_bytes().starts_with(b"::ffff:") {
        return address.clone();
    }
    match address.strip_prefix("::ffff:").filter(|rest| rest.contains('.')) {
        Some(rest) => Text::from(rest),
        None => address.clone(),
    }
}

pub fn auth_windows(flow: &Flow, params: &Params) -> Result<()> {
    let events = flow.source::<AuthEvent>("events")?;
    let windows = events
        .key_by(|event| unmapped(&event.src_ip))
        .window("per-address", Tumbling::of(params.window))
        .aggregate((
            Count,
            Sum::of(|event: &AuthEvent| u32::from(event.outcome == Outcome::Failure)),
            Distinct::of(|event: &AuthEvent| &event.user),
            Sum::of(|event: &AuthEvent| event.bytes),
        ))
        .map("row", |window| {
            let (count, failures, distinct_users, sum_bytes) = window.value;
            let avg_bytes = sum_bytes as f64 / count as f64;
            AddressWindow {
                window_start: window.start,
                src_ip: window.key,
                count,
                failures,
                distinct_users,
                sum_bytes,
                avg_bytes,
            }
        });
    windows.sink("windows")?;

    let failures_min = params.failures_min;
    windows
        .filter("many-failures", move |row| row.failures >= failures_min)
        .map("alert", |row| FailureAlert { window_start: row.window_start, src_ip: row.src_ip, failures: row.failures })
        .sink("alerts")
}
