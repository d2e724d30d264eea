//! What a line means because of the lines before it: repetitions, and failures that are reported twice.

use super::*;

const FAILED: &str = "Failed password for root from 192.0.2.1 port 22 ssh2";

/// The failures that a partition of `lines` counts, by address, and how many lines of it are refused.
fn count(lines: &[&str]) -> (Vec<(String, u32)>, usize) {
    let mut decoder = decoder();
    let (mut counts, mut refused) = (std::collections::BTreeMap::new(), 0);
    for line in lines {
        // A checkpoint between any two lines changes nothing.
        let state = decoder.state().unwrap();
        decoder = super::decoder();
        decoder.resume(&state).unwrap();
        match decoder.decode(line.as_bytes(), NOW) {
            Ok(AuthLine { event: AuthEvent::Failed { source_ip, .. }, repeated, .. }) => {
                *counts.entry(source_ip.to_string()).or_default() += repeated;
            }
            Ok(_) => {}
            Err(_) => refused += 1,
        }
    }
    (counts.into_iter().collect(), refused)
}

fn counted(counts: &[(&str, u32)], refused: usize) -> (Vec<(String, u32)>, usize) {
    (counts.iter().map(|(address, times)| ((*address).to_owned(), *times)).collect(), refused)
}

#[test]
fn last_messages_are_repeated_per_host() {
    let a = format!("May  1 12:00:00 a sshd[1]: {FAILED}");
    let b = format!("May  1 12:00:00 b sshd[1]: {FAILED}").replace("192.0.2.1", "192.0.2.2");
    let folded = format!("May  1 12:00:00 a sshd[1]: message repeated 3 times: [ {FAILED}]");
    let again = "May  1 12:00:01 a last message repeated 4 times";
    let cron = "May  1 12:00:00 a CRON[1]: x";
    assert_eq!(count(&[&a, again]), counted(&[("192.0.2.1", 5)], 0));
    assert_eq!(count(&[&a, &b, again, again]), counted(&[("192.0.2.1", 9), ("192.0.2.2", 1)], 0));
    assert_eq!(count(&[&folded, again]), counted(&[("192.0.2.1", 7)], 0));
    assert_eq!(
        count(&[&a, "May  1 12:00:01 a syslogd: last message repeated 1 time"]),
        counted(&[("192.0.2.1", 2)], 0)
    );
    assert_eq!(count(&[&a, "May  1 12:00:01 --- last message repeated 2 times ---"]), counted(&[("192.0.2.1", 3)], 0));
    assert_eq!(count(&[&a, cron, again]), counted(&[("192.0.2.1", 1)], 0), "of another program");
    assert_eq!(count(&[again]), counted(&[], 1), "nothing was before");
    assert_eq!(count(&[&b, again]), counted(&[("192.0.2.2", 1)], 1), "of another host");
    let odd = "May  1 12:00:00 a sshd[1]: Failed password for root";
    assert_eq!(count(&[&a, odd, again]), counted(&[("192.0.2.1", 1)], 2), "the one before was refused");
    assert_eq!(count(&[&a, "no line", again]), counted(&[("192.0.2.1", 1)], 2), "it may have been of this host");
    assert_eq!(count(&[&a, "Feb 30 12:00:00 a CRON: x", again]), counted(&[("192.0.2.1", 1)], 2));
}

#[test]
fn repetitions_have_the_time_and_the_place_of_their_own_line() {
    let mut decoder = decoder();
    let mut read = |line: &str| decoder.decode(line.as_bytes(), NOW).unwrap();
    let first = read(&format!("May  1 12:00:00 a /usr/sbin/sshd[7]: {FAILED}"));
    read("May  1 12:00:00 b cron: x");
    let again = read("May  1 12:00:31 a last message repeated 4 times");
    assert_eq!((again.at.millis() - first.at.millis(), again.repeated, again.number), (31_000, 4, 2));
    assert_eq!(
        (again.host, again.program, again.pid, again.event),
        (first.host, first.program, first.pid, first.event)
    );
}

