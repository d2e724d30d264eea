//! A cluster on a state directory: started, killed while it works, started again in another size, and allowed to
//! finish.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::input::Random;
use super::process::{PATIENCE, Process, signal, tidewatch};

/// What is done to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Victim {
    /// One of the processes is killed: the supervisor starts the cluster again.
    One,
    /// One of the processes is stopped, and never continued.
    Stopped,
    /// All of them and the supervisor; another cluster follows.
    All,
}

/// A seed and a number of rounds, from the environment or the defaults.
pub(crate) fn seed_and_rounds(rounds: usize) -> (u64, usize) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    (number("TIDEWATCH_SEED").unwrap_or(42), number("TIDEWATCH_ROUNDS").map_or(rounds, |rounds| rounds as usize))
}

/// How many records there are for a number of kills: the last one still finds the cluster at work.
pub(crate) fn records(rounds: usize) -> usize {
    (rounds * 80_000).max(200_000)
}

/// Where the sizes of clusters come from: processes, and workers in each.
const SIZES: [(usize, usize); 4] = [(1, 1), (3, 1), (2, 1), (1, 2)];

/// The dataflow and its settings.
pub(crate) struct Rounds {
    pub(crate) state: PathBuf,
    pub(crate) settings: Vec<String>,
    /// How far the partitions must have advanced, in offsets of all together, for a generation to count as having
    /// worked.
    pub(crate) progress: u64,
}

/// How far the partitions were ever bound: old bindings are deleted after a checkpoint.
#[derive(Default)]
struct Bound(BTreeMap<u64, u64>);

impl Bound {
    /// Reads the present bindings, and returns how far all partitions together are.
    fn look(&mut self, state: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(state.join("bindings")) else { return 0 };
        for entry in entries {
            // A file may be deleted meanwhile.
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            // A checksum, a space, and JSON; the last line may not be whole, and the first is of another kind.
            for frame in text.lines().filter_map(|line| line.split_once(' ')) {
                let frame: Value = serde_json::from_str(frame.1).unwrap_or_default();
                let bindings = frame.as_array().into_iter().flatten();
                for partition in bindings.filter_map(|binding| binding["partitions"].as_array()).flatten() {
                    let (number, next) =
                        (partition["partition"].as_u64().unwrap(), partition["next"].as_u64().unwrap());
                    let known = self.0.entry(number).or_default();
                    *known = next.max(*known);
                }
            }
        }
        self.0.values().sum()
    }
}

impl Rounds {
    /// Kills `rounds` times at moments chosen by `random`, with a call to `also` at each, then lets the cluster finish.
    /// Every kill finds a generation that has read something new.
    pub(crate) fn survive(&self, rounds: usize, random: &mut Random, mut also: impl FnMut(usize)) {
        let (mut cluster, mut bound) = (self.start(random), Bound::default());
        // Once so early that not every worker has started.
        while std::fs::read_dir(self.state.join("bindings")).map_or(0, Iterator::count) == 0 {
            assert!(cluster.is_running(), "it never began: {}", cluster.stderr());
            thread::sleep(Duration::from_millis(1));
        }
        self.kill(&mut cluster, Victim::One, 0, random);
        for round in 0..rounds {
            self.wait_for_progress(&mut cluster, &mut bound, round);
            thread::sleep(Duration::from_millis(random.below(150)));
            also(round);
            let victim = if random.below(3) == 0 { Victim::All } else { Victim::One };
            self.kill(&mut cluster, victim, round, random);
            if matches!(victim, Victim::All) {
                cluster = self.start(random);
            }
        }
        let ended = cluster.end_within(10 * PATIENCE);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    }

    /// Stops one process for good, and lets the cluster finish without it.
    pub(crate) fn survive_a_stop(&self, random: &mut Random) {
        let mut cluster = self.start(random);
        self.wait_for_progress(&mut cluster, &mut Bound::default(), 0);
        self.kill(&mut cluster, Victim::Stopped, 0, random);
        let ended = cluster.end_within(10 * PATIENCE);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("has not reported for 10 s"), "{}", ended.stderr);
    }

    /// Waits until something new was read.
    fn wait_for_progress(&self, cluster: &mut Process, bound: &mut Bound, round: usize) {
        let before = bound.look(&self.state);
        let deadline = Instant::now() + PATIENCE;
        while bound.look(&self.state) < before + self.progress {
            assert!(cluster.is_running(), "it finished before kill {round}: {}", cluster.stderr());
            assert!(Instant::now() < deadline, "no progress before kill {round}: {}", cluster.stderr());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn start(&self, random: &mut Random) -> Process {
        let (processes, workers) = SIZES[random.below(SIZES.len() as u64) as usize];
        let (processes, workers) = (processes.to_string(), workers.to_string());
        let state = self.state.to_str().unwrap();
        let mut command = tidewatch(&["cluster", "auth-windows", "--processes", &processes, "--workers", &workers]);
        command.args(["--state", state, "--set", "engine.admin=off"]);
        command.args(self.settings.iter().flat_map(|setting| ["--set", setting]));
        Process::start(&mut command)
    }

    fn kill(&self, cluster: &mut Process, victim: Victim, round: usize, random: &mut Random) {
        let children = children(cluster.pid());
        assert!(!children.is_empty() && cluster.is_running(), "nobody is left to kill in round {round}");
        match victim {
            Victim::One => signal("KILL", &children[random.below(children.len() as u64) as usize].to_string()),
            Victim::Stopped => signal("STOP", &children[random.below(children.len() as u64) as usize].to_string()),
            Victim::All => {
                cluster.kill();
                children.iter().for_each(|child| signal("KILL", &child.to_string()));
                let deadline = Instant::now() + PATIENCE;
                while cluster.is_running() {
                    assert!(Instant::now() < deadline, "it cannot be killed");
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// The processes that `pid` has started and that are alive.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let alive = |child: &u32| super::process::exists(*child);
    listed.split_whitespace().map(|child| child.parse().unwrap()).filter(alive).collect()
}

/// How many bytes of bindings there are, of all generations.
pub(crate) fn bytes_bound(state: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(state.join("bindings")) else { return 0 };
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
