//! Which events of a partition are on time: decided per partition, in partition order, so it depends on the input
//! alone.
//!
//! An [`Admission`] is the whole of that decision. It trusts no clock: an event far behind or ahead of the time of
//! reading is refused, a jump of the clock counts only once later events confirm it (`jump`), and where a field names
//! the clock that an event was stamped by, each clock is judged by its own events (`clocks`).
//!
//! The one exception is what a partition brings back after the source advanced without it: what is behind the source's
//! watermark, or behind the clock that the partition's watermark followed, is refused as [`Reason::LateAfterIdle`].

mod clocks;
mod delay;
mod jump;
mod refusal;
mod rules;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::clocks::Clocks;
pub use self::delay::Delays;
use self::jump::Reached;
pub use self::rules::{ClockRules, TimeRules};
use crate::record::{Reason, Rejection};
use crate::time::{Epoch, EventTime, millis};

/// The event times of consecutive records of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// One per record, or none at all if no record has one. [`EventTime::MIN`] for a record without a time.
    pub each: Vec<EventTime>,
    /// The clock of each, if the source has a `clock_field`.
    pub clocks: Vec<u64>,
}

impl Times {
    /// Without records, with room for `records`.
    pub fn with_room(records: usize) -> Self {
        Times { each: Vec::with_capacity(records), clocks: Vec::new() }
    }

    /// Record number `n` has the time `time`.
    #[inline]
    pub fn push(&mut self, n: usize, time: EventTime) {
        if self.each.len() < n {
            self.each.resize(n, EventTime::MIN);
        }
        self.each.push(time);
    }

    /// Record number `n`, whose time was pushed, was stamped by `clock`.
    pub fn push_clock(&mut self, n: usize, clock: u64) {
        self.clocks.resize(n, 0);
        self.clocks.push(clock);
    }
}

/// The rules in whole milliseconds.
#[derive(Clone, Copy, Debug)]
struct AdmissionBounds {
    out_of_order_ms: i64,
    future_max_ms: i64,
    past_max_ms: i64,
    jump_max_ms: i64,
    clocks: Option<clocks::ClockBounds>,
}

/// The part of an [`Admission`] that a checkpoint has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionState {
    /// The confirmed event time of the partition, where all of its events come from one clock.
    reached: Reached,
    /// The same per clock, where they are told apart.
    clocks: Option<Clocks>,
    /// Earlier events are late after idle.
    floor: EventTime,
}

impl AdmissionState {
    /// The greatest event time that counts; [`EventTime::MIN`] if none does yet.
    pub fn greatest(&self) -> EventTime {
        self.clocks.as_ref().map_or(self.reached.greatest(), Clocks::own)
    }
}

/// The event-time state of one partition.
#[derive(Clone, Debug)]
pub struct Admission {
    bounds: AdmissionBounds,
    state: AdmissionState,
}

impl Admission {
    /// A partition of which nothing was read.
    pub fn new(rules: &TimeRules) -> Self {
        let clocks = rules.clocks.map(|_| Clocks::default());
        Self::resume(rules, AdmissionState { reached: Reached::default(), clocks, floor: EventTime::MIN })
    }

    /// A partition that continues from `state`, the [`state`](Self::state) of another [`Admission`] of the same rules.
    pub fn resume(rules: &TimeRules, state: AdmissionState) -> Self {
        let bounds = AdmissionBounds {
            out_of_order_ms: millis(rules.out_of_order),
            future_max_ms: millis(rules.future_max),
            past_max_ms: millis(rules.past_max),
            jump_max_ms: millis(rules.jump_max),
            clocks: rules.clocks.as_ref().map(clocks::ClockBounds::of),
        };
        Admission { bounds, state }
    }

    /// Its state, for a checkpoint.
    pub fn state(&self) -> &AdmissionState {
        &self.state
    }

    /// From now on events before `floor` are late after idle: the source's watermark advanced without the partition, or
    /// followed the clock instead.
    pub fn join_at(&mut self, floor: EventTime) {
        self.state.floor = self.state.floor.max(floor);
    }

