//! How long the events of a partition take from happening to being read, while nothing holds the reading up.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Epoch, millis};

/// For how long an observation counts.
const REMEMBERED_MS: u64 = 3_600_000;

/// Observations within so long of each other are kept as one.
const RESOLUTION_MS: u64 = 60_000;

/// While there is no observation, so many times `idle_after` is assumed.
const ASSUMED_IDLE_TIMES: i64 = 10;

/// The delays of a partition that were observed within the last hour of epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// The greatest of each minute, in milliseconds, by the minute.
    greatest: VecDeque<(u64, i64)>,
}

impl Delays {
    /// An event that was read in `epoch`, as soon as it was there, was `delay_ms` old then. What is ahead of the clock has no delay.
    pub fn observe(&mut self, epoch: Epoch, delay_ms: i64) {
        let (minute, delay_ms) = (epoch / RESOLUTION_MS, delay_ms.max(0));
        match self.greatest.back_mut() {
            Some((last, greatest)) if *last >= minute => *greatest = (*greatest).max(delay_ms),
            _ => self.greatest.push_back((minute, delay_ms)),
        }
        let oldest = minute.saturating_sub(REMEMBERED_MS / RESOLUTION_MS);
        while self.greatest.front().is_some_and(|(minute, _)| *minute < oldest) {
            self.greatest.pop_front();
        }
    }

    /// The greatest delay, in milliseconds, that was observed in the hour before `epoch`; ten times `idle_after` if none was.
    pub fn greatest(&self, epoch: Epoch, idle_after: Duration) -> i64 {
        let oldest = (epoch / RESOLUTION_MS).saturating_sub(REMEMBERED_MS / RESOLUTION_MS);
        let remembered = self.greatest.iter().filter(|(minute, _)| *minute >= oldest).map(|(_, delay)| *delay);
        remembered.max().unwrap_or_else(|| millis(idle_after).saturating_mul(ASSUMED_IDLE_TIMES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE_AFTER: Duration = Duration::from_secs(30);

    #[test]
    fn the_greatest_delay_of_the_last_hour_counts() {
        let (mut delays, minute) = (Delays::default(), 60_000);
        assert_eq!(delays.greatest(0, IDLE_AFTER), 300_000);
        delays.observe(100 * minute, 120_000);
        delays.observe(101 * minute, -5_000);
        delays.observe(130 * minute, 7_000);
        assert_eq!(delays.greatest(160 * minute, IDLE_AFTER), 120_000);
        assert_eq!(delays.greatest(162 * minute, IDLE_AFTER), 7_000);
        assert_eq!(delays.greatest(191 * minute, IDLE_AFTER), 300_000);
    }

    #[test]
    fn what_is_kept_is_bounded_by_the_hour() {
        let mut delays = Delays::default();
        (0..1_000_000).for_each(|second| delays.observe(second * 1_000, 1));
        assert!(delays.greatest.len() <= 61);
    }
}
