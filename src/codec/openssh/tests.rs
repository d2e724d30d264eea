use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_700_000_000_000;

fn decode(line: impl AsRef<[u8]>) -> Result<AuthLine, Rejection> {
    AuthLine::decoder(&AuthOptions { year: Some(2017) }).decode(line.as_ref(), NOW)
}

fn event(message: &str) -> AuthEvent {
    decode(format!("Mar 27 13:06:56 h sshd[1]: {message}")).unwrap().event
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

#[test]
fn failures() {
    let failed = |method: &str, user: &str, invalid_user, source_ip: &str, port| AuthEvent::Failed {
        method: method.into(),
        user: user.into(),
        invalid_user,
        source_ip: Address::parse(source_ip),
        port,
    };
    for (message, expected) in [
        ("Failed password for root from 1.2.3.4 port 22 ssh2", failed("password", "root", false, "1.2.3.4", 22)),
        (
            "Failed password for invalid user  from 34.204.227.175 port 51 ssh2",
            failed("password", "", true, "34.204.227.175", 51),
        ),
        (
            "Failed none for invalid user a b from 1.1.1.1 port 1 ssh2 from 2001:db8::1 port 65535 ssh2",
            failed("none", "a b from 1.1.1.1 port 1 ssh2", true, "2001:db8::1", 65535),
        ),
        (
            "Failed publickey for root from 1.2.3.4 port 22 ssh2: RSA-CERT ID x from 9.9.9.9 port 9 (serial 0)",
            failed("publickey", "root", false, "1.2.3.4", 22),
        ),
        (
            "Failed keyboard-interactive/pam for invalid user from 1.2.3.4 port 22",
            failed("keyboard-interactive/pam", "invalid user", false, "1.2.3.4", 22),
        ),
        ("Failed password for x from UNKNOWN port 65535 ssh2", failed("password", "x", false, "UNKNOWN", 65535)),
    ] {
        assert_eq!(event(message), expected, "{message}");
    }
}

#[test]
fn other_events() {
    assert_eq!(
        event("Accepted publickey for ubuntu from 85.245.107.41 port 54259 ssh2: RSA SHA256:Kl8"),
        AuthEvent::Accepted {
            method: "publickey".into(),
            user: "ubuntu".into(),
            source_ip: ip("85.245.107.41"),
            port: 54259
        }
    );
    assert_eq!(
        event("Invalid user a from b from 95.152.57.58"),
        AuthEvent::InvalidUser { user: "a from b".into(), source_ip: ip("95.152.57.58"), port: None }
    );
    assert_eq!(
        event("Invalid user  from 95.152.57.58 port 4022"),
        AuthEvent::InvalidUser { user: "".into(), source_ip: ip("95.152.57.58"), port: Some(4022) }
    );
    let break_in = AuthEvent::BreakIn { source_ip: ip("1.2.3.4") };
    assert_eq!(
        event("reverse mapping checking getaddrinfo for x.example [1.2.3.4] failed - POSSIBLE BREAK-IN ATTEMPT!"),
        break_in
    );
    assert_eq!(
        event(
            "Address 1.2.3.4 maps to x.example, but this does not map back to the address - POSSIBLE BREAK-IN ATTEMPT!"
        ),
        break_in
    );
}

#[test]
fn everything_else_keeps_its_message() {
    for message in [
        "",
        "Failed",
        "Failed password for root from 1.2.3.4",
        "Failed password for root from 1.2.3.4 port ssh2",
        "Failed password for root from 1.2.3.4 port 65536 ssh2",
        "Failed password for root",
        "Accepted password",
        "Invalid user x from ",
        "reverse mapping checking getaddrinfo for [1.2.3.4] failed - POSSIBLE BREAK-IN",
        "reverse mapping checking getaddrinfo for x [] failed - POSSIBLE BREAK-IN",
        "reverse mapping checking getaddrinfo for x [1.2.3.4] failed.",
        "Server listening on :: port 22.",
        "message repeated 2 times: [ Failed password for root from 1.2.3.4 port 22 ssh2",
        "message repeated +2 times: [ Failed password for root from 1.2.3.4 port 22 ssh2]",
    ] {
        assert_eq!(event(message), AuthEvent::Other { message: message.into() });
    }
    let login = "Failed password for root from 1.2.3.4 port 22 ssh2";
    let line = decode(format!("Mar 27 13:06:56 h su: {login}")).unwrap();
    assert_eq!(line.event, AuthEvent::Other { message: login.into() }, "only sshd is believed");
    let line = decode(format!("Mar 27 13:06:56 h sshd-session[7]: {login}")).unwrap();
    assert!(matches!(line.event, AuthEvent::Failed { .. }), "sshd has logged in under this name since 9.8");
}

#[test]
fn repetitions_count() {
    let text = "Failed password for root from 1.2.3.4 port 22 ssh2";
    let line = decode(format!("Mar 27 13:06:56 h sshd[1]: message repeated 5 times: [ {text}]")).unwrap();
    assert_eq!((line.repeated, line.event), (5, event(text)));
    let line = decode("Mar 27 13:06:56 h cron: message repeated 2 times: [ x]").unwrap();
    assert_eq!((line.repeated, line.event), (2, AuthEvent::Other { message: "x".into() }));
}

#[test]
fn times_of_both_forms() {
    let at = |line: &str| decode(line).unwrap().at.to_string();
    assert_eq!(at("Mar 27 13:06:56 h sshd: x\r\n"), "2017-03-27T13:06:56Z");
    assert_eq!(at("2024-05-01T12:00:00.123456+02:00 h sshd: x"), "2024-05-01T10:00:00.123Z");
    assert_eq!(at("2024-05-01T12:00:00Z h sshd: x"), "2024-05-01T12:00:00Z");
    assert_eq!(decode("Mar 32 13:06:56 h sshd: x").unwrap_err().reason, Reason::Malformed);
    assert!(decode("Feb 29 13:06:56 h sshd: x").unwrap_err().detail.contains("2017"));
}

#[test]
fn bytes_that_are_no_utf_8_are_replaced_and_not_lost() {
    let line = b"Mar 27 13:06:56 h sshd[1]: Failed password for invalid user \xff\xfe from 1.2.3.4 port 22 ssh2";
    let event = decode(line).unwrap().event;
    assert_eq!(event.user().unwrap(), "\u{fffd}\u{fffd}");
    assert_eq!(event.source_ip(), Some(&ip("1.2.3.4")));
}

#[test]
fn addresses_are_text_in_json() {
    let line = decode("Mar 27 13:06:56 h sshd[1]: Invalid user x from 2001:DB8:0::1 port 5").unwrap();
    let json = serde_json::to_string(&line).unwrap();
    assert!(json.contains(r#""source_ip":"2001:db8::1""#), "{json}");
    assert_eq!(serde_json::from_str::<AuthLine>(&json).unwrap(), line);
    let name: Address = serde_json::from_str("\"UNKNOWN\"").unwrap();
    assert_eq!(name, Address::Name("UNKNOWN".into()));
}

#[test]
fn reads_the_year_from_the_source() {
    use crate::settings::Node;
    let read = |year: Value| {
        let table = Node::code(Value::Table([("year".to_owned(), Node::code(year))].into()));
        let mut faults = Vec::new();
        let mut section = Section::new("sources.auth", Some(&table), &mut faults);
        let options = AuthLine::options(&mut section);
        section.finish();
        (options.year, faults.into_iter().map(|fault| fault.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(read(Value::Integer(2017)), (Some(2017), vec![]));
    let expected = "<code>: sources.auth.year: expected a year from 1970 to 9999".to_owned();
    for wrong in [Value::Integer(1969), Value::Integer(10000), Value::String("2017".into())] {
        assert_eq!(read(wrong), (None, vec![expected.clone()]));
    }
}

/// The real log, against what an independent program made of it.
#[test]
fn equals_the_oracle_on_a_real_log() {
    let shared = std::env::var_os("TIDEWATCH_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    let (Ok(log), Ok(expected)) = (
        std::fs::read(shared.join("data/auth/auth.log")),
        std::fs::read_to_string(shared.join("expected/auth/events.jsonl")),
    ) else {
        eprintln!("left out: no auth log in {}", shared.display());
        return;
    };
    let mut decoder = AuthLine::decoder(&AuthOptions { year: Some(2017) });
    let mut found = Vec::new();
    for (row, line) in log.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = decoder.decode(line, NOW).unwrap();
        let (kind, port) = match &line.event {
            AuthEvent::Failed { port, .. } => ("failed", Some(*port)),
            AuthEvent::Accepted { port, .. } => ("accepted", Some(*port)),
            AuthEvent::InvalidUser { .. } => ("invalid", None),
            AuthEvent::BreakIn { .. } => ("break_in", None),
            AuthEvent::Other { .. } => continue,
        };
        found.push(serde_json::json!({
            "row": row, "ts": line.at.millis() / 1000, "kind": kind, "method": line.event.method(),
            "user": line.event.user(), "ip": line.event.source_ip(), "port": port, "n": line.repeated,
        }));
    }
    let expected: Vec<serde_json::Value> = expected
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &serde_json::Value| event["ip"].is_string())
        .collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        fuzz(&bytes);
    }

    #[test]
    fn no_nearly_right_line_panics(
        head in "(Mar  7 13:06:56|Feb 29 00:00:00|2024-05-01T12:00:00Z|Ma)? ?h? ?(sshd|é)?(\\[1?\\]?)?:? ?",
        text in "(message repeated 2 times: \\[ )?(Failed|Accepted|Invalid user|Address)? ?( for| from| port| maps to|invalid user|é|1| ){0,8}",
    ) {
        fuzz(format!("{head}{text}").as_bytes());
    }

    /// Whatever the user is called, the address and the port are sshd's.
    #[test]
    fn a_user_name_cannot_forge_the_source(
        user in "\\PC{0,20}( from 9.9.9.9 port 9 ssh2)?( from | port |:|\\]|\\[){0,3}\\PC{0,20}",
        source: std::net::IpAddr,
        port: u16,
    ) {
        let source_ip = Address::Ip(source);
        let expected = AuthEvent::Failed {
            method: "password".into(), user: user.as_str().into(), invalid_user: true, source_ip: source_ip.clone(), port,
        };
        prop_assert_eq!(
            event(&format!("Failed password for invalid user {user} from {source} port {port} ssh2")),
            expected
        );
        let expected = AuthEvent::InvalidUser { user: user.as_str().into(), source_ip, port: Some(port) };
        prop_assert_eq!(event(&format!("Invalid user {user} from {source} port {port}")), expected);
    }
}
