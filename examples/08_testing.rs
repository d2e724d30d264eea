//! A dataflow with its test: scripted input, any number of workers, and an oracle.

use tidewatch::prelude::*;

#[derive(Event)]
struct Login {
    #[event(time)]
    at: EventTime,
    user: u8,
}

/// Logins per user and minute.
pub fn logins_per_user(flow: &Flow, _: &NoParams) -> Result<()> {
    let logins = flow.source::<Login>("logins")?;
    let minutes = Tumbling::of(Duration::from_secs(60));
    logins.key_by(|login| login.user).window("per-user", minutes).aggregate(Count).sink("counts")
}

fn main() -> ExitCode {
    tidewatch::main([dataflow("logins-per-user", logins_per_user)])
}

#[cfg(test)]
mod tests {
    use tidewatch::testing::{Step, TestRun, assert_same_rows, item, late, line, oracle, stop};

    use super::*;

    fn run() -> TestRun {
        TestRun::new(dataflow("logins-per-user", logins_per_user)).set("sources.logins.out_of_order=\"5s\"")
    }

    fn login(seconds: i64, user: u8) -> Login {
        Login { at: EventTime::from_millis(seconds * 1000), user }
    }

    #[test]
    fn a_login_that_comes_after_its_minute_is_a_dead_letter() {
        let steps = [item(login(1, 7)), item(login(66, 7)), late(item(login(2, 7))), line("no login")];
        let results = run().source("logins", steps).everywhere().unwrap();
        let rows: Vec<Window<u8, u64>> = results.rows("counts");
        assert_eq!(rows.iter().map(|row| (row.start.millis(), row.value)).collect::<Vec<_>>(), [(0, 1), (60_000, 1)]);
        let details: Vec<_> = results.dead_letters().into_iter().map(|letter| (letter.offset, letter.reason)).collect();
        assert_eq!(format!("{details:?}"), "[(2, Late), (3, Malformed)]");
    }

    #[test]
    fn the_rows_are_those_of_the_oracle() {
        let partition = |p: i64| (0..200).map(move |i| login(i * 3 + i * p % 11, (i % 7) as u8)).collect::<Vec<_>>();
        let partitions: Vec<Vec<Login>> = (0..3).map(partition).collect();
        let (on_time, _) = oracle::on_time(&partitions, Duration::from_secs(5));
        let minutes = Tumbling::of(Duration::from_secs(60));
        let expected = oracle::windows(on_time, minutes, |login| login.user, &Count);

        let steps = partitions.iter().map(|logins| logins.iter().map(item));
        let results = run().partitions("logins", steps).allow_late().everywhere().unwrap();
        assert_same_rows(expected, results.json("counts"));
    }

    #[test]
    fn a_stopped_run_says_nothing_of_the_open_minute() {
        let steps: [Step; 3] = [item(login(1, 7)), stop(), item(login(100, 7))];
        assert!(run().source("logins", steps).run().unwrap().json("counts").is_empty());
    }
}
