//! A crash at every step, and then another, with every state of the disk that may be left.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;

const EPOCHS: Epoch = 16;

/// The rows of an epoch, some of which have none: the same at each replay.
fn rows(epoch: Epoch) -> String {
    let count = [2, 0, 1, 3, 0, 0, 9][epoch as usize % 7];
    (0..count).map(|row| format!("{{\"epoch\":{epoch},\"row\":{row}}}\n")).collect()
}

fn rows_to(epoch: Option<Epoch>) -> String {
    (1..=epoch.unwrap_or(0)).map(rows).collect()
}

/// How a run ended.
struct CrashRun {
    /// The newest epoch that it reported as durable.
    durable: Option<Epoch>,
    /// Whether it ran to its end.
    finished: bool,
}

/// One generation, which makes `group` epochs durable at a time. It ends when the power is cut.
fn run(disk: &ModelDisk, generation: u64, group: u64) -> CrashRun {
    let mut durable = None;
    let ended = (|| {
        let mut shard = open(disk, generation)?;
        let committed = shard.committed();
        durable = committed;
        for epoch in 1..=EPOCHS {
            if Some(epoch) > committed && !rows(epoch).is_empty() {
                let text = rows(epoch);
                let (begin, end) = text.split_at(text.len() / 3);
                shard.append(begin.as_bytes())?;
                shard.append(end.as_bytes())?;
            }
            shard.seal(epoch)?;
            if epoch.is_multiple_of(group) {
                shard.commit()?;
            }
            durable = shard.committed();
        }
        shard.finish()?;
        durable = shard.committed();
        Ok::<_, crate::error::Error>(())
    })();
    if let Err(error) = &ended {
        assert!(error.to_string().contains("the power is off"), "{error}");
    }
    CrashRun { durable, finished: ended.is_ok() }
}

/// Checks a disk as the next generation finds it, and the files that readers have seen and perhaps moved away.
struct DiskReader {
    /// Finished files that were seen once.
    seen: BTreeMap<String, Vec<u8>>,
    /// Whether it deletes what it has seen.
    takes: bool,
}

impl DiskReader {
    fn look(&mut self, disk: &ModelDisk) {
        for (name, text) in rows_of(disk, true) {
            let before = self.seen.entry(name.clone()).or_insert_with(|| text.clone());
            assert_eq!(*before, text, "{name} changed after it was finished");
            if self.takes {
                disk.meddle(&naming().folder().join(name), None);
            }
        }
    }

    fn text(&self) -> String {
        self.seen.values().map(|text| String::from_utf8_lossy(text)).collect()
    }

    /// What a generation that only opens the shard finds is exactly what is committed, and at least `durable`.
    fn check(&mut self, disk: &ModelDisk, generation: u64, durable: Option<Epoch>) {
        self.look(disk);
        let disk = disk.after_kill();
        let committed = open(&disk, generation).unwrap_or_else(|error| panic!("{error}")).committed();
        assert!(committed >= durable, "{durable:?} was durable, and only {committed:?} is left");
        // Opening may have finished the file.
        let mut seen = DiskReader { seen: self.seen.clone(), takes: false };
        seen.look(&disk);
        assert_eq!(seen.text() + &text_of(&rows_of(&disk, false)), rows_to(committed));
    }

    fn check_end(&mut self, disk: &ModelDisk) {
        self.look(disk);
        assert_eq!(self.text(), rows_to(Some(EPOCHS)));
        assert!(rows_of(disk, false).is_empty(), "everything is finished");
    }
}

/// The steps of an uninterrupted run.
fn steps(group: u64) -> u64 {
    let disk = ModelDisk::default();
    assert!(run(&disk, 1, group).finished);
    let mut reader = DiskReader { seen: BTreeMap::new(), takes: false };
    reader.check_end(&disk);
    assert!(reader.seen.len() > 3, "it rolls: {:?}", reader.seen.keys());
    disk.counts().steps
}

#[test]
fn a_crash_at_any_step_loses_and_repeats_nothing() {
    let mut random = Pcg64Mcg::seed_from_u64(1);
    for group in [1, 3, 100] {
        for stop in 0..steps(group) {
            let disk = ModelDisk::default();
            disk.stop_at(stop);
            let CrashRun { durable, finished } = run(&disk, 1, group);
            assert!(!finished);
            for left in 0..5 {
                let rebooted = if left == 0 { disk.after_kill() } else { disk.after_power_loss(&mut random) };
                let mut reader = DiskReader { seen: BTreeMap::new(), takes: left % 2 == 1 };
                reader.check(&rebooted, 2, durable);
                assert!(run(&rebooted, 2, group).finished);
                reader.check_end(&rebooted.after_power_loss(&mut random));
            }
        }
    }
}

