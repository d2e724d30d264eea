//! Configurations, as a user of the command line meets them: paths, faults, warnings.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{Ended, events, files, rows, run, tidewatch};

fn end(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A command in a folder that is its home as well, with the variable `LOGS`.
fn at_home(arguments: &[&str], home: &Path) -> Command {
    let mut command = tidewatch(arguments);
    command.current_dir(home).env("HOME", home).env("LOGS", home.join("lo[g]s")).env("EMPTY", "").env_remove("UNSET");
    command
}

const PATHS: &str = "\
[sources.events]
path = \"$LOGS/*.jsonl\"
[sinks.windows]
path = \"~/windows\"
[sinks.alerts]
path = \"${HOME}/a$$b\"
[dead_letters]
kind = \"file\"
path = \"~/dead\"
[engine]
admin = \"off\"
state_dir = \"${HOME}/state\"
";

#[test]
fn paths_are_expanded_and_never_made_into_folders() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    // What a variable holds is taken as it is, also in a glob.
    fs::create_dir(at("lo[g]s")).unwrap();
    fs::write(at("lo[g]s/in.jsonl"), events(2_000) + "no event\n").unwrap();
    fs::write(at("my.toml"), PATHS).unwrap();

    let checked = end(&mut at_home(&["check", "auth-windows", "--config=~/my.toml"], home.path()));
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    for (key, written, expanded) in [
        ("sources.events.path", "$LOGS/*.jsonl", at("lo[g]s/*.jsonl")),
        ("sinks.alerts.path", "${HOME}/a$$b", at("a$b")),
        ("dead_letters.path", "~/dead", at("dead")),
        ("engine.state_dir", "${HOME}/state", at("state")),
    ] {
        let line = format!("  {key}: {written} is {}\n", expanded.display());
        assert!(checked.stdout.contains(&line), "{line} in {}", checked.stdout);
    }

    let before = files(home.path());
    for how in [&["run", "auth-windows"][..], &["cluster", "auth-windows", "--processes", "2"]] {
        let arguments = [how, &["--config", "${HOME}/my.toml", "--report=$HOME/report.json"]].concat();
        // What processes of one cluster tell each other is not expanded again.
        let temporary = at("t$HOME");
        fs::create_dir_all(&temporary).unwrap();
        let ended = end(at_home(&arguments, home.path()).env("TMPDIR", &temporary));
        assert_eq!(ended.code(), Some(0), "{how:?}: {}", ended.stderr);
        assert!(rows(&at("windows")).len() >= 80 && rows(&at("dead")).len() == 1, "{how:?}: {}", ended.stderr);
        for made in ["windows", "a$b", "dead", "state", "report.json", "t$HOME"] {
            let path = at(made);
            assert!(path.exists(), "{made}");
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        assert_eq!(files(home.path()).len(), before.len(), "{:?}", files(home.path()));
    }
}

#[test]
fn every_path_that_cannot_be_expanded_is_a_fault() {
    let home = tempfile::tempdir().unwrap();
    let text = "[sources.events]\npath = \"$UNSET/in.jsonl\"\n[sinks.windows]\npath = \"~ann/windows\"\n\
                [sinks.alerts]\npath = \"$(pwd)/alerts\"\n[dead_letters]\nkind = \"file\"\npath = \"${UNSET}\"\n\
                [engine]\nstate_dir = \"$EMPTY/state\"\ncheckpoint_store = \"${HOME\"\n";
    fs::write(home.path().join("my.toml"), text).unwrap();
    let ended = end(&mut at_home(&["run", "auth-windows", "--config", "my.toml"], home.path()));
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    for line in [2, 4, 6, 9, 11, 12] {
        assert!(ended.stderr.contains(&format!("  my.toml:{line}: ")), "line {line}: {}", ended.stderr);
    }
    assert!(ended.stderr.starts_with("error: 6 faults"), "{}", ended.stderr);
    for arguments in [
        &["check", "auth-windows", "--config", "$UNSET/my.toml"][..],
        &["check", "auth-windows", "--state", "~ann/state"],
        &["run", "auth-windows", "--hosts", "$UNSET/hosts", "--process", "0"],
        &["run", "auth-windows", "--report", "$UNSET/report"],
        &["checkpoint", "list", "--state", "$EMPTY/state"],
        &["bench", "auth-windows", "--json", "$UNSET/x.json"],
    ] {
        let ended = end(&mut at_home(arguments, home.path()));
        assert_eq!(ended.code(), Some(2), "{arguments:?}: {}", ended.stderr);
        let named = ["UNSET", "~ann", "EMPTY"].iter().any(|name| ended.stderr.contains(name));
        assert!(named, "{arguments:?}: {}", ended.stderr);
    }
    assert_eq!(files(home.path()), ["my.toml"]);
}

#[test]
fn every_fault_of_the_parameters_is_reported_at_once() {
    let wrong = |sets: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let ended = run(&[&["check", "ssh-brute-force"], &sets[..]].concat());
        assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
        ended.stderr
    };
    let said = wrong(&["params.failures_min=\"10\"", "params.users_min=-1", "params.failures_before_success_min=2.0"]);
    assert!(said.starts_with("error: 3 faults"), "{said}");
    // Beside faults of other parts, which are checked with the default parameters.
    let said = wrong(&["params.failures_min=true", "params.nope=1", "sources.auth.yaer=2026", "engine.tick=1"]);
    assert!(said.starts_with("error: 4 faults"), "{said}");
}