    /// Nothing earlier is expected from the partition; [`EventTime::MIN`] while nothing is known.
    pub fn watermark(&self) -> EventTime {
        match &self.state.clocks {
            None => behind(self.state.reached.greatest(), self.bounds.out_of_order_ms),
            Some(clocks) => clocks.watermark(),
        }
    }

    /// Decides on consecutive records that were read in `epoch`: returns those that are refused, by their number.
    /// Refused records move no watermark.
    pub fn admit(&mut self, times: &Times, epoch: Epoch) -> Vec<(u32, Rejection)> {
        if times.each.is_empty() || self.admits_all(times, epoch) {
            return Vec::new();
        }
        let mut refused = Vec::new();
        for (n, time) in times.each.iter().enumerate().filter(|(_, time)| **time != EventTime::MIN) {
            let clock = times.clocks.get(n).copied().unwrap_or(0);
            if let Err(reason) = self.admit_one(*time, clock, epoch) {
                let n = u32::try_from(n).expect("records that are decided on together are few");
                refused.push((n, self.refuse(reason, *time, clock, epoch)));
            }
        }
        refused
    }

    /// Admits one clock's records together where each of them is on time wherever in the batch it is, which is the
    /// usual case.
    fn admits_all(&mut self, times: &Times, epoch: Epoch) -> bool {
        let AdmissionState { reached, clocks: None, floor } = &mut self.state else { return false };
        let (mut least, mut greatest) = (EventTime::MAX, EventTime::MIN);
        for time in &times.each {
            least = least.min(*time);
            greatest = greatest.max(*time);
        }
        let watermark = behind(reached.greatest().max(greatest), self.bounds.out_of_order_ms);
        let on_time = least >= watermark.max(*floor)
            && least > EventTime::MIN
            && !is_past(least, epoch, &self.bounds)
            && !is_future(greatest, epoch, &self.bounds);
        on_time && reached.advance_all(greatest, self.bounds.jump_max_ms)
    }

    /// Decides on one event: the first of these rules that applies.
    fn admit_one(&mut self, time: EventTime, clock: u64, epoch: Epoch) -> Result<(), Reason> {
        let bounds = &self.bounds;
        if is_future(time, epoch, bounds) {
            return Err(Reason::Future);
        }
        if is_past(time, epoch, bounds) {
            return Err(Reason::Past);
        }
        let AdmissionState { reached, clocks, floor } = &mut self.state;
        let late = match clocks {
            None => time < behind(reached.greatest(), bounds.out_of_order_ms),
            Some(clocks) => clocks.is_late(time, clock, bounds),
        };
        if late {
            return Err(Reason::Late);
        }
        if time < *floor {
            return Err(Reason::LateAfterIdle);
        }
        // A watermark that followed the clock while the partition was quiet has advanced to the floor.
        let from = match *floor {
            EventTime::MIN => EventTime::MIN,
            floor => EventTime::from_millis(floor.millis().saturating_add(bounds.out_of_order_ms)),
        };
        match clocks {
            None => reached.advance(time, from, bounds.jump_max_ms),
            Some(clocks) => clocks.advance(time, clock, bounds),
        }
        Ok(())
    }
}

#[inline]
fn is_future(time: EventTime, epoch: Epoch, bounds: &AdmissionBounds) -> bool {
    time.millis() > (epoch as i64).saturating_add(bounds.future_max_ms)
}

#[inline]
fn is_past(time: EventTime, epoch: Epoch, bounds: &AdmissionBounds) -> bool {
    bounds.past_max_ms != i64::MAX && time.millis() < (epoch as i64).saturating_sub(bounds.past_max_ms)
}

/// `out_of_order_ms` before `time`; nothing is before the beginning.
#[inline]
fn behind(time: EventTime, out_of_order_ms: i64) -> EventTime {
    EventTime::from_millis(time.millis().saturating_sub(out_of_order_ms))
}
