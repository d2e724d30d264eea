//! A whole simulation: generations that crash, stop and fail one after the other, the last of which comes to the end, and then what is
//! committed against what has to be.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use object_store::memory::InMemory;
use serde_json::Value;
use tidewatch::checkpoint::store::CheckpointStore;
use tidewatch::flow::DEAD_LETTERS;

use super::baton::message;
use super::broker::{BROKER_SAYS, Broker, Faults};
use super::chance::Chance;
use super::check::{Differences, Rows};
use super::disk;
use super::flow::{MINUTES, PEAKS, SCORES, TOTALS};
use super::generation::{DISK_SAYS, End, Fate, Generation, World, stillborn};
use super::input::Input;
use super::oracle::{expected, letter, window_id};
use super::store::Store;

/// What happened, so that it can be said that it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The same for the same seed.
    pub(crate) trace: u64,
    pub(crate) turns: u64,
    pub(crate) rows: u64,
    pub(crate) dead_letters: u64,
    pub(crate) left_behind: u64,
    pub(crate) crashes: u64,
    pub(crate) stops: u64,
    pub(crate) failures: u64,
    pub(crate) torn: u64,
    pub(crate) stillborn: u64,
    /// Generations that had not to be.
    pub(crate) early: u64,
    pub(crate) clusters: u64,
    /// Generations that went on from a checkpoint.
    pub(crate) restored: u64,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.trace ^= other.trace;
        self.turns += other.turns;
        self.rows += other.rows;
        self.dead_letters += other.dead_letters;
        self.left_behind += other.left_behind;
        self.crashes += other.crashes;
        self.stops += other.stops;
        self.failures += other.failures;
        self.torn += other.torn;
        self.stillborn += other.stillborn;
        self.early += other.early;
        self.clusters += other.clusters;
        self.restored += other.restored;
    }
}

/// Generations that may die before one has to come to the end.
const DEATHS_MAX: u64 = 3;

/// Runs the simulation of `seed`; the error says what is wrong, and what happened on the way there.
pub(crate) fn simulate(seed: u64) -> Result<Report, String> {
    let mut story = Vec::new();
    let told = catch_unwind(AssertUnwindSafe(|| tell(seed, &mut story))).unwrap_or_else(|said| Err(message(&*said)));
    told.map_err(|wrong| format!("{wrong}\n  {}", story.join("\n  ")))
}

fn tell(seed: u64, story: &mut Vec<String>) -> Result<Report, String> {
    let chance = Chance::new(seed);
    let input = Arc::new(Input::draw(&chance));
    let mut world = World {
        broker: Broker::new(Arc::clone(&input), chance.clone()),
        store: Store::new(chance.clone()),
        state: disk::folder(),
        checkpoints: CheckpointStore::new(Arc::new(InMemory::new()), "the simulation".to_owned()).unwrap(),
        idle_after_ms: input.idle_after_ms,
        live: input.live,
        jump_max_ms: input.jump_max_ms,
        // 2100-01-01.
        now_ms: 4_102_444_800_000,
        chance,
    };
    let records: Vec<usize> = input.partitions.iter().map(|partition| partition.records.len()).collect();
    story.push(format!(
        "{records:?} records, {} partitions at first, {} after {} ms, jumps of {} ms",
        input.at_start,
        if input.live { "live" } else { "idle" },
        input.idle_after_ms,
        input.jump_max_ms
    ));
    let mut report = Report::default();
    for deaths_left in (0..=world.chance.below(DEATHS_MAX + 1)).rev() {
        if world.chance.one_in(6) {
            stillborn(&world);
            report.stillborn += 1;
            story.push("a generation that was never born".to_owned());
        }
        live(&mut world, deaths_left, &mut report, story)?;
    }
    check(&world, &input, &mut report)?;
    report.trace = world.chance.trace();
    Ok(report)
}

