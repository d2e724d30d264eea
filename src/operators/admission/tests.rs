use std::time::Duration;

use super::jump::CONFIRMATIONS;
use super::*;

const NOW: Epoch = 1_800_000_000_000;

/// A trusting source, in which single events move the watermark.
fn trusting() -> Admission {
    Admission::new(&TimeRules::trusting())
}

/// `ms` before the time of reading.
fn ago(ms: i64) -> EventTime {
    EventTime::from_millis(NOW as i64 - ms)
}

fn admit(admission: &mut Admission, time: EventTime) -> Option<Reason> {
    from_clock(admission, time, 0)
}

/// Decides on an event alone, and holds that to the decision on it in a batch.
fn from_clock(admission: &mut Admission, time: EventTime, clock: u64) -> Option<Reason> {
    let mut alone = admission.clone();
    let alone_says = alone.admit_one(time, clock, NOW).err();
    let times = Times { each: vec![time], clocks: vec![clock] };
    let refused = admission.admit(&times, NOW).pop().map(|(_, rejection)| rejection.reason);
    assert_eq!((refused, admission.state()), (alone_says, alone.state()), "{time}");
    refused
}

#[test]
fn an_event_exactly_at_the_watermark_is_on_time() {
    let mut a = trusting();
    assert_eq!(admit(&mut a, ago(100_000)), None);
    assert_eq!(admit(&mut a, ago(105_000)), None);
    assert_eq!(admit(&mut a, ago(105_001)), Some(Reason::Late));
    assert_eq!(a.watermark(), ago(105_000));
}

#[test]
fn what_is_too_far_from_the_time_of_reading_is_refused_and_moves_nothing() {
    let mut a = Admission::new(&TimeRules { jump_max: Duration::MAX, ..TimeRules::default() });
    let past_max = millis(TimeRules::default().past_max);
    assert_eq!(admit(&mut a, ago(-3_600_001)), Some(Reason::Future));
    assert_eq!(admit(&mut a, EventTime::MAX), Some(Reason::Future));
    assert_eq!(admit(&mut a, ago(past_max + 1)), Some(Reason::Past));
    assert_eq!(a.watermark(), EventTime::MIN.max(a.watermark()));
    assert_eq!(a.state().reached.greatest(), EventTime::MIN);
    assert_eq!(admit(&mut a, ago(past_max)), None);
    assert_eq!(admit(&mut a, ago(-3_600_000)), None);
}

#[test]
fn a_refusal_says_which_other_unit_or_zone_would_fit() {
    let a = Admission::new(&TimeRules::default());
    let says = |time: i64, reason| a.refuse(reason, EventTime::from_millis(time), 0, NOW).detail;
    let now = NOW as i64;
    assert!(says(now / 1_000, Reason::Past).contains("are these seconds? then it is 2027-01-15T08:00:00Z"));
    assert!(says(now * 1_000, Reason::Future).contains("are these microseconds?"));
    assert!(says(now * 1_000_000, Reason::Future).contains("are these nanoseconds?"));
    assert!(says(now + 2 * 3_600_000 - 59_000, Reason::Future).contains("another zone"));
    assert!(!says(now + 2 * 3_600_000 + 400_000, Reason::Future).contains('?'));
    assert!(!says(i64::MAX, Reason::Future).is_empty());
}

#[test]
fn what_a_quiet_partition_brings_back_must_not_be_behind_the_source() {
    let mut a = trusting();
    a.join_at(ago(50_000));
    assert_eq!(admit(&mut a, ago(50_001)), Some(Reason::LateAfterIdle));
    assert_eq!(admit(&mut a, ago(50_000)), None);
    assert_eq!(admit(&mut a, ago(51_000)), Some(Reason::LateAfterIdle));
}

#[test]
fn extreme_times_do_not_overflow() {
    let mut a = trusting();
    assert_eq!(admit(&mut a, EventTime::from_millis(i64::MIN + 1)), None);
    assert_eq!(admit(&mut a, EventTime::from_millis(i64::MIN + 2)), None);
    let mut a = Admission::new(&TimeRules { clocks: Some(ClockRules::by(0)), ..TimeRules::trusting() });
    (1..100).for_each(|n| assert_eq!(from_clock(&mut a, EventTime::from_millis(i64::MIN + n), 0), None));
}

