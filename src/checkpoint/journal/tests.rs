use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::Duration;

use super::*;

fn journals(folder: &Path) -> Journals {
    Journals::new(folder, "s").segments_of(200)
}

fn wanted(from: u64, next: u64) -> Wanted {
    Wanted { from, next, bytes_max: u64::MAX }
}

/// Appends each of `frames` as one.
fn append(appender: &mut Appender, frames: &[&[&str]]) {
    let mut batch = FrameBatch::default();
    for frame in frames {
        frame.iter().for_each(|record| batch.push(Entry::Record(record.as_bytes())));
        assert!(appender.append(&mut batch).unwrap());
        assert_eq!(batch.entries(), 0);
    }
}

fn read_all(cursor: &mut JournalReader) -> Result<Vec<(u64, String)>> {
    let mut all = Vec::new();
    while let Some((offset, entry)) = cursor.read()? {
        let text = match entry {
            Entry::Record(record) => String::from_utf8_lossy(record).into_owned(),
            Entry::Rejected { size, head } => format!("{size} {}", String::from_utf8_lossy(head)),
        };
        all.push((offset, text));
    }
    Ok(all)
}

fn all(folder: &Path, wanted: Wanted) -> Result<Vec<(u64, String)>> {
    let (_, _, mut cursor) = journals(folder).open("in", 0, wanted)?;
    read_all(&mut cursor)
}

fn numbered(texts: &[&str], from: u64) -> Vec<(u64, String)> {
    (from..).zip(texts.iter().map(|text| (*text).to_owned())).collect()
}

/// The files of the journal, the oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder.join("journal/in-0")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn offsets_continue_over_generations_and_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected: Vec<String> = Vec::new();
    for generation in 0..5 {
        let (journal, mut appender, mut cursor) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
        assert_eq!(journal.durable(), expected.len() as u64);
        for n in 0..20 {
            let texts = [format!("{generation}/{n}"), "x".repeat(n)];
            append(&mut appender, &[&[&texts[0], &texts[1]]]);
            expected.extend(texts);
        }
        let texts: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_eq!(read_all(&mut cursor).unwrap(), numbered(&texts, 0));
        assert_eq!(cursor.offset(), journal.durable());
        for from in [1, 2, 39, 40] {
            let mut cursor = JournalReader::new(journal.clone(), from, frame::seed("s"));
            assert_eq!(read_all(&mut cursor).unwrap(), numbered(&texts[from as usize..], from));
        }
    }
    assert!(files(folder.path()).len() > 10);
    for path in files(folder.path()) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(folder.path().join("journal/in-0")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn rejected_lines_are_kept_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut appender, mut cursor) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
    let mut batch = FrameBatch::default();
    batch.push(Entry::Rejected { size: 5_000, head: b"abc" });
    batch.push(Entry::Record(b"next"));
    appender.append(&mut batch).unwrap();
    assert_eq!(read_all(&mut cursor).unwrap(), numbered(&["5000 abc", "next"], 0));
}

/// A journal of one segment, with frames of two records, two records and one.
fn three_frames() -> (tempfile::TempDir, PathBuf, Vec<u8>, Vec<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let (journal, mut appender, _) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
    let mut ends = Vec::new();
    for frame in [&["a", "b"][..], &["c", "twj1"], &["e"]] {
        append(&mut appender, &[frame]);
        ends.push(journal.bytes() as usize);
    }
    let path = files(folder.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), ends[2]);
    (folder, path, bytes, ends)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_resumed_from() {
    let (folder, path, whole, ends) = three_frames();
    let texts = ["a", "b", "c", "twj1", "e"];
    for cut in 0..=whole.len() {
        let complete = ends.iter().filter(|end| **end <= cut).count();
        let begin = complete.checked_sub(1).map_or(0, |last| ends[last]);
        let frame = begin..ends.get(complete).copied().unwrap_or(whole.len());
        // After the process died; and after the machine died, which had written one part or the other.
        let (mut second, mut first) = (whole[..frame.end].to_vec(), whole[..frame.end].to_vec());
        second[cut..].fill(0);
        first[begin..cut.max(begin + 1).min(frame.end)].fill(0);
        for bytes in [whole[..cut].to_vec(), second, first] {
            fs::write(&path, &bytes).unwrap();
            let left = [0, 2, 4, 5][complete];
            let (journal, mut appender, mut cursor) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
            assert_eq!(journal.durable(), left, "cut at {cut}");
            append(&mut appender, &[&["new"]]);
            let mut expected = texts[..left as usize].to_vec();
            expected.push("new");
            assert_eq!(read_all(&mut cursor).unwrap(), numbered(&expected, 0));
        }
    }
}

