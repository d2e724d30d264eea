//! Real processes (this test binary again) form a mesh and run timely; then one is lost.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use super::timely::execute;
use super::*;
use crate::error::stage::StageName;
use crate::runtime::panic;

const ADDRESSES: &str = "TIDEWATCH_TEST_MESH";
const PROCESSES: usize = 3;
/// The process that is lost. The middle one: it has connections of both kinds.
const LOST: usize = 1;

/// One process of the cluster; nothing in an ordinary run.
#[test]
fn in_child() {
    let Ok(setting) = std::env::var(ADDRESSES) else { return };
    let (index, rest) = setting.split_once(' ').unwrap();
    let (panics, addresses) = rest.split_once(' ').unwrap();
    let addresses: Vec<String> = addresses.split(',').map(str::to_string).collect();
    let panics = panics == "panics";
    let mut config = MeshConfig::new(addresses, index.parse().unwrap(), 2, identity());
    config.secret = Some(secret());
    panic::install(config.addresses.clone());
    let process = config.index;
    execute(&config, move |worker| {
        use ::timely::dataflow::operators::vec::Input;
        use ::timely::dataflow::operators::{Exchange, Probe};
        let mut input = ::timely::dataflow::InputHandle::new();
        let probe = worker
            .dataflow::<u64, _, _>(|scope| scope.input_from(&mut input).exchange(|record: &u64| *record).probe().0);
        for epoch in 0.. {
            let _stage = StageName::of("numbers").enter();
            (0..100).for_each(|record: u64| input.send(record));
            input.advance_to(epoch + 1);
            worker.step_while(|| probe.less_than(input.time()));
            if epoch == 10 && worker.index() % 2 == 0 {
                eprintln!("running");
            }
            assert!(!(panics && process == LOST && epoch == 20), "a defect");
        }
    });
}

/// Starts the cluster and waits until it runs.
fn cluster(how: &str) -> Vec<(Child, BufReader<std::process::ChildStderr>)> {
    let addresses = free_loopback_addresses(PROCESSES).unwrap().join(",");
    let start = |index: usize| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::mesh::tests::loss::in_child", "--nocapture", "--test-threads=1"])
            .env(ADDRESSES, format!("{index} {how} {addresses}"))
            .env_remove("RUST_BACKTRACE")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        (child, stderr)
    };
    let mut processes: Vec<_> = (0..PROCESSES).map(start).collect();
    for (_, stderr) in &mut processes {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "running\n");
    }
    processes
}

/// Waits for a process to end by itself, and gives its exit code and what it said.
fn end((mut child, mut stderr): (Child, BufReader<std::process::ChildStderr>)) -> (Option<i32>, String) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("a process outlived the loss of another one");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    (status.code(), said)
}

fn assert_all_name_the_lost(processes: Vec<(Child, BufReader<std::process::ChildStderr>)>) {
    for (code, said) in processes.into_iter().map(end) {
        assert_eq!((code, said.lines().count()), (Some(6), 1), "{said}");
        assert!(said.starts_with(&format!("error: lost process {LOST} (127.0.0.1:")), "{said}");
    }
}

#[test]
fn when_a_process_is_killed_all_others_stop_and_name_it() {
    let mut processes = cluster("runs");
    let (mut lost, _) = processes.remove(LOST);
    lost.kill().unwrap();
    lost.wait().unwrap();
    assert_all_name_the_lost(processes);
}

#[test]
fn when_a_worker_panics_its_process_tells_why_and_the_others_whom_they_lost() {
    let mut processes = cluster("panics");
    let (code, said) = end(processes.remove(LOST));
    assert_eq!(code, Some(70), "{said}");
    assert!(said.contains("panicked in stage \"numbers\"") && said.contains("a defect"), "{said}");
    assert_all_name_the_lost(processes);
}