#[test]
fn one_event_far_ahead_makes_nobody_late() {
    let mut a = Admission::new(&TimeRules::default());
    assert_eq!(admit(&mut a, ago(-3_000_000)), None);
    for n in 0..40 {
        assert_eq!(admit(&mut a, ago(60_000 - n * 1_000)), None, "event {n}");
    }
    assert_eq!(a.watermark(), ago(60_000 - 39_000 + 5_000));
    // Nor in the middle, nor several of them.
    for n in 0..5 {
        assert_eq!(admit(&mut a, ago(-3_000_000 - n)), None);
    }
    assert_eq!(admit(&mut a, ago(20_000)), None);
    assert_eq!(admit(&mut a, ago(27_000)), Some(Reason::Late));
}

#[test]
fn a_jump_counts_once_sixteen_events_confirm_it_and_not_before() {
    let mut a = trusting();
    admit(&mut a, ago(10_000_000));
    a.bounds.jump_max_ms = 300_000;
    let before = a.watermark();
    for n in 0..CONFIRMATIONS as i64 {
        assert_eq!(admit(&mut a, ago(1_000_000 - n)), None);
        assert_eq!(a.watermark(), before, "after {n} confirmations");
    }
    assert_eq!(admit(&mut a, ago(900_000)), None);
    assert_eq!(a.watermark(), ago(905_000));
    // Exactly jump_max is no jump.
    admit(&mut a, ago(600_000));
    assert_eq!(a.watermark(), ago(605_000));
    admit(&mut a, ago(299_999));
    assert_eq!(a.watermark(), ago(605_000));
}

#[test]
fn an_earlier_event_resets_the_count() {
    let mut a = trusting();
    admit(&mut a, ago(10_000_000));
    a.bounds.jump_max_ms = 300_000;
    for _ in 0..10 {
        for n in 0..CONFIRMATIONS as i64 {
            admit(&mut a, ago(1_000_000 - n));
        }
        admit(&mut a, ago(10_000_000));
    }
    assert_eq!(a.watermark(), ago(10_005_000));
}

#[test]
fn a_log_whose_every_event_is_a_jump_is_sixteen_events_behind() {
    let mut a = Admission::new(&TimeRules::default());
    let hour = 3_600_000;
    for n in 0..100 {
        assert_eq!(admit(&mut a, ago((200 - n) * hour)), None);
    }
    assert_eq!(a.watermark(), ago((200 - 99 + 16) * hour + 5_000));
}

#[test]
fn a_quiet_partition_has_come_as_far_as_the_clock_it_followed() {
    let mut a = Admission::new(&TimeRules::default());
    a.join_at(ago(10_000));
    assert_eq!(admit(&mut a, ago(2_000)), None);
    assert_eq!(a.watermark(), ago(7_000));
}

/// Three hosts, of which the third's clock is off by `off_ms` (positive: behind). Says how many of each one's events are refused.
fn central(off_ms: i64, bursts: usize) -> ([usize; 3], Admission) {
    let mut a = Admission::new(&TimeRules { clocks: Some(ClockRules::by(0)), ..TimeRules::default() });
    let mut refused = [0; 3];
    for second in 0..2_000 {
        for (host, refused) in refused.iter_mut().enumerate() {
            let off_ms = if host == 2 { off_ms } else { 0 };
            for _ in 0..if host == 2 { bursts } else { 1 } {
                let time = ago(3_000_000 - second * 1_000 + off_ms);
                *refused += usize::from(from_clock(&mut a, time, host as u64).is_some());
            }
        }
    }
    (refused, a)
}

#[test]
fn a_host_whose_clock_is_ahead_makes_nobody_late_however_much_it_writes() {
    for bursts in [1, 40] {
        let (refused, a) = central(-3_000_000, bursts);
        assert_eq!(refused, [0; 3]);
        assert!(a.watermark() >= ago(3_000_000 - 1_980_000) && a.watermark() <= ago(3_000_000 - 1_999_000));
    }
}

