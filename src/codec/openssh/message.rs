//! Parses what sshd writes about logins.
//!
//! User names are the attacker's text: `root from 192.0.2.1 port 22 ssh2` is a name that was seen. sshd writes the true
//! address after the name, so the *last* ` from ADDRESS port PORT` counts. After an existing user's login by key, sshd
//! writes the ID of the certificate, which is the attacker's text as well; an existing user's name contains no ` from
//! `, so there the *first* one counts. Where both ends are the attacker's text and name different addresses, the line
//! is refused.

use memchr::{memchr_iter, memrchr_iter};

use super::{Address, AuthEvent};

/// The method of a dialogue, as sshd names it if PAM conducts it.
const DIALOGUE: &str = "keyboard-interactive/pam";

/// What a message of sshd means.
pub(super) enum Meaning {
    /// A login, or another event of [`AuthEvent`].
    Event(AuthEvent),
    /// A failed dialogue as PAM reports it; sshd may report the same one itself.
    OfPam(AuthEvent),
    /// Something else.
    Other,
}

/// Why a message that begins like one about a login is refused.
const ODD_FAILED: &str = "begins with \"Failed\", and is not \"Failed METHOD for USER from ADDRESS[ port PORT]\"";
const ODD_ACCEPTED: &str = "begins with \"Accepted\", and is not \"Accepted METHOD for USER from ADDRESS[ port PORT]\"";
const ODD_INVALID: &str = "begins with \"Invalid user\", and is not \"Invalid user USER from ADDRESS[ port PORT]\"";
const ODD_PAM: &str = "begins with \"error: PAM:\", and is not \"error: PAM: REASON for USER from ADDRESS\"";
const ODD_REPEATED: &str = "begins with \"message repeated\", and is not \"message repeated N times: [ MESSAGE]\"";

/// The text of a message without what daemons add to it: blanks, on Solaris `[ID NUMBER FACILITY.LEVEL]`, and a second
/// tag where a daemon put its own before it.
#[inline]
pub(super) fn trim(text: &str) -> &str {
    let text = text.trim_start_matches([' ', '\t']);
    match text.as_bytes().first() {
        Some(b'[' | b's') => without_more(text),
        _ => text,
    }
}

fn without_more(text: &str) -> &str {
    if let Some((id, rest)) = text.strip_prefix("[ID ").and_then(|inner| inner.split_once("] "))
        && id.as_bytes().first().is_some_and(u8::is_ascii_digit)
    {
        return rest.trim_start_matches(' ');
    }
    let again = || {
        let (pid, rest) = text.strip_prefix("sshd[")?.split_once("]: ")?;
        pid.bytes().all(|byte| byte.is_ascii_digit()).then_some(rest)
    };
    again().unwrap_or(text)
}

/// Unwraps `message repeated N times: [ TEXT]`: returns how often, and the text.
///
/// # Errors
/// If it begins like that and continues differently.
pub(super) fn unfold(message: &str) -> Result<(u32, &str), &'static str> {
    let Some(rest) = message.strip_prefix("message repeated ") else { return Ok((1, message)) };
    let inner = || {
        let (count, rest) = rest.split_once(' ')?;
        let text = rest.strip_prefix("times: [ ").or_else(|| rest.strip_prefix("times: ["))?.strip_suffix(']')?;
        // A sign would parse as well.
        count.as_bytes().first().filter(|digit| digit.is_ascii_digit())?;
        count.parse().ok().filter(|count| *count > 0).map(|count| (count, text))
    };
    inner().ok_or(ODD_REPEATED)
}