#[test]
fn crash_after_crash_loses_and_repeats_nothing() {
    for seed in 0..300 {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let group = 1 + u64::from(random.next_u32() % 4);
        let mut reader = DiskReader { seen: BTreeMap::new(), takes: seed % 2 == 1 };
        let mut disk = ModelDisk::default();
        let mut generation = 1;
        loop {
            disk.stop_at(u64::from(random.next_u32() % 40));
            let CrashRun { durable, finished } = run(&disk, generation, group);
            // A reader may look while it runs, but what it deleted then may come back after the power loss.
            if !reader.takes {
                reader.look(&disk);
            }
            if finished {
                break;
            }
            let killed = random.next_u32().is_multiple_of(2);
            disk = if killed { disk.after_kill() } else { disk.after_power_loss(&mut random) };
            generation += 1;
            reader.check(&disk, generation, durable);
        }
        reader.check_end(&disk);
    }
}

#[test]
fn a_file_with_both_names_is_a_rename_that_was_not_complete() {
    for stop in 0..steps(1) {
        let disk = ModelDisk::default();
        disk.stop_at(stop);
        let durable = run(&disk, 1, 1).durable;
        let disk = disk.after_kill();
        let before = rows_of(&disk, true);
        // The crash came between the steps after which the next generation renames a file before it writes anything
        // else.
        let mut found = open(&disk.after_kill(), 2).map(|_| rows_of(&disk, false)).unwrap();
        let next = disk.after_kill();
        open(&next, 2).unwrap();
        if rows_of(&next, true).len() == before.len() {
            continue;
        }
        let (hidden, _) = found.pop().expect("it was finished from this one");
        let number = naming().sequence(&hidden).unwrap();
        disk.link(&naming().partial(number), &naming().finished(number));
        let mut reader = DiskReader { seen: BTreeMap::new(), takes: false };
        reader.check(&disk, 2, durable);
        assert!(run(&disk, 2, 1).finished);
        reader.check_end(&disk);
        return;
    }
    panic!("no crash left a file that was being finished");
}

#[test]
fn a_flush_that_fails_ends_the_run_and_is_not_counted() {
    let whole = {
        let disk = ModelDisk::default();
        run(&disk, 1, 1);
        disk.counts().syncs
    };
    let mut random = Pcg64Mcg::seed_from_u64(2);
    for failing in 0..whole {
        let disk = ModelDisk::default();
        disk.fail_sync(failing);
        let mut durable = None;
        let error = (|| {
            let mut shard = open(&disk, 1)?;
            for epoch in 1..=EPOCHS {
                shard.append(rows(epoch).as_bytes())?;
                shard.seal(epoch)?;
                shard.commit()?;
                durable = shard.committed();
            }
            shard.finish()
        })();
        let error = error.unwrap_err();
        assert_eq!(error.kind().exit_code(), 4);
        let error = error.to_string();
        assert!(error.contains("\"alerts\"") && error.contains("a flush failed") && error.contains("hint:"), "{error}");
        DiskReader { seen: BTreeMap::new(), takes: false }.check(&disk.after_power_loss(&mut random), 2, durable);
        // The next process reads what was not written, and must not rely on it.
        let next = disk.after_kill();
        let CrashRun { durable, finished } = run(&next, 2, 3);
        assert!(finished && durable == run(&next, 3, 1).durable);
        DiskReader { seen: BTreeMap::new(), takes: false }.check_end(&next.after_power_loss(&mut random));
        for stop in 0..next.counts().steps {
            let next = disk.after_kill();
            next.stop_at(stop);
            let durable = run(&next, 2, 3).durable;
            DiskReader { seen: BTreeMap::new(), takes: false }.check(&next.after_power_loss(&mut random), 3, durable);
        }
    }
}

#[test]
fn all_epochs_that_wait_share_one_pair_of_flushes() {
    let disk = ModelDisk::default();
    let rolling = Rolling { bytes: u64::MAX, after_ms: u64::MAX };
    let header = ProgressLogHeader::new(&context(1), &generation(1));
    let mut shard = recover::open(disk.clone(), naming(), header, 1, rolling).unwrap();
    let before = disk.counts().syncs;
    (1..=100).for_each(|epoch| give(&mut shard, epoch, "row\n"));
    shard.commit().unwrap();
    assert_eq!((shard.committed(), disk.counts().syncs - before), (Some(100), 2));
    // Nothing new: nothing to flush, whatever is sealed.
    shard.seal(200).unwrap();
    shard.commit().unwrap();
    assert_eq!((shard.committed(), disk.counts().syncs - before), (Some(100), 2));
}

#[test]
fn the_log_stays_small() {
    let disk = ModelDisk::default();
    let rolling = Rolling { bytes: u64::MAX, after_ms: u64::MAX };
    let header = ProgressLogHeader::new(&context(1), &generation(1));
    let mut shard = recover::open(disk.clone(), naming(), header, 1, rolling).unwrap();
    for epoch in 1..=2_000 {
        give(&mut shard, epoch, "row\n");
        shard.commit().unwrap();
    }
    let log = disk.read(&naming().progress()).unwrap().unwrap();
    assert!(log.len() <= 64 * 1024, "{} bytes", log.len());
    assert_eq!(open(&disk, 2).unwrap().committed(), Some(2_000));
}