#[test]
fn a_misspelt_kind_is_one_fault() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[sources.events]\nkind = \"fiel\"\npath = \"x\"\nfollow = true\n[sinks.windows]\nkind = \"kafak\"\ntopic = \"t\"\n\
                [[sinks.alerts]]\nkind = \"nul\"\nx = 1\n[dead_letters]\nkind = 7\npath = \"x\"\n";
    fs::write(folder.path().join("my.toml"), text).unwrap();
    let ended = end(tidewatch(&["check", "auth-windows", "--config", "my.toml"]).current_dir(folder.path()));
    assert!(ended.stderr.starts_with("error: 4 faults"), "{}", ended.stderr);
}

#[test]
fn check_warns_of_what_is_hardly_meant() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("there.jsonl"), "").unwrap();
    let arguments =
        ["check", "auth-windows", "--set", "sources.events.path=[\"none-*.jsonl\", \"none\", \"there.jsonl\"]"];
    let filter = ["--set", "engine.log=info,tidewatch::mesh=debug"];
    let ended = end(tidewatch(&[&arguments[..], &filter].concat()).current_dir(folder.path()));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let warnings: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(warnings.len(), 3, "{}", ended.stderr);
    assert!(
        warnings[0].contains("engine.log: nothing in Tidewatch logs under \"tidewatch::mesh\""),
        "{}",
        ended.stderr
    );
    assert!(warnings[0].ends_with("did you mean \"tidewatch::runtime::mesh\"?"), "{}", ended.stderr);
    assert!(warnings[1].ends_with("no file matches \"none-*.jsonl\" now"), "{}", ended.stderr);
    assert!(warnings[2].ends_with("no file matches \"none\" now"), "{}", ended.stderr);
}

#[test]
fn a_flood_of_faults_is_counted_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let tables: String = (0..20_000).map(|i| format!("[sinks.x{i}]\n")).collect();
    fs::write(folder.path().join("my.toml"), tables).unwrap();
    let ended = end(tidewatch(&["check", "auth-windows", "--config", "my.toml"]).current_dir(folder.path()));
    assert_eq!(ended.code(), Some(2));
    assert!(ended.stderr.starts_with("error: 20000 faults"), "{}", &ended.stderr[..200]);
    assert!(ended.stderr.ends_with("\n  and 19900 more\n") && ended.stderr.lines().count() == 102);
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe").display().to_string();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::write(folder.path().join("hosts"), "127.0.0.1:1\n127.0.0.1:2\n").unwrap();
    let hosts = folder.path().join("hosts").display().to_string();
    let of_a_process = ["run", "auth-windows", "--process", "0", "--set", "engine.admin=off"];
    for arguments in [
        &["check", "auth-windows", "--config", &pipe][..],
        &[&of_a_process[..], &["--hosts", &pipe]].concat(),
        &[&of_a_process[..], &["--hosts", &hosts, "--secret-file", &pipe]].concat(),
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code(), Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("it is a pipe, not a regular file"), "{arguments:?}: {}", ended.stderr);
    }
}