#[test]
fn a_flipped_bit_is_an_error_that_names_file_and_byte() {
    let (folder, path, whole, ends) = three_frames();
    let begin = |at: usize| ends.iter().copied().filter(|end| *end <= at).max().unwrap_or(0);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            fs::write(&path, &flipped).unwrap();
            // For the last frame nobody can tell whether it was ever whole, unless its records were bound to an epoch.
            let next = if at < ends[1] { 0 } else { 5 };
            let error = all(folder.path(), wanted(0, next)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::State);
            let error = error.to_string();
            let place = format!("damaged at byte {}: ", begin(at));
            assert!(error.contains(path.to_str().unwrap()) && error.contains(&place), "{at}.{bit}: {error}");
        }
    }
    fs::write(&path, &whole[..ends[1]]).unwrap();
    let error = all(folder.path(), wanted(0, 5)).unwrap_err().to_string();
    assert!(error.contains("it ends; the records from offset 4 to 5 were read from it"), "{error}");
    assert_eq!(fs::read(&path).unwrap().len(), ends[1], "nothing is cut off then");
}

#[test]
fn damage_of_an_older_segment_is_seen_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut appender, _) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
    (0..20).for_each(|_| append(&mut appender, &[&["some text"]]));
    let paths = files(folder.path());
    assert!(paths.len() > 3);
    let whole = fs::read(&paths[1]).unwrap();
    let expect = |bytes: &[u8], what: &str| {
        fs::write(&paths[1], bytes).unwrap();
        let error = all(folder.path(), wanted(0, 0)).unwrap_err().to_string();
        assert!(error.contains(paths[1].to_str().unwrap()) && error.contains("damaged at byte"), "{error}");
        assert!(error.contains(what), "{error}");
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        expect(&flipped, "");
        expect(&whole[..at], "");
    }
    let frame = whole.len() / 5;
    expect(&whole[frame..], "is not there, but that at");
    fs::remove_file(&paths[1]).unwrap();
    let error = all(folder.path(), wanted(0, 0)).unwrap_err().to_string();
    assert!(error.contains(paths[0].to_str().unwrap()) && error.contains("it ends, and the record"), "{error}");
    fs::remove_file(&paths[0]).unwrap();
    let error = all(folder.path(), wanted(0, 0)).unwrap_err().to_string();
    assert!(error.contains("has no records from offset 0 on"), "{error}");
}

#[test]
fn a_journal_that_is_gone_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = all(folder.path(), wanted(0, 7)).unwrap_err().to_string();
    assert!(error.contains("earlier runs read those before offset 7"), "{error}");
    assert_eq!(all(folder.path(), wanted(7, 7)).unwrap(), []);
    assert!(files(folder.path())[0].ends_with("00000000000000000007.log"));
}

#[test]
fn whole_segments_are_pruned_and_never_one_that_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, mut appender, mut cursor) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
    let texts: Vec<String> = (0..20).map(|n| format!("text {n:4}")).collect();
    texts.iter().for_each(|text| append(&mut appender, &[&[text]]));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let before = journal.bytes();
    assert_eq!(cursor.read().unwrap(), Some((0, Entry::Record(b"text    0"))));
    for offset in 0..=25 {
        journal.prune(offset);
        let from = offset.min(20);
        assert!(journal.begins() <= from && (offset < 5 || journal.begins() + 5 >= from), "{offset}");
        assert_eq!(all(folder.path(), wanted(from, 20)).unwrap(), numbered(&texts[from as usize..], from));
    }
    assert!(journal.bytes() < before);
    assert_eq!(files(folder.path()).len(), 1);
    append(&mut appender, &[&["more"]]);
    assert_eq!(all(folder.path(), wanted(20, 20)).unwrap(), numbered(&["more"], 20));
    assert!(all(folder.path(), wanted(3, 20)).is_err());
}

