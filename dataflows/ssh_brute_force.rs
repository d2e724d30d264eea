//! Brute force, password spraying, probing for users, and the success that follows failures, from OpenSSH's logs.
//!
//! Rows are of tumbling windows, each failure in one. Alerts are of hopping windows, so that an attack across the boundary of
//! one lies in another. Of the windows that hold the same attack, those raise an alert in whose last hop something happened:
//! a window in whose last hop nothing did holds no more than the one before it.

mod attempt;
mod guess;

use tidewatch::codec::openssh::{AuthEvent, AuthLine};
use tidewatch::prelude::*;

use self::attempt::{Attempt, Kind, Only, Prefix};
use self::guess::{Guess, Guessed};

/// The failures of one source in five minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Failures {
    window_start: EventTime,
    source_ip: Text,
    failures: u64,
    users: u64,
    first: EventTime,
    last: EventTime,
}

/// A source that tried many users in an hour.
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
    unknown_users_min: u64,
    failures_before_success_min: u64,
    ipv6_prefix: Prefix,
    disconnects_are_failures: bool,
}

const FIVE_MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);
/// How often windows of five minutes begin: what lasts no longer than 2.5 minutes is whole in one of them.
const FIVE_MINUTES_HOP: Duration = Duration::from_secs(150);
/// How often windows of an hour begin: what lasts no longer than 45 minutes is whole in one of them.
const HOUR_HOP: Duration = Duration::from_secs(900);

pub fn ssh_brute_force(flow: &Flow, params: &Params) -> Result<()> {
    let (prefix, disconnects) = (params.ipv6_prefix, params.disconnects_are_failures);
    let attempts = flow
        .source::<AuthLine>("auth")?
        .filter("of-sshd", AuthLine::is_of_sshd)
        .filter("about-logins", |line| !matches!(line.event, AuthEvent::Other { .. }))
        .flat_map("attempts", move |line| Attempt::of(line, prefix, disconnects));
    let tried = attempts.filter("tried", |attempt| attempt.kind != Kind::Accepted);
    let failed = tried.filter("failed", |attempt| attempt.kind == Kind::Failed);

    failed
        .key_by(|attempt| attempt.source.clone())
        .window("failures-5m", Tumbling::of(FIVE_MINUTES))
        .aggregate((
            Sum::of(|attempt: &Attempt| attempt.times),
            Distinct::of(|attempt: &Attempt| &attempt.user),
            Min::of(|attempt: &Attempt| attempt.at),
            Max::of(|attempt: &Attempt| attempt.at),
        ))
        .map("failures-row", |window| {
            let (failures, users, first, last) = window.value;
            Failures { window_start: window.start, source_ip: window.key, failures, users, first, last }
        })
        .sink("failures")?;
    failed
        .key_by(|attempt| attempt.source.clone())
        .window("users-1h", Tumbling::of(HOUR))
        .aggregate((Distinct::of(|attempt: &Attempt| &attempt.user), Sum::of(|attempt: &Attempt| attempt.times)))
        .threshold("many-users", |window| window.value.0, params.users_min)
        .map("spraying-row", |window| {
            let (users, failures) = window.value;
            Spraying { window_start: window.start, source_ip: window.key, users, failures }
        })
        .sink("spraying")?;

    let brute_force = brute_force(&failed, params);
    let many_users = many_users(&tried, params);
    let guessed = guessed(&attempts, params);
    brute_force.merge("alerts-merged", &[&many_users, &guessed]).sink_keyed("alerts", |alert| alert.key.clone())
}