#[test]
fn a_dialogue_that_is_reported_twice_is_one_failure() {
    let pam = |pid: u32, user: &str, tail: &str| {
        format!("May  1 12:00:00 h sshd[{pid}]: error: PAM: Authentication error for {user} from 192.0.2.1{tail}")
    };
    let failed = |pid: u32, user: &str| {
        format!("May  1 12:00:01 h sshd[{pid}]: Failed keyboard-interactive/pam for {user} from 192.0.2.1 port 4 ssh2")
    };
    let one = |times| counted(&[("192.0.2.1", times)], 0);
    let dialogues: Vec<String> = (0..60).flat_map(|pid| [pam(pid, "root", ""), failed(pid, "root")]).collect();
    assert_eq!(count(&dialogues.iter().map(String::as_str).collect::<Vec<_>>()), one(60));
    let (illegal, invalid) = (pam(1, "illegal user a b", ""), failed(1, "invalid user a b"));
    assert_eq!(count(&[&illegal, &invalid]), one(1));
    assert_eq!(count(&[&illegal, &illegal]), one(2), "PAM alone");
    assert_eq!(count(&[&invalid, &invalid]), one(2), "sshd alone");
    assert_eq!(count(&[&invalid, &illegal, &invalid, &illegal]), one(2), "the other way round");
    assert_eq!(count(&[&illegal, &failed(2, "invalid user a b")]), one(2), "two processes");
    assert_eq!(count(&[&illegal, &failed(1, "invalid user c")]), one(2), "two users");
    assert_eq!(count(&[&illegal, &illegal, &invalid, &invalid]), one(2));
    assert_eq!(count(&[&pam(1, "root", " via 192.0.2.77"), &failed(1, "root")]), one(1), "as on FreeBSD");
    let repeated = "May  1 12:00:02 h last message repeated 2 times";
    assert_eq!(count(&[&illegal, &invalid, repeated]), one(3), "two more dialogues");
    assert_eq!(
        count(&[&illegal, &failed(1, "invalid user a b").replace(":01", ":59").replace("12:00", "12:01")]),
        one(2),
        "far apart"
    );
    let password = format!("May  1 12:00:00 h sshd[1]: {FAILED}");
    assert_eq!(count(&[&pam(1, "root", ""), &password]), one(2), "a password is another attempt");
}

#[test]
fn reports_of_pam_name_user_and_address() {
    let pam = |message: &str| match event(&format!("error: PAM: {message}")) {
        AuthEvent::Failed { method, user, invalid_user, source_ip, port: None } => {
            assert_eq!(method, "keyboard-interactive/pam");
            (user.to_string(), invalid_user, source_ip.to_string())
        }
        event => panic!("{event:?}"),
    };
    let of = |user: &str, invalid| (user.to_owned(), invalid, "192.0.2.1".to_owned());
    assert_eq!(pam("Authentication failure for root from 192.0.2.1"), of("root", false));
    assert_eq!(
        pam("User not known to the underlying authentication module for illegal user a from 192.0.2.1 [preauth]"),
        of("a", true)
    );
    assert_eq!(pam("Have exhausted maximum number of retries for service for root from 192.0.2.1"), of("root", false));
    assert_eq!(
        pam("Authentication failure for illegal user x from 9.9.9.9 via 8.8.8.8 from 192.0.2.1"),
        of("x from 9.9.9.9 via 8.8.8.8", true)
    );
    assert_eq!(pam("Authentication failure for illegal user  from ::ffff:192.0.2.1"), of("", true));
}

#[test]
fn lines_are_numbered_also_those_that_are_refused() {
    let mut decoder = decoder();
    let line = format!("May  1 12:00:00 a sshd[1]: {FAILED}");
    assert_eq!(decoder.decode(line.as_bytes(), NOW).unwrap().number, 0);
    assert!(decoder.decode(b"no line", NOW).is_err());
    let state = decoder.state().unwrap();
    let mut decoder = super::decoder();
    decoder.resume(&state).unwrap();
    assert_eq!(decoder.decode(line.as_bytes(), NOW).unwrap().number, 2);
    assert!(decoder.resume(b"?").is_err());
}
