//! Brute force, password spraying and the success that follows, from OpenSSH's logs.

use std::collections::BTreeMap;

use tidewatch::codec::openssh::{AuthEvent, AuthLine};
use tidewatch::prelude::*;

/// A login attempt with a password.
#[derive(Event)]
struct Attempt {
    #[event(time)]
    at: EventTime,
    source_ip: Text,
    user: Text,
    accepted: bool,
    /// How often it happened: the log folds repetitions into one line.
    times: u32,
}

/// The failures of one address in five minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Failures {
    window_start: EventTime,
    source_ip: Text,
    failures: u64,
    users: u64,
    first: EventTime,
    last: EventTime,
}

/// An address that tried many users in an hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Spraying {
    window_start: EventTime,
    source_ip: Text,
    users: u64,
    failures: u64,
}

/// What `config/ssh-brute-force.toml` sets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    failures_min: u64,
    users_min: u64,
    failures_before_success_min: u64,
}

const FIVE_MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);

pub fn ssh_brute_force(flow: &Flow, params: &Params) -> Result<()> {
    let lines = flow.source::<AuthLine>("auth")?;
    let attempts = lines.flat_map("password-attempts", attempt);
    let failed = attempts.filter("failed", |attempt| !attempt.accepted);

    let per_five_minutes = failed
        .key_by(|attempt| attempt.source_ip.clone())
        .window("failures-5m", Tumbling::of(FIVE_MINUTES))
        .aggregate((
            Sum::of(|attempt: &Attempt| attempt.times),
            Distinct::of(|attempt: &Attempt| &attempt.user),
            Min::of(|attempt: &Attempt| attempt.at),
            Max::of(|attempt: &Attempt| attempt.at),
        ));
    per_five_minutes
        .map("failures-row", |window| {
            let (failures, users, first, last) = window.value;
            Failures { window_start: window.start, source_ip: window.key, failures, users, first, last }
        })
        .sink("failures")?;
    let brute_force = per_five_minutes.threshold("brute-force", |window| window.value.0, params.failures_min).map(
        "brute-force-alert",
        |window| {
            Alert::new("ssh-brute-force", &window.key)
                .severity(Severity::High)
                .between(window.start, window.end)
                .evidence("failures", window.value.0)
                .evidence("users", window.value.1)
                .evidence("first", window.value.2.millis())
                .evidence("last", window.value.3.millis())
        },
    );

    let spraying = failed
        .key_by(|attempt| attempt.source_ip.clone())
        .window("users-1h", Tumbling::of(HOUR))
        .aggregate((Distinct::of(|attempt: &Attempt| &attempt.user), Sum::of(|attempt: &Attempt| attempt.times)))
        .threshold("many-users", |window| window.value.0, params.users_min);
    spraying
        .map("spraying-row", |window| {
            let (users, failures) = window.value;
            Spraying { window_start: window.start, source_ip: window.key, users, failures }
        })
        .sink("spraying")?;
    let sprayed = spraying.map("spraying-alert", |window| {
        Alert::new("ssh-password-spraying", &window.key)
            .severity(Severity::Medium)
            .between(window.start, window.end)
            .evidence("users", window.value.0)
            .evidence("failures", window.value.1)
    });

    let enough = params.failures_before_success_min;
    let succeeded = attempts
        .key_by(|attempt| attempt.source_ip.clone())
        .window("guessed-1h", Tumbling::of(HOUR))
        .aggregate(Guess)
        .filter("guessed", move |window| window.value.before_success() >= enough)
        .map("guessed-alert", |window| {
            Alert::new("ssh-success-after-failures", &window.key)
                .severity(Severity::Critical)
                .between(window.start, window.end)
                .evidence("failures", window.value.before_success())
                .evidence("last_success", window.value.last_success.map(EventTime::millis))
        });

    brute_force.merge("alerts-merged", &[&sprayed, &succeeded]).sink_keyed("alerts", |alert| alert.key.clone())
}

/// The password attempt in a line, if there is one.
fn attempt(line: AuthLine) -> Option<Attempt> {
    let (method, user, source_ip, accepted) = match line.event {
        AuthEvent::Failed { method, user, source_ip, .. } => (method, user, source_ip, false),
        AuthEvent::Accepted { method, user, source_ip, .. } => (method, user, source_ip, true),
        _ => return None,
    };
    (method == "password").then(|| Attempt {
        at: line.at,
        source_ip: Text::from(source_ip.to_string()),
        user,
        accepted,
        times: line.repeated,
    })
}

/// The failures of an address, and its last success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Guessing {
    /// How many failures there were at each time; the log's times are seconds, so these are few.
    failures: BTreeMap<EventTime, u64>,
    last_success: Option<EventTime>,
}

impl Guessing {
    /// How many failures came before the last success; none if there was no success.
    fn before_success(&self) -> u64 {
        self.last_success.map_or(0, |success| self.failures.range(..=success).map(|(_, times)| times).sum())
    }
}

/// Collects attempts in a [`Guessing`].
struct Guess;

impl Aggregate<Attempt> for Guess {
    type State = Guessing;
    type Output = Guessing;

    fn add(&self, state: &mut Guessing, attempt: &Attempt) {
        if attempt.accepted {
            state.last_success = state.last_success.max(Some(attempt.at));
        } else {
            *state.failures.entry(attempt.at).or_default() += u64::from(attempt.times);
        }
    }

    fn merge(&self, state: &mut Guessing, other: Guessing) {
        for (at, times) in other.failures {
            *state.failures.entry(at).or_default() += times;
        }
        state.last_success = state.last_success.max(other.last_success);
    }

    fn result(&self, state: Guessing) -> Guessing {
        state
    }
}
