//! Users as they are first seen: each user's logins are exchanged to one worker as they lie in memory, for a stage in
//! timely that needs them together. When that is sound: `tidewatch::operators::exchange::abomonated`.
//!
//! ```sh
//! cargo run --features abomonation --example abomonated -- cluster first-seen --processes 2 --set sources.logins.path=in.jsonl
//! ```

use std::collections::BTreeSet;

use tidewatch::abomonate;
use tidewatch::flow::timely::dataflow::operators::vec::Filter;
use tidewatch::operators::exchange::{Abomonated, exchange};
use tidewatch::prelude::*;
use tidewatch::state::key::key_group;

abomonate! {
    #[derive(Event)]
    struct Login {
        #[event(time)]
        at: EventTime,
        user: String,
        host: String,
    }
}

/// Every user, once.
pub fn first_seen(flow: &Flow, _: &NoParams) -> Result<()> {
    let logins = flow.source::<Login>("logins")?;
    let first = logins.with_timely("first", |logins| {
        let by_user = exchange::<Abomonated<Login>>("by-user", logins, |login| key_group(&login.user));
        let mut seen = BTreeSet::new();
        by_user.filter(move |login| seen.insert(login.user.clone()))
    });
    // Which of a user's logins came first depends on how records of different partitions interleave; the user does not.
    first.map("user", |login| login.user).sink("users")
}

/// Logins in a file, users in a folder.
pub const DEFAULTS: &str = r#"
sources.logins = { kind = "file", path = "logins.jsonl" }
sinks.users = { kind = "file", path = "tidewatch-out/first-seen/users" }
"#;

fn main() -> ExitCode {
    tidewatch::main([dataflow("first-seen", first_seen).defaults(DEFAULTS)])
}
