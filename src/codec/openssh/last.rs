//! The last message of each host, which `last message repeated N times` is about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::Text;

/// The most hosts whose last message is kept, per partition; with one more, all others are forgotten.
pub(super) const HOSTS_MAX: usize = 1024;

/// The longest message that is kept, in bytes; no message of sshd about a login is as long.
pub(super) const MESSAGE_BYTES_MAX: usize = 2048;

/// The last messages of the hosts of one partition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LastMessages {
    hosts: BTreeMap<Text, LastMessage>,
    /// The host of the line before.
    newest: Text,
}

/// A message, with the program that wrote it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LastMessage {
    pub program: Text,
    pub pid: Option<u32>,
    /// Whether sshd wrote it, about a login.
    pub is_login: bool,
    /// If so, its text without the wrapping of a repetition.
    pub message: String,
}

impl LastMessages {
    /// Remembers the message of a line that was understood; `login` is its text if sshd wrote it about a login.
    pub(super) fn keep(&mut self, host: &Text, program: &Text, pid: Option<u32>, login: Option<&str>) {
        if self.newest != *host {
            self.newest = host.clone();
        }
        if login.is_some_and(|message| message.len() > MESSAGE_BYTES_MAX) {
            self.hosts.remove(host);
            return;
        }
        let last = match self.hosts.get_mut(host) {
            Some(last) => last,
            None => {
                if self.hosts.len() >= HOSTS_MAX {
                    self.hosts.clear();
                }
                self.hosts.entry(host.clone()).or_default()
            }
        };
        if last.program != *program {
            last.program = program.clone();
        }
        last.pid = pid;
        last.is_login = login.is_some();
        if let Some(message) = login {
            // The allocation is reused: no allocation per line.
            last.message.clear();
            last.message.push_str(message);
        }
    }

    /// Forgets the last message of a host, since its newest line was refused.
    pub(super) fn forget(&mut self, host: &Text) {
        self.hosts.remove(host);
    }

    /// Forgets all of them, since a line was refused that does not say its host.
    pub(super) fn forget_all(&mut self) {
        self.hosts.clear();
    }

    /// The last message of a host, with the host; if `host` is empty and has none, that of the host of the line before.
    pub(super) fn of(&self, host: &Text) -> Option<(&Text, &LastMessage)> {
        let named = self.hosts.get_key_value(host);
        if host.is_empty() && named.is_none() { self.hosts.get_key_value(&self.newest) } else { named }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold() {
        let mut last = LastMessages::default();
        let host = |n: usize| Text::from(format!("h{n}"));
        for n in 0..HOSTS_MAX {
            last.keep(&host(n), &"sshd".into(), None, Some("x"));
        }
        assert!(last.of(&host(0)).is_some());
        last.keep(&host(HOSTS_MAX), &"sshd".into(), None, Some("x"));
        assert!(last.of(&host(0)).is_none() && last.of(&host(HOSTS_MAX)).is_some());

        last.keep(&host(0), &"sshd".into(), None, Some(&"x".repeat(MESSAGE_BYTES_MAX)));
        assert!(last.of(&host(0)).is_some());
        last.keep(&host(0), &"sshd".into(), None, Some(&"x".repeat(MESSAGE_BYTES_MAX + 1)));
        assert!(last.of(&host(0)).is_none());
    }

    #[test]
    fn a_line_without_a_host_is_about_the_host_of_the_line_before() {
        let mut last = LastMessages::default();
        last.keep(&"a".into(), &"sshd".into(), Some(1), Some("x"));
        last.keep(&"b".into(), &"cron".into(), None, None);
        assert_eq!(last.of(&Text::EMPTY).unwrap().0, "b");
        last.keep(&Text::EMPTY, &"sshd".into(), None, Some("y"));
        assert_eq!(last.of(&Text::EMPTY).unwrap().1.message, "y");
        last.forget(&"a".into());
        assert!(last.of(&"a".into()).is_none() && last.of(&"b".into()).is_some());
        last.forget_all();
        assert!(last.of(&"b".into()).is_none());
    }
}
