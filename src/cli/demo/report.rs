//! The table at the end: what was planted beside what was found.

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;

use crate::connectors::generator::openssh::{Attack, AttackKind};
use crate::detect::alert::Alert;
use crate::time::EventTime;

/// Alerts that the table shows when nothing is known of the log.
const SHOWN_MAX: usize = 40;

/// Prints the alerts, beside what was planted if that is known.
pub(super) fn print(alerts: &[Alert], planted: &[Attack]) {
    if planted.is_empty() {
        show!("{}", found_alone(alerts));
        if alerts.len() > SHOWN_MAX {
            show!("… and {} more in the files.", alerts.len() - SHOWN_MAX);
        }
        return;
    }
    show!("{}", beside(alerts, planted));
    let missed = planted.iter().filter(|attack| !alerts.iter().any(|alert| raised_by(attack, alert))).count();
    let stray = alerts.iter().filter(|alert| !planted.iter().any(|attack| concerns(attack, alert))).count();
    show!(
        "{} attacks planted, {} found, {missed} missed; {} alerts, {stray} of them about nobody that was planted.",
        planted.len(),
        planted.len() - missed,
        alerts.len()
    );
}

fn beside(alerts: &[Alert], planted: &[Attack]) -> Table {
    let mut table = table(["planted", "source", "from (UTC)", "until", "failures", "users", "alerts raised"]);
    for attack in planted {
        let mut raised: Vec<String> =
            alerts.iter().filter(|alert| concerns(attack, alert)).map(|alert| alert.rule.clone()).collect();
        raised.sort();
        let mut counted: Vec<(String, usize)> = Vec::new();
        for rule in raised {
            match counted.last_mut() {
                Some((last, count)) if *last == rule => *count += 1,
                _ => counted.push((rule, 1)),
            }
        }
        let raised: Vec<String> = counted
            .into_iter()
            .map(|(rule, count)| if count == 1 { rule } else { format!("{rule} ×{count}") })
            .collect();
        table.add_row([
            kind(attack.kind).to_owned(),
            attack.source_ip.to_string(),
            clock(attack.from),
            clock(attack.until),
            attack.failures.to_string(),
            attack.users.len().to_string(),
            if raised.is_empty() { "none".to_owned() } else { raised.join("\n") },
        ]);
    }
    table
}

fn found_alone(alerts: &[Alert]) -> Table {
    let mut table = table(["rule", "source", "window (UTC)", "severity", "evidence"]);
    let mut alerts: Vec<&Alert> = alerts.iter().collect();
    alerts.sort_by(|a, b| (a.window_start, &a.key, &a.rule).cmp(&(b.window_start, &b.key, &b.rule)));
    for alert in alerts.into_iter().take(SHOWN_MAX) {
        let evidence: Vec<String> = alert
            .evidence
            .iter()
            .filter(|(name, _)| ["failures", "users"].contains(&name.as_str()))
            .map(|(name, value)| format!("{value} {name}"))
            .collect();
        table.add_row([
            alert.rule.clone(),
            alert.key.clone(),
            format!("{} to {}", alert.window_start, clock(alert.window_end)),
            format!("{:?}", alert.severity).to_lowercase(),
            evidence.join(", "),
        ]);
    }
    table
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

fn kind(kind: AttackKind) -> &'static str {
    match kind {
        AttackKind::BruteForce => "brute force",
        AttackKind::Spraying => "password spraying",
        AttackKind::SuccessAfterFailures => "success after failures",
    }
}

/// The rule that has to fire for an attack.
fn rule(kind: AttackKind) -> &'static str {
    match kind {
        AttackKind::BruteForce => "ssh-brute-force",
        AttackKind::Spraying => "ssh-password-spraying",
        AttackKind::SuccessAfterFailures => "ssh-success-after-failures",
    }
}

/// Whether an alert is about an attack's address at the attack's time.
fn concerns(attack: &Attack, alert: &Alert) -> bool {
    alert.key == attack.source_ip.to_string() && alert.window_start < attack.until && attack.from < alert.window_end
}

fn raised_by(attack: &Attack, alert: &Alert) -> bool {
    concerns(attack, alert) && alert.rule == rule(attack.kind)
}

/// The time of day.
fn clock(time: EventTime) -> String {
    time.to_string().get(11..19).unwrap_or_default().to_owned()
}
