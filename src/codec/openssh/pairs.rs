//! Failed dialogues that are reported twice: `error: PAM: … for USER from ADDRESS` by PAM's side of sshd, and `Failed
//! keyboard-interactive/pam for USER from ADDRESS port PORT` by the other. Servers write either or both, in either
//! order.
//!
//! Each side of a process reports every dialogue at most once, so a report is about the same dialogue as an unmatched
//! one of the other side, by the same process about the same user and address.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Address;
use crate::record::Text;
use crate::time::EventTime;

/// The most unmatched reports that are kept, per partition; beyond that the oldest are forgotten.
pub(super) const WAITING_MAX: usize = 256;

/// Reports further apart than this are about different dialogues, in milliseconds.
pub(super) const APART_MAX_MS: i64 = 60_000;

/// Unmatched reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pairs {
    waiting: VecDeque<DialogueReport>,
}

/// A dialogue, and how many more reports of it one side made than the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DialogueReport {
    of: Dialogue,
    by_pam: bool,
    times: u32,
    at: EventTime,
}

/// Identifies whose dialogue it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dialogue {
    pub pid: Option<u32>,
    pub user: Text,
    pub source_ip: Address,
    pub host: Text,
}

impl Pairs {
    /// How many of `times` dialogues, reported at `at`, the other side has not reported already.
    pub(super) fn new_ones(&mut self, of: Dialogue, by_pam: bool, times: u32, at: EventTime) -> u32 {
        let mut left = times;
        // The counterpart is nearly always the newest.
        let near = |report: &DialogueReport| (report.at.millis() - at.millis()).abs() <= APART_MAX_MS;
        let found = self.waiting.iter().rposition(|report| report.of == of && near(report));
        if let Some(index) = found
            && let Some(report) = self.waiting.get_mut(index)
        {
            if report.by_pam == by_pam {
                report.times = report.times.saturating_add(times);
                report.at = at;
                return times;
            }
            let paired = report.times.min(times);
            report.times -= paired;
            left -= paired;
            if report.times == 0 {
                self.waiting.remove(index);
            }
        }
        if left > 0 {
            if self.waiting.len() == WAITING_MAX {
                self.waiting.pop_front();
            }
            self.waiting.push_back(DialogueReport { of, by_pam, times: left, at });
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue(pid: u32) -> Dialogue {
        Dialogue { pid: Some(pid), user: "root".into(), source_ip: Address::parse("192.0.2.1"), host: "h".into() }
    }

    fn at(seconds: i64) -> EventTime {
        EventTime::from_millis(seconds * 1000)
    }

    #[test]
    fn either_report_counts_and_both_count_once() {
        let mut pairs = Pairs::default();
        for first in [true, false] {
            assert_eq!(pairs.new_ones(dialogue(1), first, 1, at(0)), 1);
            assert_eq!(pairs.new_ones(dialogue(2), first, 3, at(0)), 3, "another process");
            assert_eq!(pairs.new_ones(dialogue(1), !first, 1, at(0)), 0);
            assert_eq!(pairs.new_ones(dialogue(2), !first, 5, at(1)), 2, "three were known");
            assert_eq!(pairs.new_ones(dialogue(2), first, 2, at(2)), 0);
            assert!(pairs.waiting.is_empty());
        }
        assert_eq!(pairs.new_ones(dialogue(1), true, 1, at(0)), 1);
        assert_eq!(pairs.new_ones(dialogue(1), true, 1, at(5)), 1, "two in a row are two");
        assert_eq!(pairs.new_ones(dialogue(1), false, 2, at(6)), 0);
    }

    #[test]
    fn what_is_far_apart_is_no_pair() {
        let mut pairs = Pairs::default();
        assert_eq!(pairs.new_ones(dialogue(1), true, 1, at(0)), 1);
        assert_eq!(pairs.new_ones(dialogue(1), false, 1, at(60)), 0, "{APART_MAX_MS} ms");
        assert_eq!(pairs.new_ones(dialogue(1), true, 1, at(100)), 1);
        assert_eq!(pairs.new_ones(dialogue(1), false, 1, at(161)), 1);
    }

    #[test]
    fn of_many_that_wait_the_oldest_are_forgotten() {
        let mut pairs = Pairs::default();
        for pid in 0..=WAITING_MAX as u32 {
            assert_eq!(pairs.new_ones(dialogue(pid), true, 1, at(0)), 1);
        }
        assert_eq!(pairs.waiting.len(), WAITING_MAX);
        assert_eq!(pairs.new_ones(dialogue(1), false, 1, at(0)), 0);
        assert_eq!(pairs.new_ones(dialogue(0), false, 1, at(0)), 1, "it was forgotten");
    }
}
