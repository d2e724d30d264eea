//! What a source's configuration says about time.

use std::time::Duration;

/// What a source's configuration says about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// How far behind the greatest event time of its clock an event may be. Default 5 s.
    pub out_of_order: Duration,
    /// How far ahead of the epoch an event may be. Default 1 h.
    pub future_max: Duration,
    /// How far behind the epoch an event may be. Default 40 years of 365 days, so that seconds which are read as milliseconds are
    /// noticed.
    pub past_max: Duration,
    /// How far a clock may move on between two events until the second has to be confirmed. Default 5 min.
    pub jump_max: Duration,
    /// How long a partition's fetches must come back empty until it counts as quiet. Default 30 s.
    pub idle_after: Duration,
    /// Whether the watermark of a quiet partition follows the clock; else the watermark of the source goes on without it. Default no.
    pub live: bool,
    /// Whether the events of a partition come from several clocks, and how they are told apart. Default `None`: from one.
    pub clocks: Option<ClockRules>,
}

/// How the clocks of a partition are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockRules {
    /// The number of the field whose value names the clock.
    pub field: usize,
    /// A clock that was not heard of for so long, by the partition's own event time, holds nothing back. Default 10 min.
    pub idle: Duration,
    /// No clock holds the watermark back by more than this. Default 10 min.
    pub spread_max: Duration,
    /// How many clocks are told apart; all others share one. Default 10 000.
    pub max: usize,
}

impl Default for TimeRules {
    fn default() -> Self {
        TimeRules {
            out_of_order: Duration::from_secs(5),
            future_max: Duration::from_secs(3600),
            past_max: Duration::from_secs(40 * 365 * 86_400),
            jump_max: Duration::from_secs(300),
            idle_after: Duration::from_secs(30),
            live: false,
            clocks: None,
        }
    }
}

impl TimeRules {
    /// The rules for events whose times are right by construction, such as generated ones: nothing is too far in the past, and
    /// no jump needs to be confirmed.
    pub fn trusting() -> Self {
        TimeRules { past_max: Duration::MAX, jump_max: Duration::MAX, ..TimeRules::default() }
    }
}

impl ClockRules {
    /// Clocks that are told apart by field number `field`, with the defaults.
    pub fn by(field: usize) -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        ClockRules { field, idle: minutes(10), spread_max: minutes(10), max: 10_000 }
    }
}