/// What a message of sshd means, or why it is refused although it is about a login.
pub(super) fn read(message: &str) -> Result<Meaning, &'static str> {
    let event = |event: Option<AuthEvent>| event.map_or(Meaning::Other, Meaning::Event);
    // The first byte rules out nearly all other messages.
    match message.as_bytes().first() {
        Some(b'F') => match behind(message, "Failed") {
            // "Failed to …" is about something else.
            Some(rest) if !rest.starts_with("to ") => failed(rest).map(Meaning::Event).ok_or(ODD_FAILED),
            _ => Ok(Meaning::Other),
        },
        Some(b'A') => match behind(message, "Accepted") {
            // With LogLevel VERBOSE it also writes which key it accepted.
            Some(rest) if matches!(word(rest), "key" | "certificate") => Ok(Meaning::Other),
            Some(rest) => accepted(rest).map(Meaning::Event).ok_or(ODD_ACCEPTED),
            None => Ok(event(maps_to(message))),
        },
        Some(b'I') => match behind(message, "Invalid user").or_else(|| behind(message, "Illegal user")) {
            Some(rest) => invalid(rest).map(Meaning::Event).ok_or(ODD_INVALID),
            None => Ok(Meaning::Other),
        },
        Some(b'e') => match message.strip_prefix("error: PAM: ") {
            Some(rest) => pam(rest),
            None => Ok(Meaning::Other),
        },
        Some(b'C' | b'D') => Ok(event(abandoned(message))),
        Some(b'r') => Ok(event(message.strip_prefix("reverse mapping checking getaddrinfo for ").and_then(break_in))),
        _ => Ok(Meaning::Other),
    }
}

/// What follows `start`: a blank, or nothing.
fn behind<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(start)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
}

fn failed(rest: &str) -> Option<AuthEvent> {
    let (method, rest) = method(rest)?;
    let (user, invalid_user) = without_invalid(rest);
    let AddressTail { user, source, port } = if invalid_user && is_key(method) {
        unforged(user)?
    } else if invalid_user {
        last(user)?
    } else {
        of_known_user(method, user)?
    };
    let source_ip = Address::parse(source);
    Some(AuthEvent::Failed { method: method.into(), user: user.into(), invalid_user, source_ip, port })
}

fn accepted(rest: &str) -> Option<AuthEvent> {
    let (method, rest) = method(rest)?;
    let AddressTail { user, source, port } = of_known_user(method, rest)?;
    Some(AuthEvent::Accepted { method: method.into(), user: user.into(), source_ip: Address::parse(source), port })
}

fn invalid(rest: &str) -> Option<AuthEvent> {
    let AddressTail { user, source, port } = last(rest.strip_suffix(PREAUTH).unwrap_or(rest))?;
    Some(AuthEvent::InvalidUser { user: user.into(), source_ip: Address::parse(source), port })
}

/// `REASON for [illegal user ]USER from ADDRESS[ via ADDRESS]`.
fn pam(rest: &str) -> Result<Meaning, &'static str> {
    // The only reason with " for " in it.
    const EXHAUSTED: &str = "Have exhausted maximum number of retries for service";
    // Reports of modules and functions of PAM are not dialogues.
    if rest.starts_with("pam_") {
        return Ok(Meaning::Other);
    }
    let start = if rest.starts_with(EXHAUSTED) { EXHAUSTED.len() } else { 0 };
    let Some((_, rest)) = rest[start..].split_once(" for ") else { return Ok(Meaning::Other) };
    let (rest, invalid_user) = without_invalid(rest.strip_suffix(PREAUTH).unwrap_or(rest));
    let whole = || {
        let at = memrchr_iter(b' ', rest.as_bytes()).find(|at| rest[*at..].starts_with(FROM))?;
        let source = from(rest, at)?;
        let via = &rest[at + FROM.len() + source.len()..];
        let is_end = via.is_empty() || via.strip_prefix(" via ").is_some_and(|via| !via.is_empty() && word(via) == via);
        is_end.then_some((&rest[..at], source))
    };
    // An empty name leaves one blank.
    let named = whole()
        .or_else(|| rest.strip_prefix(&FROM[1..]).filter(|source| word(source) == *source).map(|source| ("", source)));
    let (user, source) = named.ok_or(ODD_PAM)?;
    let source_ip = Address::parse(source);
    Ok(Meaning::OfPam(AuthEvent::Failed {
        method: DIALOGUE.into(),
        user: user.into(),
        invalid_user,
        source_ip,
        port: None,
    }))
}

