//! Brute force: addresses with many failed logins in a window, and the users they tried.

use tidewatch::prelude::*;

#[derive(Event)]
struct Login {
    #[event(time)]
    at: EventTime,
    source_ip: IpAddr,
    user: Text,
    success: bool,
}

/// The table `[params]` of the configuration.
#[derive(Debug, Deserialize)]
pub struct Params {
    #[serde(with = "tidewatch::settings::duration")]
    window: Duration,
    failures_min: u64,
}

/// Addresses with many failed logins.
pub fn brute_force(flow: &Flow, params: &Params) -> Result<()> {
    let logins = flow.source::<Login>("logins")?;
    logins
        .filter("failures", |login| !login.success)
        .key_by(|login| login.source_ip)
        .window("per-address", Tumbling::of(params.window))
        .aggregate((Count, Distinct::of(|login: &Login| &login.user)))
        .threshold("many", |window| window.value.0, params.failures_min)
        .map("alert", |window| {
            Alert::new("brute-force", window.key)
                .between(window.start, window.end)
                .evidence("failures", window.value.0)
                .evidence("users", window.value.1)
        })
        .sink("alerts")
}

const DEFAULTS: &str = "params = { window = \"5m\", failures_min = 10 }";

fn main() -> ExitCode {
    tidewatch::main([dataflow("brute-force", brute_force).defaults(DEFAULTS)])
}