#[test]
fn a_host_whose_clock_is_behind_holds_the_others_back_by_clock_spread_max_at_most() {
    let (refused, a) = central(300_000, 1);
    assert_eq!(refused, [0; 3]);
    assert!(a.watermark() <= ago(3_000_000 - 1_999_000 + 300_000));
    let (refused, a) = central(3_600_000, 1);
    assert_eq!(refused[..2], [0, 0]);
    assert!(refused[2] > 1_900, "{refused:?}");
    assert!(a.watermark() >= ago(3_000_000 - 1_980_000 + 600_000 + 5_000));
}

#[test]
fn a_host_that_is_silent_holds_nothing_back_and_may_come_back() {
    let mut a = Admission::new(&TimeRules { clocks: Some(ClockRules::by(0)), ..TimeRules::default() });
    for second in 0..3_000 {
        let time = ago(4_000_000 - second * 1_000);
        assert_eq!(from_clock(&mut a, time, 1), None);
        if second < 1_000 {
            assert_eq!(from_clock(&mut a, time, 2), None);
        }
    }
    assert!(a.watermark() >= ago(4_000_000 - 2_980_000));
    assert_eq!(
        a.state().clocks.as_ref().map(|clocks| clocks.greatest(2, &a.bounds)),
        Some(EventTime::MIN),
        "forgotten"
    );
    assert_eq!(from_clock(&mut a, ago(4_000_000 - 2_999_000), 2), None);
}

#[test]
fn clocks_beyond_clocks_max_share_one() {
    let rules = ClockRules { max: 3, ..ClockRules::by(0) };
    let mut a = Admission::new(&TimeRules { clocks: Some(rules), ..TimeRules::default() });
    for second in 0..100 {
        for clock in 0..3 {
            assert_eq!(from_clock(&mut a, ago(200_000 - second * 1_000), clock), None);
        }
    }
    // The fourth and the fifth are one.
    assert_eq!(from_clock(&mut a, ago(100_000), 3), None);
    assert_eq!(from_clock(&mut a, ago(107_000), 4), Some(Reason::Late));
    assert_eq!(from_clock(&mut a, ago(107_000), 0), Some(Reason::Late));
}

mod any {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However a partition is cut into chunks, the decisions and what is known afterwards are the same.
        #[test]
        fn cutting_changes_nothing(
            events in prop::collection::vec((0..4_000_000_i64, 0..4_u64), 1..300),
            cut in 1..50_usize,
            by_clock: bool,
        ) {
            let clocks = by_clock.then(|| ClockRules::by(0));
            let rules = TimeRules { clocks, out_of_order: Duration::from_secs(600), ..TimeRules::default() };
            let decide = |cut: usize| {
                let mut a = Admission::new(&rules);
                let mut refused = Vec::new();
                for (i, chunk) in events.chunks(cut).enumerate() {
                    let mut times = Times::default();
                    for (n, (ms, clock)) in chunk.iter().enumerate() {
                        times.push(n, ago(*ms));
                        times.push_clock(n, *clock);
                    }
                    refused.extend(a.admit(&times, NOW).into_iter().map(|(n, why)| (i * cut + n as usize, why.reason)));
                }
                (refused, a.state().clone())
            };
            prop_assert_eq!(decide(cut), decide(1));
        }

        /// A watermark never goes back, and nothing that is admitted is behind what it was.
        #[test]
        fn nothing_behind_the_watermark_is_admitted(
            events in prop::collection::vec((0..4_000_000_i64, 0..4_u64), 1..300),
            by_clock: bool,
        ) {
            let clocks = by_clock.then(|| ClockRules::by(0));
            let mut a = Admission::new(&TimeRules { clocks, ..TimeRules::default() });
            for (ms, clock) in events {
                let before = a.watermark();
                let refused = from_clock(&mut a, ago(ms), clock);
                prop_assert!(refused.is_some() || ago(ms) >= before);
                prop_assert!(a.watermark() >= before);
            }
        }
    }
}