/// `Connection closed by authenticating user USER ADDRESS port PORT`, and its likes.
fn abandoned(message: &str) -> Option<AuthEvent> {
    const STARTS: [&str; 4] = ["Connection closed by ", "Connection reset by ", "Disconnected from ", "Disconnecting "];
    let rest = STARTS.iter().find_map(|start| message.strip_prefix(start))?;
    let (rest, invalid_user) = match rest.strip_prefix("authenticating user ") {
        Some(rest) => (rest, false),
        None => (rest.strip_prefix("invalid user ")?, true),
    };
    let rest = rest.strip_suffix(PREAUTH).unwrap_or(rest);
    // Of the reasons to disconnect, this is the one that means failures, and no part of it is the attacker's.
    let rest = rest.strip_suffix(": Too many authentication failures").unwrap_or(rest);
    // From the end: the name before it may be anything.
    let (rest, port) = rest.rsplit_once(" port ")?;
    let port = if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok()? } else { return None };
    let (user, source) = rest.rsplit_once(' ')?;
    (!source.is_empty()).then(|| AuthEvent::Abandoned {
        user: user.into(),
        invalid_user,
        source_ip: Address::parse(source),
        port,
    })
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
/// What sshd appends to messages of its unprivileged process.
const PREAUTH: &str = " [preauth]";

/// The end of a message: who, and from where.
#[derive(PartialEq, Eq)]
struct AddressTail<'a> {
    user: &'a str,
    source: &'a str,
    port: Option<u16>,
}

/// `METHOD for REST`.
fn method(rest: &str) -> Option<(&str, &str)> {
    let method = word(rest);
    let rest = rest[method.len()..].strip_prefix(" for ")?;
    (!method.is_empty()).then_some((method, rest))
}

/// Whether the method is followed by what was offered, behind the port.
fn is_key(method: &str) -> bool {
    matches!(method, "publickey" | "hostbased")
}

/// Strips `invalid user ` or `illegal user `, and returns whether it was there.
fn without_invalid(rest: &str) -> (&str, bool) {
    match rest.strip_prefix("invalid user ").or_else(|| rest.strip_prefix("illegal user ")) {
        Some(user) => (user, true),
        None => (rest, false),
    }
}

fn of_known_user<'a>(method: &str, rest: &'a str) -> Option<AddressTail<'a>> {
    if is_key(method) { first(rest) } else { last(rest) }
}

/// The first `USER from ADDRESS port PORT`.
fn first(rest: &str) -> Option<AddressTail<'_>> {
    memchr_iter(b' ', rest.as_bytes()).find_map(|at| with_port(rest, at))
}

/// The last `USER from ADDRESS port PORT`; or one without a port, if the message ends that way.
fn last(rest: &str) -> Option<AddressTail<'_>> {
    let mut at_end = None;
    for at in memrchr_iter(b' ', rest.as_bytes()) {
        let Some(source) = from(rest, at) else { continue };
        let after = &rest[at + FROM.len() + source.len()..];
        if after.starts_with(" port ") {
            // If no such port is possible, an earlier one may be part of the name.
            return with_port(rest, at);
        }
        let tail = AddressTail { user: &rest[..at], source, port: None };
        match after.strip_suffix(PREAUTH).unwrap_or(after) {
            " ssh2" | " ssh1" | " ssh" => return Some(tail),
            "" if at_end.is_none() => at_end = Some(tail),
            _ => {}
        }
    }
    // An empty name leaves one blank.
    let nobody = || {
        let rest = rest.strip_prefix(&FROM[1..])?;
        let source = word(rest);
        let port = port(&rest[source.len()..]);
        (!source.is_empty()).then_some(AddressTail { user: "", source, port })
    };
    at_end.or_else(nobody)
}

/// The tail of a user that the machine does not know, and that offers a key: both ends are the attacker's text, since a
/// certificate has an ID and a client a name. If several tails are possible, it is the last one if only a key's
/// fingerprint follows.
fn unforged(rest: &str) -> Option<AddressTail<'_>> {
    let (first, last) = (first(rest)?, last(rest)?);
    if first == last {
        return Some(last);
    }
    let after = &rest[last.user.len() + FROM.len() + last.source.len()..];
    let info = after.strip_prefix(" port ")?.split_once(' ')?.1;
    let words = info.strip_prefix("ssh2: ")?.split(' ').count();
    (words <= 2).then_some(last)
}

/// `USER from ADDRESS port PORT …`, if ` from ` stands at `at`.
fn with_port(rest: &str, at: usize) -> Option<AddressTail<'_>> {
    let source = from(rest, at)?;
    let port = port(&rest[at + FROM.len() + source.len()..])?;
    Some(AddressTail { user: &rest[..at], source, port: Some(port) })
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
