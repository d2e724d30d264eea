use clap::Parser;

use super::*;
use crate::cli::args::{Args, Command};
use crate::cli::prepare::prepare;
use crate::error::ErrorKind;
use crate::flow::{Dataflow, Flow, NoParams, dataflow, launch};

fn copies(flow: &Flow, _: &NoParams) -> Result<()> {
    flow.source::<crate::codec::line::Line>("lines")?.sink("out")
}

fn flow(defaults: &'static str) -> Dataflow {
    dataflow("copies", copies).defaults(defaults)
}

/// What is generated for `flow` with the arguments `typed` after `bench copies`.
fn made(flow: &Dataflow, typed: &[&str], folder: &Path) -> Result<Vec<(Replay, Generated)>> {
    let typed = [&["tidewatch", "bench", "copies"], typed].concat();
    let Command::Bench(args) = Args::try_parse_from(typed).unwrap().command else { panic!("it is bench") };
    let prepared = prepare(flow, &args.measure.config)?;
    let parts = launch::parts(flow, &prepared.environment);
    make(&prepared, &parts.sources, &args.measure, folder)
}

const NAMED: &str =
    "[sources.lines]\nkind = \"file\"\npath = \"in\"\n[bench.sources.lines]\npartitions = 3\nmalformed = 0.0\n";

#[test]
fn what_is_not_wired_is_generated_as_the_configuration_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        made(&flow(NAMED), &["--events", "100", "--set", "bench.sources.lines.partitions=4"], folder.path()).unwrap();
    let [(replay, generated)] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!((generated.records, generated.partitions, replay.source.as_str()), (100, 4, "lines"));
    let texts: Vec<String> = replay.files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    assert!(
        texts.iter().all(|text| text.lines().count() == 25 && text.starts_with("{\"ts\":") && text.ends_with('\n'))
    );
    assert_eq!(texts.iter().map(String::len).sum::<usize>() as u64, generated.bytes + generated.records);
    assert_eq!(replay.bytes_per_second, None);
    assert_eq!(replay.to_string().parse::<Replay>().unwrap(), *replay);
}

#[test]
fn a_rate_is_that_of_the_generated_bytes_and_decides_how_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let made = made(&flow(NAMED), &["--rate", "50"], folder.path()).unwrap();
    let (replay, generated) = &made[0];
    assert_eq!(generated.records, 500, "ten seconds");
    let seconds = (generated.bytes + generated.records) as f64 / replay.bytes_per_second.unwrap();
    assert!((seconds - 10.0).abs() < 1e-9, "{seconds}");
}

#[test]
fn at_a_rate_events_happen_as_fast_as_they_arrive_unless_told_otherwise() {
    let span_ms = |typed: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let made = made(
            &flow(NAMED),
            &[&["--events", "1000", "--set", "bench.sources.lines.disorder=0s"], typed].concat(),
            folder.path(),
        );
        let lines: Vec<String> = made.unwrap()[0]
            .0
            .files
            .iter()
            .flat_map(|file| std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let times = || lines.iter().map(|line| line[6..19].parse::<i64>().unwrap());
        times().max().unwrap() - times().min().unwrap()
    };
    assert_eq!(span_ms(&["--rate", "100"]), 9_990);
    assert_eq!(span_ms(&["--rate", "100", "--set", "bench.sources.lines.events_per_second=1000.0"]), 999);
    assert_eq!(span_ms(&[]), 199, "the generator's own 5000 a second");
}

#[test]
fn a_generator_that_is_wired_is_what_generates() {
    let folder = tempfile::tempdir().unwrap();
    let flow = flow("[sources.lines]\nkind = \"generator\"\nprofile = \"openssh\"\nrate = 10.0\n");
    let made = made(&flow, &["--events", "40", "--set", "sources.lines.partitions=2"], folder.path()).unwrap();
    assert_eq!((made[0].1.records, made[0].1.partitions), (40, 2));
    assert!(std::fs::read_to_string(&made[0].0.files[0]).unwrap().contains("sshd["));
}

#[test]
fn what_the_user_wired_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let wired = ["--set", "sources.lines.path=mine"];
    assert_eq!(made(&flow(NAMED), &wired, folder.path()).unwrap(), []);
    for more in [["--rate", "5"], ["--events", "5"]] {
        let error = made(&flow(NAMED), &[wired, more].concat(), folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("hint: {} is for generated input", more[0])), "{error}");
    }
    // How late a record may be does not determine what is read.
    let made = made(&flow(NAMED), &["--events", "5", "--set", "sources.lines.out_of_order=1s"], folder.path()).unwrap();
    assert_eq!(made[0].1.records, 5);
}

#[test]
fn a_source_that_nobody_wired_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = made(&flow("[sources.lines]\nkind = \"stdin\"\n"), &[], folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("source \"lines\" has nothing to read"), "{error}");
    assert!(error.to_string().contains("--set bench.sources.lines.profile="), "{error}");
}