/// Many failures of one source in five minutes.
fn brute_force<'s>(failed: &Stream<'s, Attempt>, params: &Params) -> Stream<'s, Alert> {
    let enough = params.failures_min;
    failed
        .key_by(|attempt| attempt.source.clone())
        .window("brute-force-5m", Hopping::of(FIVE_MINUTES).every(FIVE_MINUTES_HOP))
        .aggregate((
            Sum::of(|attempt: &Attempt| attempt.times),
            Distinct::of(|attempt: &Attempt| &attempt.user),
            Min::of(|attempt: &Attempt| attempt.at),
            Max::of(|attempt: &Attempt| attempt.at),
        ))
        .filter("brute-force", move |window| {
            window.value.0 >= enough && in_last_hop(window, window.value.3, FIVE_MINUTES_HOP)
        })
        .map("brute-force-alert", |window| {
            let (failures, users, first, last) = window.value;
            Alert::new("ssh-brute-force", &window.key)
                .severity(Severity::High)
                .between(window.start, window.end)
                .evidence("failures", failures)
                .evidence("users", users)
                .evidence("first", first.millis())
                .evidence("last", last.millis())
        })
}

/// Passwords for many users from one source in an hour; or, if they are fewer, many names of users that there are not.
fn many_users<'s>(tried: &Stream<'s, Attempt>, params: &Params) -> Stream<'s, Alert> {
    let (users_min, unknown_min) = (params.users_min, params.unknown_users_min);
    tried
        .key_by(|attempt| attempt.source.clone())
        .window("tried-1h", Hopping::of(HOUR).every(HOUR_HOP))
        .aggregate((
            Only(|attempt| attempt.kind == Kind::Failed, Distinct::of(|attempt: &Attempt| &attempt.user)),
            Only(|attempt| attempt.kind == Kind::Failed, Sum::of(|attempt: &Attempt| attempt.times)),
            Only(|attempt| attempt.unknown_user, Distinct::of(|attempt: &Attempt| &attempt.user)),
            Only(|attempt| attempt.kind == Kind::Probed, Sum::of(|attempt: &Attempt| attempt.times)),
            Max::of(|attempt: &Attempt| attempt.at),
        ))
        .filter("spraying-or-probing", move |window| {
            let (users, _, unknown, _, last) = &window.value;
            (*users >= users_min || *unknown >= unknown_min) && in_last_hop(window, *last, HOUR_HOP)
        })
        .map("spraying-or-probing-alert", move |window| {
            let (users, failures, unknown, probes, _) = window.value;
            let alert = if users >= users_min {
                Alert::new("ssh-password-spraying", &window.key)
                    .severity(Severity::Medium)
                    .evidence("users", users)
                    .evidence("failures", failures)
            } else {
                Alert::new("ssh-user-enumeration", &window.key)
                    .severity(Severity::Medium)
                    .evidence("users", unknown)
                    .evidence("probes", probes)
            };
            alert.between(window.start, window.end)
        })
}

/// A success after many failures of one source in the same hour.
fn guessed<'s>(attempts: &Stream<'s, Attempt>, params: &Params) -> Stream<'s, Alert> {
    let enough = params.failures_before_success_min;
    attempts
        .filter("failed-or-accepted", |attempt| attempt.kind != Kind::Probed)
        .key_by(|attempt| attempt.source.clone())
        .window("guessed-1h", Hopping::of(HOUR).every(HOUR_HOP))
        .aggregate(Guess)
        .filter("guessed", move |window| {
            let Guessed { failures_before, last_success } = window.value;
            failures_before >= enough && last_success.is_some_and(|last| in_last_hop(window, last, HOUR_HOP))
        })
        .map("guessed-alert", |window| {
            Alert::new("ssh-success-after-failures", &window.key)
                .severity(Severity::Critical)
                .between(window.start, window.end)
                .evidence("failures", window.value.failures_before)
                .evidence("last_success", window.value.last_success.map(EventTime::millis))
        })
}

/// Whether `at` is in the last of the hops that a window has.
fn in_last_hop<V>(window: &Window<Text, V>, at: EventTime, hop: Duration) -> bool {
    let hop_ms = i64::try_from(hop.as_millis()).unwrap_or(i64::MAX);
    at.millis() >= window.end.millis().saturating_sub(hop_ms)
}
