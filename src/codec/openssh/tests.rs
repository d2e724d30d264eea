mod order;
mod zones;

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::record::{Decoder, Reason, Rejection};

const NOW: u64 = 1_700_000_000_000;

fn decoder() -> AuthDecoder {
    AuthLine::decoder(&AuthOptions { year: Some(2017), zone: None })
}

fn decode(line: impl AsRef<[u8]>) -> Result<AuthLine, Rejection> {
    decoder().decode(line.as_ref(), NOW)
}

fn event(message: &str) -> AuthEvent {
    decode(format!("Mar 27 13:06:56 h sshd[1]: {message}")).unwrap().event
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

#[test]
fn failures() {
    let failed = |method: &str, user: &str, invalid_user, source_ip: &str, port: u16| AuthEvent::Failed {
        method: method.into(),
        user: user.into(),
        invalid_user,
        source_ip: Address::parse(source_ip),
        port: (port != 0).then_some(port),
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
            failed("keyboard-interactive/pam", "", true, "1.2.3.4", 22),
        ),
        (
            "Failed password for invalid user from 9.9.9.9 port 9 ssh2 from 1.2.3.4 port 22 ssh2",
            failed("password", "from 9.9.9.9 port 9 ssh2", true, "1.2.3.4", 22),
        ),
        ("Failed password for illegal user a from 1.2.3.4 port 22 ssh2", failed("password", "a", true, "1.2.3.4", 22)),
        ("Failed password for root from 1.2.3.4 ssh2", failed("password", "root", false, "1.2.3.4", 0)),
        ("Failed password for root from 1.2.3.4", failed("password", "root", false, "1.2.3.4", 0)),
        (
            "Failed password for invalid user x from 9.9.9.9 port 9 ssh2 from 1.2.3.4 ssh2",
            failed("password", "x from 9.9.9.9 port 9 ssh2", true, "1.2.3.4", 0),
        ),
        (
            "Failed password for invalid user a from 1.2.3.4 port 22 ssh2 from 9.9.9.9",
            failed("password", "a", true, "1.2.3.4", 22),
        ),
        (
            "Failed password for root from 1.2.3.4 port 22 ssh2 [preauth]",
            failed("password", "root", false, "1.2.3.4", 22),
        ),
        ("Failed password for root from ::ffff:1.2.3.4 port 22 ssh2", failed("password", "root", false, "1.2.3.4", 22)),
        ("Failed password for root from ::FFFF:102:304 port 22 ssh2", failed("password", "root", false, "1.2.3.4", 22)),
        ("Failed password for root from 1.2.3.004 port 22 ssh2", failed("password", "root", false, "1.2.3.4", 22)),
        (
            "Failed password for root from fe80::1%eth0 port 22 ssh2",
            failed("password", "root", false, "fe80::1%eth0", 22),
        ),
        (
            "Failed publickey for invalid user a from 9.9.9.9 port 9 ssh2: RSA SHA256:x from 1.2.3.4 port 22 ssh2: RSA SHA256:y",
            failed("publickey", "a from 9.9.9.9 port 9 ssh2: RSA SHA256:x", true, "1.2.3.4", 22),
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
            port: Some(54259)
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
fn connections_that_end_before_a_login() {
    let abandoned = |user: &str, invalid_user, source: &str, port| AuthEvent::Abandoned {
        user: user.into(),
        invalid_user,
        source_ip: ip(source),
        port,
    };
    for (message, expected) in [
        (
            "Connection closed by authenticating user root 192.0.2.5 port 4242 [preauth]",
            abandoned("root", false, "192.0.2.5", 4242),
        ),
        ("Connection reset by authenticating user root ::1 port 1", abandoned("root", false, "::1", 1)),
        ("Connection closed by invalid user  192.0.2.5 port 42 [preauth]", abandoned("", true, "192.0.2.5", 42)),
        (
            "Disconnected from invalid user a 9.9.9.9 port 9 192.0.2.5 port 42 [preauth]",
            abandoned("a 9.9.9.9 port 9", true, "192.0.2.5", 42),
        ),
        (
            "Disconnecting authenticating user root 192.0.2.6 port 22: Too many authentication failures [preauth]",
            abandoned("root", false, "192.0.2.6", 22),
        ),
    ] {
        assert_eq!(event(message), expected, "{message}");
    }
}

#[test]
fn everything_else_keeps_its_message() {
    for message in [
        "",
        "Failed to release session: Interrupted system call",
        "Accepted key ED25519 SHA256:x found at .ssh/authorized_keys:1",
        "Connection closed by 192.0.2.5 port 4242 [preauth]",
        "Connection closed by authenticating user root 192.0.2.5 port x",
        "Disconnecting invalid user a 192.0.2.6 port 22: Change of username or service not allowed: (a,x) -> (b port 9,x)",
        "Disconnected from user root 192.0.2.6 port 22",
        "error: PAM: pam_open_session(): Cannot make an entry for this session",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.4  user=root",
        "error: maximum authentication attempts exceeded for root from 192.0.2.7 port 22 ssh2 [preauth]",
        "reverse mapping checking getaddrinfo for [1.2.3.4] failed - POSSIBLE BREAK-IN",
        "reverse mapping checking getaddrinfo for x [] failed - POSSIBLE BREAK-IN",
        "reverse mapping checking getaddrinfo for x [1.2.3.4] failed.",
        "Server listening on :: port 22.",
    ] {
        assert_eq!(event(message), AuthEvent::Other { message: message.into() });
    }
    let login = "Failed password for root from 1.2.3.4 port 22 ssh2";
    let line = decode(format!("Mar 27 13:06:56 h su: {login}")).unwrap();
    assert_eq!(line.event, AuthEvent::Other { message: login.into() }, "only sshd is believed");
    assert!(!line.is_of_sshd());
    for program in ["sshd-session[7]", "sshd-auth[7]", "sshd", "/usr/sbin/sshd[7]", "sshd(pam_unix)[7]"] {
        let line = decode(format!("Mar 27 13:06:56 h {program}: {login}")).unwrap();
        assert!(line.is_of_sshd() && line.event == event(login), "{program}");
    }
    for more in ["[ID 800047 auth.info]", "sshd[7]:", " \t"] {
        let line = decode(format!("Mar 27 13:06:56 h sshd[7]: {more} {login}")).unwrap();
        assert_eq!(line.event, event(login), "{more}");
    }
    for program in ["com.apple.sshd", "SSHD", "sshd2"] {
        let why = decode(format!("Mar 27 13:06:56 h {program}[7]: {login}")).unwrap_err();
        assert!(why.detail.contains("is not known to be sshd"), "{why:?}");
        assert!(decode(format!("Mar 27 13:06:56 h {program}[7]: started")).is_ok());
    }
}

#[test]
fn messages_that_begin_like_a_login_and_go_on_in_another_way_are_refused() {
    for message in [
        "Failed",
        "Failed password",
        "Failed password for root",
        "Failed password for root from ",
        "Failed password for root from 1.2.3.4 port ssh2",
        "Failed password for root from 1.2.3.4 port 65536 ssh2",
        "Failed password for invalid user a from 9.9.9.9 port 9 ssh2 from 1.2.3.4 port 65536 ssh2",
        "Failed publickey for invalid user a from 1.2.3.4 port 22 ssh2: RSA-CERT ID b from 9.9.9.9 port 9 ssh2: RSA x (serial 0) CA RSA y",
        "Accepted",
        "Accepted password",
        "Accepted password for root",
        "Invalid user",
        "Invalid user x",
        "Invalid user x from ",
        "error: PAM: Authentication failure for root",
        "error: PAM: Authentication failure for root from 1.2.3.4 port 22",
        "message repeated 2 times: [ Failed password for root from 1.2.3.4 port 22 ssh2",
        "message repeated +2 times: [ Failed password for root from 1.2.3.4 port 22 ssh2]",
        "message repeated 0 times: [ Failed password for root from 1.2.3.4 port 22 ssh2]",
        "message repeated 4294967296 times: [ Failed password for root from 1.2.3.4 port 22 ssh2]",
    ] {
        let why = decode(format!("Mar 27 13:06:56 h sshd[1]: {message}")).expect_err(message);
        assert!(why.reason == Reason::Malformed && why.detail.starts_with("a message of sshd begins with"), "{why:?}");
    }
}

#[test]
fn heads_lead_to_the_same_record() {
    let login = "Failed password for root from 192.0.2.1 port 22 ssh2";
    let expected = event(login);
    for line in [
        format!("\u{feff}Mar 27 13:06:56 h sshd[1]: {login}"),
        format!("\0\0\0Mar 27 13:06:56 h sshd[1]: {login}\0\r\n"),
        format!("\0\u{feff}\0<38>Mar 27 13:06:56 h sshd[1]: {login} "),
        format!("Mar 27 13:06:56 h auth.info sshd[1]:  {login} [preauth]"),
        format!("<38>1 2017-03-27T13:06:56Z h sshd 1 - - {login}"),
        format!("Mon Mar 27 13:06:56 2017 h sshd[1]: {login}"),
        format!("Mar 27 2017 13:06:56 h /usr/sbin/sshd[1]: {login}"),
        format!("mars 27 13:06:56 h sshd[1] {login}"),
        format!("1490620016 h sshd[1]:\t{login}").replace(":\t", ": \t"),
        format!("2017-03-27 15:06:56+0200 h sshd[1]: {login}"),
        format!("2017-03-27T13:06:56 h sshd[1]: {login}"),
    ] {
        let line = decode(&line).unwrap_or_else(|why| panic!("{line:?}: {why:?}"));
        assert_eq!(
            (line.at.to_string().as_str(), line.host.as_str(), line.pid),
            ("2017-03-27T13:06:56Z", "h", Some(1))
        );
        assert_eq!((line.event, line.program.as_str()), (expected.clone(), "sshd"));
    }
    let line = decode(format!("Mar 27 13:06:56.789 sshd[1]: {login}")).unwrap();
    assert_eq!((line.at.to_string().as_str(), line.host.as_str()), ("2017-03-27T13:06:56.789Z", ""));
    let odd = decode(format!("Mar 27 13:06:56 h my sshd[1]: {login}")).unwrap_err();
    assert!(odd.detail.starts_with("looks like a line of sshd"), "{odd:?}");
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
    for text in ["1.2.3.4", "::ffff:1.2.3.4", "001.2.03.4"] {
        assert_eq!(Address::parse(text), ip("1.2.3.4"), "{text}");
    }
    for text in ["1.2.3.0004", "1.2.3.256", "1.2.3", "1.2.3.4.5", "1..3.4", "+1.2.3.4", "01.2.3.x"] {
        assert_eq!(Address::parse(text), Address::Name(text.into()));
    }
    let name: Address = serde_json::from_str("\"UNKNOWN\"").unwrap();
    assert_eq!(name, Address::Name("UNKNOWN".into()));
}

#[test]
fn reads_year_and_zone_from_the_source() {
    use crate::settings::Node;
    let read = |key: &str, value: Value| {
        let table = Node::code(Value::Table([(key.to_owned(), Node::code(value))].into()));
        let mut faults = Vec::new();
        let mut section = Section::new("sources.auth", Some(&table), &mut faults);
        let options = AuthLine::options(&mut section);
        section.finish();
        (options, faults.into_iter().map(|fault| fault.to_string()).collect::<Vec<_>>())
    };
    let (year, zone) = (Some(2017), Some(Zone::parse("Europe/Berlin").unwrap()));
    assert_eq!(read("year", Value::Integer(2017)), (AuthOptions { year, zone: None }, vec![]));
    assert_eq!(read("zone", Value::String("Europe/Berlin".into())), (AuthOptions { year: None, zone }, vec![]));
    let expected = "<code>: sources.auth.year: expected a year from 1970 to 9999".to_owned();
    for wrong in [Value::Integer(1969), Value::Integer(10000), Value::String("2017".into())] {
        assert_eq!(read("year", wrong), (AuthOptions::default(), vec![expected.clone()]));
    }
    for wrong in
        [Value::Integer(2), Value::String("CEST".into()), Value::String("+2".into()), Value::String("+15:00".into())]
    {
        let (options, faults) = read("zone", wrong);
        assert_eq!((options, faults.len()), (AuthOptions::default(), 1), "{faults:?}");
        assert!(faults[0].starts_with("<code>: sources.auth.zone: expected"), "{faults:?}");
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
    let mut decoder = decoder();
    let mut found = Vec::new();
    for (row, line) in log.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = decoder.decode(line, NOW).unwrap();
        let (kind, port) = match &line.event {
            AuthEvent::Failed { port, .. } => ("failed", *port),
            AuthEvent::Accepted { port, .. } => ("accepted", *port),
            AuthEvent::InvalidUser { .. } => ("invalid", None),
            AuthEvent::BreakIn { .. } => ("break_in", None),
            AuthEvent::Other { .. } | AuthEvent::Abandoned { .. } | AuthEvent::Duplicate { .. } => continue,
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
        head in "(\u{feff}|\0|<38>|<38>1 |Fri )?(Mar  7 13:06:56|Feb 29 00:00:00|2024-05-01T12:00:00Z|5月 1 00:00:00|1714557600|Ma)?(.5| 2024)? ?(h|auth.info|--- )? ?(sshd|é|/)?(\\[1?\\]?)?:? ?",
        text in "(message repeated 2 times: \\[ |last message repeated |\\[ID 1 |Last message ' repeated )?(Failed|Accepted|Invalid user|Address|error: PAM: |Connection closed by )? ?(authenticating user | for| from| port| maps to|invalid user|é|1| |\\]){0,8}",
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
        let source_ip = Address::from(source);
        let expected = AuthEvent::Failed {
            method: "password".into(), user: user.as_str().into(), invalid_user: true, source_ip: source_ip.clone(), port: Some(port),
        };
        prop_assert_eq!(
            event(&format!("Failed password for invalid user {user} from {source} port {port} ssh2")),
            expected
        );
        let expected = AuthEvent::InvalidUser { user: user.as_str().into(), source_ip, port: Some(port) };
        prop_assert_eq!(event(&format!("Invalid user {user} from {source} port {port}")), expected);
    }
}