/// One generation from its beginning to its end.
fn live(world: &mut World, deaths_left: u64, report: &mut Report, story: &mut Vec<String>) -> Result<(), String> {
    let (processes, threads) = match world.chance.below(6) {
        0 => (2, 1),
        1 => (2, 2),
        2 => (3, 1),
        threads => (1, threads as usize - 1),
    };
    let fate = fate(world, deaths_left, processes);
    let slow = world.chance.between(2, 5);
    world.broker.set_faults(Faults { slow, fatal: if let Fate::Fail(fatal) = fate { fatal } else { 0 } });
    let mut generation = Generation::begin(world, processes, threads);
    let end = generation.run(world, fate);
    report.turns += generation.turns;
    report.clusters += u64::from(processes > 1);
    report.restored += u64::from(generation.restored);
    let from = if generation.restored { "a checkpoint" } else { "bindings" };
    let turns = generation.turns;
    let torn = generation.die(world);
    report.torn += torn;
    story.push(format!(
        "{processes} processes of {threads} workers, from {from}, {fate:?}: {end:?} after {turns} turns, {torn} logs torn"
    ));
    match (end, fate) {
        (End::Finished, Fate::Finish) => {}
        (End::Finished, _) => report.early += 1,
        (End::Stopped, _) => report.stops += 1,
        (End::Crashed, _) => report.crashes += 1,
        (End::Failed(why), Fate::Fail(_)) if why.contains(BROKER_SAYS) => report.failures += 1,
        (End::Failed(why), Fate::FullDisk(_)) if why.contains(DISK_SAYS) => report.failures += 1,
        (End::Failed(why), _) => return Err(why),
        (End::Stuck, _) => return Err("it does not come to an end".to_owned()),
    }
    Ok(())
}

fn fate(world: &World, deaths_left: u64, processes: usize) -> Fate {
    if deaths_left == 0 {
        return Fate::Finish;
    }
    let turn = world.chance.between(1, 1 << world.chance.between(4, 11));
    match world.chance.below(7) {
        0 => Fate::Stop(turn),
        // In a cluster a worker that fails stands still where it is, which a turn here cannot.
        1 if processes == 1 => Fate::Fail(world.chance.between(1, 50)),
        2 if processes == 1 => Fate::FullDisk(turn),
        _ => Fate::Crash(turn),
    }
}

/// Compares what is committed with what has to be.
fn check(world: &World, input: &Input, report: &mut Report) -> Result<(), String> {
    let parsed = |sink: &str| -> Vec<Value> {
        world.store.rows(sink).iter().map(|row| serde_json::from_slice(row).unwrap()).collect()
    };
    let letters: Vec<(String, Value)> = parsed(DEAD_LETTERS).iter().map(letter).collect();
    let left_behind: BTreeSet<String> =
        letters.iter().filter(|(_, reason)| reason == "late_after_idle").map(|(id, _)| id.clone()).collect();
    report.dead_letters = letters.len() as u64;
    report.left_behind = left_behind.len() as u64;
    if !left_behind.is_empty() && !input.may_leave_behind() {
        return Err(format!("left behind without a reason: {left_behind:?}"));
    }
    let expected = expected(input, &left_behind);
    let windows = |sink: &str| parsed(sink).into_iter().map(|row| (window_id(&row), row)).collect::<Vec<_>>();
    let (minutes, peaks, scores) = (windows(MINUTES), windows(PEAKS), windows(SCORES));
    report.rows = (minutes.len() + peaks.len() + scores.len()) as u64;
    let totals = standing(&parsed(TOTALS));
    let wrong: Vec<String> = [
        (TOTALS, Differences::between(&totals_of(&expected.minutes), totals)),
        (MINUTES, Differences::between(&expected.minutes, minutes)),
        (SCORES, Differences::between(&expected.scores, scores)),
        (PEAKS, Differences::between(&expected.peaks, peaks)),
        (DEAD_LETTERS, Differences::between(&expected.dead_letters, letters)),
    ]
    .into_iter()
    .filter(|(_, differences)| !differences.is_none())
    .map(|(sink, differences)| format!("{sink}: {differences}"))
    .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The rows that a sink of changes says are there, each as often as it says.
fn standing(changes: &[Value]) -> Vec<(String, Value)> {
    let mut rows: BTreeMap<String, (Value, i64)> = BTreeMap::new();
    for change in changes {
        let row = &change["row"];
        rows.entry(row.to_string()).or_insert((row.clone(), 0)).1 += change["by"].as_i64().unwrap();
    }
    rows.retain(|_, (_, times)| *times != 0);
    let told = |(row, times): (Value, i64)| {
        let key = row[0].as_str().unwrap().to_owned();
        let often = if times == 1 { row[1].clone() } else { Value::from(format!("{times} times {row}")) };
        (key, often)
    };
    rows.into_values().map(told).collect()
}

/// How many readings of each key are in some window.
fn totals_of(minutes: &Rows) -> Rows {
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    for window in minutes.values() {
        *totals.entry(window["key"].as_str().unwrap().to_owned()).or_default() += window["value"][0].as_u64().unwrap();
    }
    totals.into_iter().map(|(key, count)| (key, Value::from(count))).collect()
}
