//! Testing a dataflow: scripted sources, captured sinks, a clock that only moves when told, and a batch oracle.
//!
//! A [`TestRun`] runs a dataflow to its end inside the test, on as many workers as asked for. Its sources are scripts, its
//! sinks are captured, its configuration is the dataflow's defaults with whatever the test [`set`](TestRun::set)s. Nothing
//! depends on the time of day or on the speed of the machine: in each epoch every partition takes one step (or
//! [`batch`](TestRun::batch) of them), and then the clock moves on by a tick.
//!
//! ```
//! use serde_json::json;
//! use tidewatch::prelude::*;
//! use tidewatch::testing::{TestRun, assert_same_rows, item, late};
//!
//! #[derive(Event)]
//! struct Login {
//!     #[event(time)]
//!     at: EventTime,
//!     user: Text,
//! }
//!
//! fn logins_per_minute(flow: &Flow, _: &NoParams) -> Result<()> {
//!     let logins = flow.source::<Login>("logins")?;
//!     let minutes = Tumbling::of(Duration::from_secs(60));
//!     logins.key_by(|login| login.user.clone()).window("per-user", minutes).aggregate(Count).sink("counts")
//! }
//!
//! let login = |at: i64, user: &str| item(json!({ "at": at, "user": user }));
//! let results = TestRun::new(dataflow("logins-per-minute", logins_per_minute))
//!     .set("sources.logins.out_of_order=\"5s\"")
//!     .source("logins", [login(1_000, "ann"), login(61_000, "ann"), late(login(2_000, "ann")), login(57_000, "bob")])
//!     .everywhere()?; // on 1, 2 and 4 workers, with records cut into epochs in different ways
//!
//! let row = |user: &str, start: i64| json!({ "key": user, "start": start, "end": start + 60_000, "value": 1 });
//! assert_same_rows([row("ann", 0), row("bob", 0), row("ann", 60_000)], results.json("counts"));
//! assert_eq!(results.dead_letters()[0].offset, 2);
//! # Ok::<(), tidewatch::error::Error>(())
//! ```

mod clock;
mod everywhere;
mod fuzz;
pub mod oracle;
mod pace;
mod results;
mod rows;
mod run;
mod step;

pub use clock::ManualClock;
pub use everywhere::EPOCHS_MAX;
#[doc(hidden)]
pub use fuzz::fuzz;
pub use results::Results;
pub use rows::{assert_same_rows, difference};
pub use run::TestRun;
pub use step::{Step, bytes, eof, item, late, line, pause, stop};
