//! Times of lines that do not say their zone.

use super::*;

/// The times that a partition of lines with these stamps has.
fn times(zone: &str, stamps: &[&str]) -> Vec<String> {
    let zone = Some(Zone::parse(zone).unwrap());
    let mut decoder = AuthLine::decoder(&AuthOptions { year: Some(2026), zone: zone.clone() });
    let mut read = |stamp: &&str| {
        let line = decoder.decode(format!("{stamp} h sshd[1]: x").as_bytes(), NOW).unwrap();
        // A checkpoint between any two lines changes nothing.
        let state = decoder.state().unwrap();
        decoder = AuthLine::decoder(&AuthOptions { year: Some(2026), zone: zone.clone() });
        decoder.resume(&state).unwrap();
        line.at.to_string()[5..19].to_owned()
    };
    stamps.iter().map(&mut read).collect()
}

#[test]
fn zones_and_offsets_are_applied_to_times_that_say_none() {
    assert_eq!(times("Europe/Berlin", &["May  1 12:00:00", "Dec  1 12:00:00"]), ["05-01T10:00:00", "12-01T11:00:00"]);
    for stamp in
        ["2026-05-01T12:00:00", "2026-05-01 12:00:00", "May  1 2026 12:00:00", "2026-05-01T10:00:00Z", "1777629600"]
    {
        assert_eq!(times("Europe/Berlin", &[stamp]), ["05-01T10:00:00"], "{stamp}");
        assert_eq!(times("+02:00", &[stamp]), ["05-01T10:00:00"], "{stamp}");
    }
    assert_eq!(times("-0330", &["May  1 12:00:00"]), ["05-01T15:30:00"]);
    for utc in ["UTC", "Etc/UTC", "+00:00", "Europe/London"] {
        assert_eq!(times(utc, &["Dec  1 12:00:00"]), ["12-01T12:00:00"], "{utc}");
    }
}

#[test]
fn a_time_that_clocks_skipped_is_moved_on() {
    let stamps = ["Mar 29 01:59:59", "Mar 29 02:30:00", "Mar 29 03:00:00"];
    assert_eq!(times("Europe/Berlin", &stamps), ["03-29T00:59:59", "03-29T01:30:00", "03-29T01:00:00"]);
}

#[test]
fn an_hour_that_is_there_twice_is_told_apart_by_the_order_of_the_lines() {
    // 02:00 to 03:00 is there twice: from 00:00Z and from 01:00Z.
    let passes = [
        "Oct 25 01:59:00",
        "Oct 25 02:10:00",
        "Oct 25 02:59:00",
        "Oct 25 02:10:00",
        "Oct 25 02:59:58",
        "Oct 25 03:10:00",
    ];
    assert_eq!(
        times("Europe/Berlin", &passes),
        ["10-24T23:59:00", "10-25T00:10:00", "10-25T00:59:00", "10-25T01:10:00", "10-25T01:59:58", "10-25T02:10:00"]
    );
    let disorder = ["Oct 25 02:10:00", "Oct 25 02:09:30", "Oct 25 02:40:00", "Oct 25 02:20:00", "Oct 25 02:41:00"];
    assert_eq!(
        times("Europe/Berlin", &disorder),
        ["10-25T00:10:00", "10-25T00:09:30", "10-25T00:40:00", "10-25T00:20:00", "10-25T00:41:00"],
        "steps back of less than half an hour are disorder"
    );
    let straggler = ["Oct 25 02:59:59", "Oct 25 02:00:00", "Oct 25 02:59:58", "Oct 25 02:00:01", "Oct 25 02:30:00"];
    assert_eq!(
        times("Europe/Berlin", &straggler),
        ["10-25T00:59:59", "10-25T01:00:00", "10-25T00:59:58", "10-25T01:00:01", "10-25T01:30:00"]
    );
    assert_eq!(times("Europe/Berlin", &["Oct 25 02:30:00"]), ["10-25T00:30:00"], "nothing tells");
    let told = ["2026-10-25T01:20:00Z", "Oct 25 02:30:00"];
    assert_eq!(times("Europe/Berlin", &told), ["10-25T01:20:00", "10-25T01:30:00"], "another line says it");
    // Half an hour, in autumn of the south; and the years apart.
    let lord_howe = ["Apr  5 01:59:00", "Apr  5 01:35:00", "Apr  5 01:59:59"];
    assert_eq!(times("Australia/Lord_Howe", &lord_howe), ["04-04T14:59:00", "04-04T15:05:00", "04-04T15:29:59"]);
    let years = ["Oct 25 2026 02:59:00", "Oct 25 2026 02:10:00", "Oct 31 2027 02:10:00"];
    assert_eq!(times("Europe/Berlin", &years), ["10-25T00:59:00", "10-25T01:10:00", "10-31T00:10:00"]);
}

#[test]
fn the_year_is_inferred_in_the_zone() {
    let year = |zone: &str, now: &str, stamp: &str| {
        let zone = Some(Zone::parse(zone).unwrap());
        let now = now.parse::<jiff::Timestamp>().unwrap().as_millisecond() as u64;
        let line = format!("{stamp} h sshd[1]: x");
        AuthLine::decoder(&AuthOptions { year: None, zone }).decode(line.as_bytes(), now).unwrap().at.to_string()
    };
    assert_eq!(year("+14:00", "2025-12-31T11:00:00Z", "Jan  1 01:00:00"), "2025-12-31T11:00:00Z");
    assert_eq!(year("+14:00", "2025-12-31T11:00:00Z", "Jan  2 01:00:00"), "2026-01-01T11:00:00Z", "a day ahead");
    assert_eq!(year("+14:00", "2025-12-31T11:00:00Z", "Jan  2 01:00:01"), "2025-01-01T11:00:01Z");
}

#[test]
fn times_that_cannot_be_told_are_refused() {
    let mut decoder = AuthLine::decoder(&AuthOptions { year: Some(9999), zone: Some(Zone::parse("-14:00").unwrap()) });
    let why = decoder.decode(b"Dec 31 23:00:00 h sshd[1]: x", NOW).unwrap_err();
    assert!(why.detail.contains("9999-12-31T23:00:00"), "{why:?}");
}
