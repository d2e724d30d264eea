use super::super::chunk::SpareMemory;
use super::super::spread::Load;
use super::*;
use crate::checkpoint::bindings::Joined;
use crate::codec::line::Line;
use crate::operators::admission::TimeRules;
use crate::operators::watermark::Participation;
use crate::telemetry::Metrics;

fn new(rules: TimeRules) -> Intake<Line> {
    let metrics = Metrics::new("test").source("in", 0);
    let packer = Packer::new(Load::new(0, 1), SpareMemory::default());
    let gate = AdmissionGate::new((), rules, Slot::off(), BTreeMap::new());
    let letters = Letters::new("in", metrics.clone(), true);
    Intake::new("in", Follow::new(&rules, true), Rc::default(), letters, metrics, (packer, gate), SourceBase::default())
}

/// The intake of a worker in its first live epoch, with one partition that was there from the beginning.
fn live() -> Intake<Line> {
    let mut intake = new(TimeRules::default());
    intake.joined(Partition(0), "p0");
    intake.introduce();
    intake.close_epoch(0, |_| ());
    intake.epoch = 100;
    intake.go_live(false);
    intake
}

#[test]
fn a_partition_that_comes_after_the_first_epoch_waits_for_the_watermark_it_may_be_behind() {
    let mut intake = live();
    // It is not known here whether the first epoch is complete; its updates were announced without the new partition
    // all the same.
    assert_eq!(intake.view.complete_before.get(), 0);
    intake.joined(Partition(1), "p1");
    intake.record(Partition(0), 0, b"at once");
    assert!(!intake.holds());
    intake.record(Partition(1), 0, b"later");
    assert!(intake.holds() && intake.release());

    intake.close_epoch(100, |_| ());
    intake.epoch = 200;
    intake.view.complete_before.set(101);
    intake.view.watermark.set(EventTime::from_millis(7));
    assert!(!intake.release() && !intake.holds());
    let bound = intake.close_epoch(200, |_| ());
    assert_eq!((bound[0].partition, bound[0].next, bound[0].floor), (1, 1, Some(EventTime::from_millis(7))));
}

#[test]
fn a_partition_that_comes_and_ends_without_a_record_does_not_keep_the_watermark() {
    let mut intake = live();
    intake.joined(Partition(1), "p1");
    intake.ended(Partition(1));
    let mut told = Vec::new();
    let bound = intake.close_epoch(100, |update| told.push(update));
    // There may be no other epoch in which it could be announced.
    assert!(
        told.contains(&WatermarkUpdate::Participates { partition: 1, participation: Participation::Ended }),
        "{told:?}"
    );
    assert_eq!(bound.last().map(|bound| (bound.partition, bound.phase)), Some((1, Phase::Ended)));
}

#[test]
fn a_partition_that_ends_while_its_records_wait_has_not_ended_yet() {
    let mut intake = live();
    intake.joined(Partition(1), "p1");
    intake.record(Partition(1), 0, b"waits");
    intake.ended(Partition(1));
    let bound = intake.close_epoch(100, |_| ());
    assert_eq!(bound.last().map(|bound| (bound.partition, bound.phase)), Some((1, Phase::Returned)));
}

#[test]
fn an_epoch_is_replayed_without_what_is_gone() {
    let mut intake = new(TimeRules::default());
    intake.joined(Partition(0), "p0");
    let joined = Some(Joined { label: "p0".into(), from: 0, identity: None });
    let binding = PartitionBinding { partition: 0, joined, next: 30, phase: Phase::Active, floor: None, follows: None };
    let bindings = BTreeMap::from([(0, binding)]);
    intake.replay(&bindings).unwrap();
    (0..10).for_each(|offset| intake.record(Partition(0), offset, b"x"));
    assert!(!intake.is_replayed(&bindings).unwrap());
    intake.gap(Partition(0), 40, 30);
    // Nothing comes after it.
    intake.caught_up(Partition(0));
    assert!(intake.is_replayed(&bindings).unwrap());
}
