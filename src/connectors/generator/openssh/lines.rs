//! Syslog lines as bytes, well-formed ones and others.

use std::io::Write;

use super::super::random::Random;

/// How a host writes times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `Mar  7 13:06:56`.
    Rfc3164,
    /// `2024-05-01T12:00:00.123456+00:00`.
    Rfc3339,
}

/// What precedes the message.
pub(super) struct LineHead<'a> {
    pub style: Style,
    pub at_ms: i64,
    pub host: &'a str,
    pub program: &'a str,
    pub pid: Option<u64>,
}

impl LineHead<'_> {
    fn time_and_host(&self, line: &mut Vec<u8>) -> std::io::Result<()> {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let timestamp = jiff::Timestamp::from_millisecond(self.at_ms).unwrap_or(jiff::Timestamp::MAX);
        let t = jiff::tz::Offset::UTC.to_datetime(timestamp);
        match self.style {
            Style::Rfc3164 => {
                write!(line, "{} {:2} ", MONTHS[t.month() as usize - 1], t.day())?;
                write!(line, "{:02}:{:02}:{:02} ", t.hour(), t.minute(), t.second())?;
            }
            Style::Rfc3339 => {
                write!(line, "{:04}-{:02}-{:02}T", t.year(), t.month(), t.day())?;
                write!(
                    line,
                    "{:02}:{:02}:{:02}.{:06}",
                    t.hour(),
                    t.minute(),
                    t.second(),
                    t.subsec_nanosecond() / 1000
                )?;
                line.extend_from_slice(b"+00:00 ");
            }
        }
        line.extend_from_slice(self.host.as_bytes());
        line.push(b' ');
        Ok(())
    }

    /// The line with `message`.
    pub fn line(&self, message: &str) -> Vec<u8> {
        let mut line = Vec::with_capacity(64 + message.len());
        self.write(message, &mut line).expect("writing to memory does not fail");
        line
    }

    fn write(&self, message: &str, line: &mut Vec<u8>) -> std::io::Result<()> {
        self.time_and_host(line)?;
        match self.pid {
            Some(pid) => write!(line, "{}[{pid}]: {message}", self.program),
            None => write!(line, "{}: {message}", self.program),
        }
    }

    /// A line that no syslog daemon writes.
    pub fn malformed(&self, random: &mut Random) -> Vec<u8> {
        match random.below(5) {
            0 => {
                let mut line = Vec::new();
                self.time_and_host(&mut line).expect("writing to memory does not fail");
                line.truncate(random.between(1, line.len() as u64) as usize);
                line
            }
            1 => format!("{{\"level\":\"info\",\"host\":\"{}\",\"msg\":\"health check passed\"}}", self.host)
                .into_bytes(),
            2 => b"\tat com.example.audit.Forwarder.run(Forwarder.java:117)".to_vec(),
            3 => b"[ 8713.402211] audit: kauditd hold queue overflow".to_vec(),
            _ => (0..random.between(8, 60)).map(|_| random.between(0x80, 0xff) as u8).collect(),
        }
    }
}
