//! Decodes the lines of one partition, in order, to records.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::clock::{LineClock, LineClockState};
use super::header::{self, SyslogHeader};
use super::last::LastMessages;
use super::message::{self, Meaning};
use super::pairs::{Dialogue, Pairs};
use super::tag::{self, TagContent};
use super::{AuthEvent, AuthLine, AuthOptions};
use crate::record::{Decoder, Reason, Rejection, Text};
use crate::time::EventTime;

/// Reads the lines of one partition in order: earlier lines determine the year of lines without one, what was reported
/// twice, and what was repeated.
#[derive(Clone, Debug)]
pub struct AuthDecoder {
    clock: LineClock,
    memory: DecoderState,
}

/// Its state besides the times of the lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct DecoderState {
    /// How many lines there were, refused ones included.
    lines: u64,
    last: LastMessages,
    pairs: Pairs,
}

/// The text of a record without what writers put before it, in either order: a byte order mark, and the hole of NUL
/// bytes that a truncated file has before the next line of a writer that did not notice.
#[inline]
fn without_marks(mut bytes: &[u8]) -> &[u8] {
    loop {
        bytes = match bytes {
            [0, ..] => &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..],
            [0xEF, 0xBB, 0xBF, rest @ ..] => rest,
            _ => return bytes,
        };
    }
}

fn refuse(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Malformed, detail)
}

impl AuthDecoder {
    pub(super) fn new(options: &AuthOptions) -> Self {
        AuthDecoder { clock: LineClock::new(options.year, options.zone.clone()), memory: DecoderState::default() }
    }
}

impl Decoder<AuthLine> for AuthDecoder {
    fn decode(&mut self, bytes: &[u8], epoch_ms: u64) -> Result<AuthLine, Rejection> {
        let number = self.memory.lines;
        self.memory.lines += 1;
        let bytes = without_marks(bytes);
        // The same as the lossy conversion alone, at a fraction of its time.
        let line = simdutf8::basic::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
        let line = line.trim_end_matches(['\r', '\n', ' ', '\t', '\0']);
        let SyslogHeader { stamp, host, said } = header::parse(line).map_err(|detail| {
            self.memory.last.forget_all();
            refuse(detail)
        })?;
        let host = Text::from(host);
        let at = self.clock.resolve(stamp, epoch_ms).map_err(|detail| {
            self.memory.last.forget(&host);
            refuse(detail)
        })?;
        match said {
            TagContent::Message { program, pid, text } if !tag::is_of_sshd(program) => {
                let (repeated, text) = message::unfold(text).unwrap_or((1, text));
                if tag::is_like_sshd(program) && !matches!(message::read(message::trim(text)), Ok(Meaning::Other)) {
                    self.memory.last.forget(&host);
                    return Err(refuse(format!(
                        "program {program:?} reports logins as sshd does, and is not known to be sshd"
                    )));
                }
                let program = Text::from(program);
                self.memory.last.keep(&host, &program, pid, None);
                let event = AuthEvent::Other { message: text.into() };
                Ok(AuthLine { at, host, program, pid, event, repeated, number })
            }
            TagContent::Message { program, pid, text } => {
                self.memory.of_sshd(LineParts { at, host, program: program.into(), pid, number }, text)
            }
            TagContent::Repeated { times } => self.memory.repeated(at, &host, number, times, line),
        }
    }

    fn state(&self) -> Option<Vec<u8>> {
        Some(postcard::to_stdvec(&(self.clock.heard(), &self.memory)).expect("its state can be encoded"))
    }

    fn resume(&mut self, state: &[u8]) -> Result<(), String> {
        let (heard, memory): (LineClockState, DecoderState) =
            postcard::from_bytes(state).map_err(|why| why.to_string())?;
        self.clock.resume(heard);
        self.memory = memory;
        Ok(())
    }
}

/// A line of sshd without its message.
struct LineParts {
    at: EventTime,
    host: Text,
    program: Text,
    pid: Option<u32>,
    number: u64,
}

impl DecoderState {
    fn of_sshd(&mut self, line: LineParts, text: &str) -> Result<AuthLine, Rejection> {
        let read = || {
            let (times, text) = message::unfold(message::trim(text))?;
            message::read(text).map(|meaning| (times, text, meaning))
        };
        match read() {
            Ok((repeated, text, Meaning::Other)) => {
                self.last.keep(&line.host, &line.program, line.pid, None);
                let LineParts { at, host, program, pid, number } = line;
                Ok(AuthLine {
                    at,
                    host,
                    program,
                    pid,
                    event: AuthEvent::Other { message: text.into() },
                    repeated,
                    number,
                })
            }
            Ok((times, text, meaning)) => {
                self.last.keep(&line.host, &line.program, line.pid, Some(text));
                Ok(self.login(line, meaning, times))
            }
            Err(detail) => {
                self.last.forget(&line.host);
                Err(refuse(format!("a message of sshd {detail}")))
            }
        }
    }

    /// A line which says that its host's last message was repeated.
    fn repeated(
        &mut self,
        at: EventTime,
        host: &Text,
        number: u64,
        times: u32,
        line: &str,
    ) -> Result<AuthLine, Rejection> {
        let Some((host, last)) = self.last.of(host) else {
            return Err(refuse(format!(
                "says that the last message of host {:?} was repeated, which is not known: it was refused, or is not in this partition",
                host.as_str()
            )));
        };
        let (host, program, pid) = (host.clone(), last.program.clone(), last.pid);
        match last.is_login.then(|| message::read(&last.message)) {
            Some(Ok(meaning)) => Ok(self.login(LineParts { at, host, program, pid, number }, meaning, times)),
            _ => {
                let event = AuthEvent::Other { message: line.into() };
                Ok(AuthLine { at, host, program, pid, event, repeated: times, number })
            }
        }
    }

    /// The record of a login. A failed dialogue that was reported before by the other side is a duplicate.
    fn login(&mut self, line: LineParts, meaning: Meaning, times: u32) -> AuthLine {
        let (event, by_pam) = match meaning {
            Meaning::Event(event) => (event, false),
            Meaning::OfPam(event) => (event, true),
            Meaning::Other => (AuthEvent::Other { message: Text::EMPTY }, false),
        };
        let LineParts { at, host, program, pid, number } = line;
        let mut record = AuthLine { at, host, program, pid, event, repeated: times, number };
        if let AuthEvent::Failed { method, user, source_ip, .. } = &record.event
            && method.starts_with("keyboard-interactive")
        {
            let (user, source_ip) = (user.clone(), source_ip.clone());
            let dialogue = Dialogue { pid, user, source_ip, host: record.host.clone() };
            match self.pairs.new_ones(dialogue, by_pam, times, at) {
                0 => record.event = record.event.into_duplicate(),
                new => record.repeated = new,
            }
        }
        record
    }
}

/// The entry point of the fuzzer: decodes `bytes` as lines of one partition, and must not panic whatever they are.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    use super::Zone;
    let berlin = Zone::parse("Europe/Berlin").expect("the zone is known");
    for (year, zone) in [(None, None), (Some(2024), Some(berlin))] {
        let mut decoder = AuthDecoder::new(&AuthOptions { year, zone });
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(line) = decoder.decode(line, 1_700_000_000_000) {
                assert!(!line.program.is_empty());
                assert!(line.repeated > 0);
            }
        }
        let state = decoder.state().expect("it has a state");
        decoder.resume(&state).expect("a decoder accepts its own state");
    }
}
