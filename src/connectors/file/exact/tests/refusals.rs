//! What no crash explains is refused: each error names the sink, the file and a way out.

use super::*;

/// A shard with a finished file of epoch 1, and one of 6 committed bytes, of epoch 9, that is not finished.
fn committed() -> ModelDisk {
    let disk = ModelDisk::default();
    let mut shard = open(&disk, 3).unwrap();
    give(&mut shard, 1, &"x".repeat(60));
    give(&mut shard, 9, "sixth\n");
    shard.commit().unwrap();
    assert_eq!((rows_of(&disk, true).len(), rows_of(&disk, false).len()), (1, 1));
    disk
}

fn assert_refused(disk: &ModelDisk, generation: u64, parts: &[&str]) {
    let before = disk.all();
    let error = refusal(disk, generation);
    for part in ["sink \"alerts\"", "out/", "hint:"].iter().chain(parts) {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
    assert!(!error.replace("\n  ", "").contains("  "), "{error}");
    assert_eq!(disk.all(), before, "nothing is touched");
}

#[test]
fn an_older_generation_does_not_write() {
    let disk = committed();
    assert_refused(&disk, 2, &["generation 2", "generation 3", ".progress", "another run took over"]);
    open(&disk, 3).unwrap();
    open(&disk, 5).unwrap();
    assert_refused(&disk, 4, &["generation 4", "generation 5"]);
}

#[test]
fn a_damaged_log_names_the_byte() {
    let disk = committed();
    let path = naming().progress();
    let log = disk.read(&path).unwrap().unwrap();
    let lines: Vec<usize> = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let mut damaged = log.clone();
    damaged[lines[0] + 20] ^= 1;
    disk.meddle(&path, Some(&damaged));
    assert_refused(&disk, 4, &[&format!("damaged at byte {}", lines[0]), "checksum", ".progress\"", "another folder"]);
    disk.meddle(&path, Some(b""));
    assert_refused(&disk, 4, &["damaged at byte 0", "empty"]);
    // Only the end may be torn: then less is committed.
    disk.meddle(&path, Some(&log[..log.len() - 1]));
    assert_eq!(open(&disk, 4).unwrap().committed(), Some(1));
}

#[test]
fn a_log_that_was_deleted_is_missed() {
    let disk = committed();
    disk.meddle(&naming().progress(), None);
    assert_refused(&disk, 4, &["without the progress log", "-s01-000001.jsonl.partial", "was deleted"]);
}

#[test]
fn a_log_of_another_state_directory_is_not_taken_over() {
    let disk = committed();
    let other = Generation { state: "other".into(), number: 9 };
    let refused = |context: SinkContext, generation: &Generation| {
        let header = ProgressLogHeader::new(&context, generation);
        recover::open(disk.clone(), naming(), header, 9, ROLLING).err().expect("must not open").to_string()
    };
    let of_another = refused(context(9), &other);
    assert!(of_another.contains("directory \"a1b2\"") && of_another.contains("directory \"other\""), "{of_another}");
    let of_more = refused(SinkContext { shards: 5, ..context(9) }, &generation(9));
    assert!(of_more.contains("shard 1 of 4") && of_more.contains("shard 1 of 5"), "{of_more}");
}

#[test]
fn committed_rows_that_are_gone_are_missed() {
    let disk = committed();
    let partial = naming().partial(1);
    disk.meddle(&partial, Some(b"six"));
    assert_refused(&disk, 4, &["has lost rows", "3 bytes are left of 6", "-000001.jsonl.partial"]);
    disk.meddle(&partial, None);
    assert_refused(&disk, 4, &["has lost rows", "0 bytes are left of 6"]);
}

#[test]
fn a_file_of_another_in_the_way_is_not_stepped_over() {
    let disk = committed();
    let finished = naming().finished(1);
    disk.meddle(&finished, Some(b"other!"));
    assert_refused(&disk, 4, &["6 bytes", "-000001.jsonl\"", "move it away"]);
    disk.meddle(&finished, None);
    for later in [naming().finished(2), naming().partial(7)] {
        disk.meddle(&later, Some(b"other"));
        assert_refused(&disk, 4, &["did not write", &format!("{later:?}")]);
        disk.meddle(&later, None);
    }
    // A file that appears later is found when the current one is finished, and the rows stay.
    let mut shard = open(&disk, 4).unwrap();
    disk.meddle(&finished, Some(b"other"));
    let error = shard.seal(20).unwrap_err().to_string();
    assert!(error.contains("cannot finish") && error.contains("-000001.jsonl\""), "{error}");
    drop(shard);
    assert_refused(&disk, 5, &["5 bytes"]);
    disk.meddle(&finished, None);
    assert_eq!(open(&disk, 5).unwrap().committed(), Some(9));
    assert_eq!(rows_of(&disk, true).last().unwrap().1, b"sixth\n");
}
