//! Several clocks in one partition: a central log, in which each host stamps its own lines.
//!
//! Each clock is late by its own events only, so a host whose clock is wrong makes nobody else late. The partition's
//! watermark is the least over the clocks that were seen recently, but none of them holds it back by more than
//! `spread_max` behind the partition's own event time: the median of these clocks, so that a few wrong ones, ahead or
//! behind, do not move it.
//!
//! How long a clock was silent is measured by a stopwatch that advances with whichever clock advances, and never by
//! more than `jump_max` at once: neither a clock that is ahead nor one that jumps makes the others look silent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::behind;
use super::jump::Reached;
use super::rules::ClockRules;
use crate::time::{EventTime, millis};

/// The least number of events after which the watermark is updated; with more clocks it is their number, so that the
/// cost per event does not depend on how many there are.
const REVIEW_EVENTS_MIN: usize = 16;

/// The clock of all events beyond `clocks_max` clocks.
const SHARED: u64 = u64::MAX;

/// [`ClockRules`] in whole milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockBounds {
    idle_ms: i64,
    spread_max_ms: i64,
    max: usize,
}

impl ClockBounds {
    pub(super) fn of(rules: &ClockRules) -> Self {
        ClockBounds { idle_ms: millis(rules.idle), spread_max_ms: millis(rules.spread_max), max: rules.max }
    }
}

/// The clocks of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clocks {
    by_value: BTreeMap<u64, TrackedClock>,
    /// The partition's own event time; [`EventTime::MIN`] before the first update.
    own: EventTime,
    watermark: EventTime,
    /// The stopwatch.
    elapsed_ms: i64,
    /// Events since the watermark was last updated.
    events: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TrackedClock {
    reached: Reached,
    /// What it showed, or would have shown, when the stopwatch was at zero.
    zero_ms: i64,
    /// The stopwatch at its last event.
    heard_ms: i64,
}

impl Default for Clocks {
    fn default() -> Self {
        let (own, watermark) = (EventTime::MIN, EventTime::MIN);
        Clocks { by_value: BTreeMap::new(), own, watermark, elapsed_ms: 0, events: 0 }
    }
}

impl Clocks {
    /// Nothing earlier is expected from the partition.
    pub(super) fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// The partition's own event time.
    pub(super) fn own(&self) -> EventTime {
        self.own
    }

    /// The confirmed event time of the clock `value`; [`EventTime::MIN`] if nothing is known of it.
    pub(super) fn greatest(&self, value: u64, bounds: &super::AdmissionBounds) -> EventTime {
        let known = self.by_value.get(&self.name(value, bounds));
        known.map_or(EventTime::MIN, |clock| clock.reached.greatest())
    }

    /// Whether an event of `time` comes too late for its clock, or for the partition.
    pub(super) fn is_late(&self, time: EventTime, value: u64, bounds: &super::AdmissionBounds) -> bool {
        time < self.watermark.max(behind(self.greatest(value, bounds), bounds.out_of_order_ms))
    }

    /// Takes an event of `time`, which is on time, of the clock `value`.
    pub(super) fn advance(&mut self, time: EventTime, value: u64, bounds: &super::AdmissionBounds) {
        let (value, own, elapsed_ms) = (self.name(value, bounds), self.own, self.elapsed_ms);
        let clock = self.by_value.entry(value).or_default();
        let before = clock.reached.greatest();
        // A new clock is believed where it agrees with the others.
        let from = if before == EventTime::MIN { own } else { EventTime::MIN };
        clock.reached.advance(time, from, bounds.jump_max_ms);
        clock.heard_ms = elapsed_ms;
        let shown_ms = clock.reached.greatest().millis();
        if clock.reached.greatest() > before {
            let since_ms = if before == EventTime::MIN { i64::MIN } else { shown_ms.saturating_sub(clock.zero_ms) };
            if since_ms > elapsed_ms && since_ms.saturating_sub(elapsed_ms) <= bounds.jump_max_ms {
                self.elapsed_ms = since_ms;
                clock.heard_ms = since_ms;
            } else if since_ms == i64::MIN || since_ms > elapsed_ms {
                clock.zero_ms = shown_ms.saturating_sub(elapsed_ms);
            }
        }
        self.events += 1;
        if self.events >= self.by_value.len().max(REVIEW_EVENTS_MIN) {
            self.review(bounds);
        }
    }

    /// Drops clocks that are silent, and updates the watermark.
    fn review(&mut self, bounds: &super::AdmissionBounds) {
        self.events = 0;
        let Some(ClockBounds { idle_ms, spread_max_ms, .. }) = bounds.clocks else { return };
        let elapsed_ms = self.elapsed_ms;
        self.by_value.retain(|_, clock| elapsed_ms.saturating_sub(clock.heard_ms) <= idle_ms);
        let mut shown: Vec<EventTime> = self.by_value.values().map(|clock| clock.reached.shown()).collect();
        let Some(middle) = shown.len().checked_sub(1).map(|last| last / 2) else { return };
        let (_, own, _) = shown.select_nth_unstable(middle);
        self.own = *own;
        let held_back_to = behind(self.own, spread_max_ms);
        let least = shown.into_iter().min().unwrap_or(EventTime::MIN).max(held_back_to);
        self.watermark = self.watermark.max(behind(least, bounds.out_of_order_ms));
    }

    /// The clock that events of `value` belong to.
    fn name(&self, value: u64, bounds: &super::AdmissionBounds) -> u64 {
        let has_room = bounds.clocks.is_none_or(|clocks| self.by_value.len() < clocks.max);
        if has_room || self.by_value.contains_key(&value) { value } else { SHARED }
    }
}