/// As if the machine had died before a deletion was on the disk, though later ones were.
#[test]
fn segments_that_come_back_after_they_were_pruned_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, mut appender, _) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
    (0..20).for_each(|_| append(&mut appender, &[&["some text"]]));
    let (first, bytes) = (files(folder.path()).remove(0), fs::read(&files(folder.path())[0]).unwrap());
    journal.prune(16);
    fs::write(&first, bytes).unwrap();
    let (journal, _, mut cursor) = journals(folder.path()).open("in", 0, wanted(16, 20)).unwrap();
    assert_eq!(read_all(&mut cursor).unwrap().len(), 4);
    journal.prune(16);
    assert!(!first.exists());
}

#[test]
fn a_full_journal_takes_nothing_until_it_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let limited = Wanted { bytes_max: 500, ..wanted(0, 0) };
    let (journal, mut appender, mut cursor) = journals(folder.path()).open("in", 0, limited).unwrap();
    let (told, appended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut batch = FrameBatch::default();
        loop {
            batch.push(Entry::Record(b"some text"));
            if !appender.append(&mut batch).unwrap() {
                return;
            }
            told.send(()).unwrap();
        }
    });
    let wait = || {
        while appended.recv_timeout(Duration::from_millis(200)).is_ok() {}
        assert!(journal.is_full());
        journal.durable()
    };
    // 41 bytes a frame: with the 13th there are 500.
    assert_eq!((wait(), journal.bytes()), (13, 13 * 41));
    assert_eq!(read_all(&mut cursor).unwrap().len(), 13);
    journal.prune(4);
    assert_eq!((wait(), journal.bytes()), (13, 13 * 41), "no whole segment could go");
    journal.prune(5);
    assert_eq!(wait(), 18, "a segment of five went");
    assert_eq!(read_all(&mut cursor).unwrap().len(), 5);
    journal.prune(18);
    assert_eq!(wait(), 18 + 13, "all that there was could go");
    assert_eq!(read_all(&mut cursor).unwrap().len(), 13);
    journal.close();
    thread.join().unwrap();
    assert_eq!(all(folder.path(), Wanted { from: 18, ..wanted(0, 31) }).unwrap().len(), 13);
}

#[test]
fn what_cannot_be_written_is_an_error_and_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _, mut cursor) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
    let full = fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
    let mut appender = Appender::new(journal.clone(), full, 1, 1_000);
    let mut batch = FrameBatch::default();
    batch.push(Entry::Record(b"x"));
    let error = appender.append(&mut batch).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("free some space"), "{error}");
    assert!(error.contains(files(folder.path())[0].to_str().unwrap()), "{error}");
    assert_eq!((journal.durable(), cursor.read().unwrap()), (0, None));
    // The next segment would have this name.
    append(&mut journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap().1, &[&["y"]]);
    let (_, mut appender, _) = journals(folder.path()).segments_of(1).open("in", 0, wanted(0, 0)).unwrap();
    fs::create_dir(folder.path().join("journal/in-0/00000000000000000001.log")).unwrap();
    let error = appender.append(&mut batch).unwrap_err().to_string();
    assert!(error.contains("00000000000000000001.log"), "{error}");
}

#[test]
fn a_closed_journal_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, mut appender, _) = journals(folder.path()).open("in", 0, wanted(0, 0)).unwrap();
    journal.close();
    let mut batch = FrameBatch::default();
    batch.push(Entry::Record(b"x"));
    assert!(!appender.append(&mut batch).unwrap());
    assert_eq!(journal.bytes(), 0);
}
