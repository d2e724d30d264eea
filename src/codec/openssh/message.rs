//! What sshd says about logins.
//!
//! User names are the attacker's text: `root from 192.0.2.1 port 22 ssh2` is a name that was seen. sshd writes the true
//! address after the name, so the *last* ` from ADDRESS port PORT` counts. After an existing user's login by key, sshd
//! writes the ID of the certificate, which is the attacker's text as well; an existing user's name holds no ` from `, so
//! there the *first* one counts.

use memchr::{memchr_iter, memrchr_iter};

use super::{Address, AuthEvent};

/// Takes `message repeated N times: [ TEXT]` off: how often, and the text.
pub(super) fn unfold(message: &str) -> (u32, &str) {
    let inner = || {
        let (count, rest) = message.strip_prefix("message repeated ")?.split_once(' ')?;
        let text = rest.strip_prefix("times: [ ")?.strip_suffix(']')?;
        // A sign would parse as well.
        count.as_bytes().first().filter(|digit| digit.is_ascii_digit())?;
        Some((count.parse().ok()?, text))
    };
    inner().unwrap_or((1, message))
}

/// The event that a message of sshd means, or `None` if it is about something else.
pub(super) fn login(message: &str) -> Option<AuthEvent> {
    // The first byte tells nearly all other messages away.
    match message.as_bytes().first()? {
        b'F' => failed(message.strip_prefix("Failed ")?),
        b'A' => match message.strip_prefix("Accepted ") {
            Some(rest) => accepted(rest),
            None => maps_to(message),
        },
        b'I' => invalid(message.strip_prefix("Invalid user ")?),
        b'r' => break_in(message.strip_prefix("reverse mapping checking getaddrinfo for ")?),
        _ => None,
    }
}

fn failed(rest: &str) -> Option<AuthEvent> {
    let (method, rest) = method(rest)?;
    let tried = rest.strip_prefix("invalid user ").and_then(|rest| user_from_port(rest, Side::Last));
    let invalid_user = tried.is_some();
    let (user, source, port) = match tried {
        Some(tried) => tried,
        None => user_from_port(rest, Side::of_known_user(method))?,
    };
    let source_ip = Address::parse(source);
    Some(AuthEvent::Failed { method: method.into(), user: user.into(), invalid_user, source_ip, port })
}

fn accepted(rest: &str) -> Option<AuthEvent> {
    let (method, rest) = method(rest)?;
    let (user, source, port) = user_from_port(rest, Side::of_known_user(method))?;
    Some(AuthEvent::Accepted { method: method.into(), user: user.into(), source_ip: Address::parse(source), port })
}

fn invalid(rest: &str) -> Option<AuthEvent> {
    let (at, source) = memrchr_iter(b' ', rest.as_bytes()).find_map(|at| Some((at, from(rest, at)?)))?;
    let port = port(&rest[at + FROM.len() + source.len()..]);
    Some(AuthEvent::InvalidUser { user: rest[..at].into(), source_ip: Address::parse(source), port })
}

/// `NAME [ADDRESS] failed - POSSIBLE BREAK-IN ATTEMPT!`
fn break_in(rest: &str) -> Option<AuthEvent> {
    let name = word(rest);
    let source = word(rest[name.len()..].strip_prefix(" [")?);
    let after = &rest[name.len() + 2 + source.len()..];
    let source = source.strip_suffix(']').filter(|source| !source.is_empty())?;
    after.starts_with(" failed - POSSIBLE BREAK-IN").then(|| AuthEvent::BreakIn { source_ip: Address::parse(source) })
}

/// `Address ADDRESS maps to NAME, but this does not map back to the address - POSSIBLE BREAK-IN ATTEMPT!`
fn maps_to(message: &str) -> Option<AuthEvent> {
    let (source, rest) = message.strip_prefix("Address ")?.split_once(" maps to ")?;
    let is_address = !source.is_empty() && word(source) == source;
    (is_address && rest.contains("POSSIBLE BREAK-IN")).then(|| AuthEvent::BreakIn { source_ip: Address::parse(source) })
}

const FROM: &str = " from ";

/// Which of several ` from ADDRESS port PORT` is sshd's own.
#[derive(Clone, Copy)]
enum Side {
    First,
    Last,
}

impl Side {
    fn of_known_user(method: &str) -> Self {
        match method {
            "publickey" | "hostbased" => Side::First,
            _ => Side::Last,
        }
    }
}

/// `METHOD for REST`.
fn method(rest: &str) -> Option<(&str, &str)> {
    let method = word(rest);
    let rest = rest[method.len()..].strip_prefix(" for ")?;
    (!method.is_empty()).then_some((method, rest))
}

/// `USER from ADDRESS port PORT …`.
fn user_from_port(rest: &str, side: Side) -> Option<(&str, &str, u16)> {
    let split = |at: usize| {
        let source = from(rest, at)?;
        let port = port(&rest[at + FROM.len() + source.len()..])?;
        Some((&rest[..at], source, port))
    };
    match side {
        Side::First => memchr_iter(b' ', rest.as_bytes()).find_map(split),
        Side::Last => memrchr_iter(b' ', rest.as_bytes()).find_map(split),
    }
}

/// The word after ` from `, if that is what begins at the space at `at`.
fn from(rest: &str, at: usize) -> Option<&str> {
    let source = word(rest[at..].strip_prefix(FROM)?);
    (!source.is_empty()).then_some(source)
}

/// ` port PORT` at the start of `rest`.
fn port(rest: &str) -> Option<u16> {
    let rest = rest.strip_prefix(" port ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

/// The text up to the first white space.
fn word(text: &str) -> &str {
    &text[..text.bytes().position(|byte| byte.is_ascii_whitespace()).unwrap_or(text.len())]
}
