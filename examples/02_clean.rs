//! Cleaning: typed records, checks that turn what they refuse into dead letters, filters, and mapping.

use tidewatch::prelude::*;

/// A line of JSON such as `{"at":1700000000000,"user":"ann","host":"web-1","outcome":"failure"}`.
#[derive(Event)]
struct Login {
    #[event(time)]
    at: EventTime,
    user: Text,
    host: Text,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Success,
    Failure,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Failure {
    at: EventTime,
    account: String,
}

/// Failed logins, by account.
pub fn clean(flow: &Flow, _: &NoParams) -> Result<()> {
    let logins = flow.source::<Login>("logins")?.validate(|login| match login.user.as_str() {
        "" => Err("the user is empty".to_owned()),
        _ => Ok(()),
    });
    let failures = logins.filter("failures", |login| login.outcome == Outcome::Failure);
    // None, one or many records: an Option, a Vec, any iterator. Two stages of one name are an error.
    let accounts = failures.flat_map("account", |login| {
        let (at, account) = (login.at, format!("{}@{}", login.user, login.host));
        (login.user != "monitor").then_some(Failure { at, account })
    });
    accounts.sink("failures")
}

fn main() -> ExitCode {
    tidewatch::main([dataflow("clean", clean).about("failed logins by account")])
}
