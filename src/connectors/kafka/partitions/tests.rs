use super::*;

/// What was said, one line each.
#[derive(Default)]
struct Said(Vec<String>);

impl Collector for Said {
    fn joined(&mut self, partition: Partition, label: &str) {
        self.0.push(format!("{} joined as {label}", partition.0));
    }
    fn record(&mut self, partition: Partition, offset: u64, bytes: &[u8]) {
        self.0.push(format!("{} @{offset} {}", partition.0, String::from_utf8_lossy(bytes)));
    }
    fn rejected(&mut self, partition: Partition, offset: u64, size: u64, head: &[u8], reason: Reason, _: &str) {
        self.0.push(format!("{} @{offset} {reason} {size} {}", partition.0, head.len()));
    }
    fn caught_up(&mut self, partition: Partition) {
        self.0.push(format!("{} caught up", partition.0));
    }
    fn lag(&mut self, partition: Partition, lag: u64) {
        self.0.push(format!("{} lag {lag}", partition.0));
    }
    fn ended(&mut self, partition: Partition) {
        self.0.push(format!("{} ended", partition.0));
    }
}

fn figures(partition: u32, end: i64, empty: bool) -> [PartitionReport; 1] {
    [PartitionReport { partition, end, empty }]
}

#[test]
fn a_finite_partition_ends_at_its_end_and_no_record_beyond_it_is_handed_over() {
    let (mut said, mut partitions) = (Said::default(), Partitions::new(100));
    partitions.add(2, 5, Some(7));
    partitions.add(0, 9, Some(9));
    partitions.announce(&mut said);
    partitions.record(2, 5, Payload::Whole(b"a"), &mut said);
    assert!(!partitions.all_ended());
    assert_eq!(partitions.positions().collect::<Vec<_>>(), [(2, 6)]);
    partitions.record(2, 6, Payload::Whole(b"b"), &mut said);
    partitions.record(2, 7, Payload::Whole(b"beyond"), &mut said);
    assert!(partitions.all_ended());
    assert_eq!(said.0, ["2 joined as 2", "0 joined as 0", "0 ended", "2 @5 a", "2 @6 b", "2 ended"]);
    assert_eq!((partitions.newly_ended(), partitions.newly_ended()), (vec![0, 2], vec![]));
}

#[test]
fn control_records_up_to_the_end_are_passed_by_the_end_of_the_log_or_by_a_later_record() {
    for by_record in [false, true] {
        let (mut said, mut partitions) = (Said::default(), Partitions::new(100));
        partitions.add(0, 0, Some(3));
        partitions.announce(&mut said);
        partitions.record(0, 0, Payload::Whole(b"a"), &mut said);
        if by_record {
            partitions.record(0, 5, Payload::Whole(b"beyond"), &mut said);
        } else {
            partitions.end_of_log(0, &mut said);
        }
        assert!(partitions.all_ended());
        assert_eq!(said.0.last().map(String::as_str), Some("0 ended"));
        assert!(!said.0.iter().any(|line| line.contains("beyond")));
    }
}

#[test]
fn what_is_no_record_is_rejected_with_the_reason() {
    let (mut said, mut partitions) = (Said::default(), Partitions::new(5000));
    partitions.add(0, 0, None);
    partitions.record(0, 0, Payload::of(Some(&[0; 5000]), 5000), &mut said);
    partitions.record(0, 1, Payload::of(Some(&[0; 5001]), 5000), &mut said);
    partitions.record(0, 2, Payload::Missing, &mut said);
    partitions.record(0, 3, Payload::Whole(b""), &mut said);
    assert!(said.0[0].starts_with("0 @0 \0"));
    assert_eq!(said.0[1..], ["0 @1 too_large 5001 4096", "0 @2 malformed 0 0", "0 @3 "]);
}

#[test]
fn offsets_only_grow() {
    let (mut said, mut partitions) = (Said::default(), Partitions::new(100));
    partitions.add(0, 4, None);
    assert!(!partitions.record(0, 4, Payload::Whole(b"a"), &mut said));
    assert!(partitions.record(0, 4, Payload::Whole(b"a"), &mut said));
    assert!(partitions.record(0, 3, Payload::Whole(b"z"), &mut said));
    assert!(!partitions.record(0, 9, Payload::Whole(b"b"), &mut said));
    assert_eq!(said.0, ["0 @4 a", "0 @9 b"]);
    assert!(!partitions.record(7, 0, Payload::Whole(b"of another worker"), &mut said));
}

#[test]
fn an_idle_partition_is_said_to_be_empty_only_while_fetches_come_back_empty() {
    let (mut said, mut partitions) = (Said::default(), Partitions::new(100));
    partitions.add(0, 0, None);
    partitions.record(0, 0, Payload::Whole(b"a"), &mut said);
    partitions.report(&figures(0, 3, true), true, &mut said); // the end was not reached by us
    partitions.end_of_log(0, &mut said); // two control records lie before it
    partitions.report(&figures(0, 3, true), false, &mut said); // something may still be queued
    partitions.report(&figures(0, 3, true), true, &mut said);
    partitions.report(&figures(0, 3, false), true, &mut said); // the broker is silent
    partitions.report(&figures(0, 9, false), true, &mut said); // there is more, not fetched yet
    let expected =
        ["0 @0 a", "0 lag 2", "0 lag 0", "0 caught up", "0 lag 2", "0 lag 0", "0 caught up", "0 lag 0", "0 lag 8"];
    assert_eq!(said.0, expected);
}
