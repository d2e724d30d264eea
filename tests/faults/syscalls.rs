//! The process dies at its n-th flush to the disk, or at its n-th rename, for every n; or the disk refuses it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::kills::{prepare, settings, wrong};
use super::oracle::Expected;
use super::process::{signal, tidewatch};
use super::rounds::children;

/// Few records, so that the calls can be counted.
const RECORDS: usize = 3_000;

/// Calls beyond this are not tried.
const CALLS_MAX: usize = 60;

fn arguments(folder: &Path) -> Vec<String> {
    let state = folder.join("state").to_str().unwrap().to_owned();
    let fixed = ["run", "auth-windows", "--state", &state, "--set", "engine.admin=off"];
    // Several epochs, though there is little to read.
    let pace = ["--set", "engine.records_per_epoch_max=500", "--set", "engine.tick=10ms"];
    let settings = settings(folder);
    let sets = settings.iter().flat_map(|setting| ["--set", setting]);
    fixed.into_iter().chain(pace).chain(sets).map(str::to_owned).collect()
}

/// Runs under strace with `injection`; returns whether it ended well and whether there was anything to inject.
fn run_with(folder: &Path, injection: &str) -> (bool, bool) {
    let program = tidewatch(&[]);
    let mut command = Command::new("strace");
    let trace = folder.join("trace");
    command.args(["-f", "-qq", "-e", "trace=fsync,fdatasync,rename,renameat2", "-e", injection]).arg("-o").arg(&trace);
    command.arg(program.get_program()).args(arguments(folder)).stdin(Stdio::null());
    let well = command.output().expect("strace is installed").status.success();
    // A checkpoint that fails does not end the run.
    (well, !well || std::fs::read_to_string(trace).unwrap().contains("(INJECTED)"))
}

/// Breaks call after call of `calls` in the way `what`, each in a folder of its own, and resumes without interruption
/// after each.
fn survive_at_every(calls: &str, what: &str) {
    let mut broken = 0;
    for n in 1..=CALLS_MAX {
        let folder = tempfile::tempdir().unwrap();
        let expected = prepare(folder.path(), RECORDS, n as u64);
        let (well, disturbed) = run_with(folder.path(), &format!("inject={calls}:{what}:when={n}"));
        broken += usize::from(!well);
        go_on(folder.path(), &expected, &format!("{what} at {calls} {n}"));
        if !disturbed {
            assert!(broken > 2, "only {broken} calls were broken");
            return;
        }
    }
}

/// Runs without interruption, and checks the results.
fn go_on(folder: &Path, expected: &Expected, what: &str) {
    let arguments = arguments(folder);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = tidewatch(&arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {stderr}");
    let wrong = wrong(folder, expected);
    assert!(wrong.is_empty(), "{what}: {wrong:#?}\n{stderr}");
}

/// No epoch may be released whose binding is not on disk: here it never gets there before the process dies.
#[test]
fn death_before_a_binding_is_written() {
    for before in 2..5 {
        let folder = tempfile::tempdir().unwrap();
        let expected = prepare(folder.path(), 4 * RECORDS, before);
        let log = folder.path().join("state/bindings/0000000001-000-000001.log");
        let program = tidewatch(&[]);
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-P", log.to_str().unwrap(), "-e", "trace=write"]);
        command.args(["-e", &format!("inject=write:delay_enter=10000000:when={before}+")]);
        command.arg(program.get_program()).args(arguments(folder.path())).stdin(Stdio::null());
        let mut strace = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("strace is installed");
        // Long enough to read everything, and to write it, if writing did not wait.
        thread::sleep(Duration::from_secs(2));
        let children = children(strace.id());
        let [child] = children[..] else { panic!("it has ended, and binding {before} was not held up: {children:?}") };
        signal("KILL", &child.to_string());
        strace.wait().unwrap();
        go_on(folder.path(), &expected, &format!("binding {before} was never written"));
    }
}

#[test]
fn death_at_any_flush() {
    survive_at_every("fsync,fdatasync", "signal=KILL");
}

#[test]
fn death_at_any_rename() {
    survive_at_every("rename,renameat2", "signal=KILL");
}

/// After a failed flush it is unknown what is on disk; the run ends, and nothing that it could not be sure of was
/// committed.
#[test]
fn a_flush_that_fails_at_any_time() {
    survive_at_every("fsync,fdatasync", "error=EIO");
}
