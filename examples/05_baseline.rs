//! A baseline per key: alerts on users who send far more than they usually do.

use tidewatch::prelude::*;

#[derive(Event)]
struct Transfer {
    #[event(time)]
    at: EventTime,
    user: Text,
    bytes: u64,
}

/// The table `[params]` of the configuration; what is not written there has the defaults below.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    #[serde(with = "tidewatch::settings::duration")]
    window: Duration,
    warm_up: u64,
    deviations: f64,
}

/// The configuration compiled into the program: in a project of one's own, `include_str!` of a file.
pub const DEFAULTS: &str = r#"
[params]
window = "1h"    # how long a user's bytes are added up
warm_up = 24     # windows that a user needs before being judged
deviations = 4.0 # how unusual a window must be

[sources.transfers]
kind = "file"
path = "transfers.jsonl"
out_of_order = "30s"
"#;

/// Users who send more than they usually do.
pub fn exfiltration(flow: &Flow, params: &Params) -> Result<()> {
    // A difference of a megabyte is not news, however regular a user is.
    let baseline = Baseline { warm_up: params.warm_up, floor: 1e6, ..Baseline::default() };
    let deviations = params.deviations;
    let transfers = flow.source::<Transfer>("transfers")?;
    transfers
        .key_by(|transfer| transfer.user.clone())
        .window("bytes-per-user", Tumbling::of(params.window))
        .aggregate(Sum::of(|transfer: &Transfer| transfer.bytes))
        .baseline("usual", |window| window.value as f64, baseline)
        .filter("unusual", move |scored| scored.score >= deviations)
        .map("alert", |scored| {
            Alert::new("unusual-upload", &scored.window.key)
                .severity(Severity::High)
                .between(scored.window.start, scored.window.end)
                .evidence("bytes", scored.window.value)
                .evidence("usual", scored.mean)
                .evidence("deviations", scored.score)
        })
        .sink("alerts")
}

fn main() -> ExitCode {
    tidewatch::main([dataflow("exfiltration", exfiltration).defaults(DEFAULTS)])
}
