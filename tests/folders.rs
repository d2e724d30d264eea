//! Folders and files as they are found, read by the program as a user starts it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/process.rs"]
mod process;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use self::process::{PATIENCE, Process, events, get, rows, run, set, signal, tidewatch};

/// Settings of `auth-windows` that reads `pattern` in `folder` and writes below `folder/out`.
fn settings(folder: &Path, pattern: &str) -> Vec<String> {
    let mut settings = vec![format!("sources.events.path={}", folder.join(pattern).display())];
    settings.extend(["engine.admin=off", "dead_letters.kind=file"].map(str::to_owned));
    let out = |sink: &str| folder.join("out").join(sink).display().to_string();
    settings.extend(["windows", "alerts"].map(|sink| format!("sinks.{sink}.path={}", out(sink))));
    settings.push(format!("dead_letters.path={}", out("dead_letters")));
    settings
}

/// Puts into `folder` what is no log file, under names of a log file.
fn clutter(folder: &Path) {
    let at = |name: &str| folder.join(name);
    fs::create_dir_all(at("folder.log")).unwrap();
    symlink("loop.log", at("loop.log")).unwrap();
    symlink("nowhere", at("dangling.log")).unwrap();
    symlink("/dev/null", at("device.log")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe.log")).status().unwrap().success());
    fs::write(folder.join(OsStr::from_bytes(b"caf\xe9.log")), "not read").unwrap();
    fs::write(at("old.log"), [0x1f, 0x8b, 8, 0, b'\n']).unwrap();
}

#[test]
fn what_is_no_log_file_is_left_out_and_named_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    clutter(&folder.path().join("in"));
    fs::write(folder.path().join("in/a.log"), events(1_000)).unwrap();
    fs::write(folder.path().join("in/b \x1b[31m\n.log"), events(1_000)).unwrap();
    for (command, named) in [
        (&["run", "auth-windows"][..], 1),
        (&["run", "auth-windows", "--workers", "3"], 1),
        // Once by each process.
        (&["cluster", "auth-windows", "--processes", "2"], 2),
    ] {
        let ended = run(&[command, &set(&settings(folder.path(), "in/*.log"))].concat());
        assert_eq!(ended.code(), Some(0), "{command:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("source events: 2000 read"), "{command:?}: {}", ended.stderr);
        for reason in ["not_utf8", "compressed"] {
            let lines = ended.stderr.matches(&format!("reason=\"{reason}\"")).count();
            assert_eq!(lines, named, "{command:?}: {}", ended.stderr);
        }
        assert_eq!(ended.stderr.matches("reason=\"broken_link\"").count(), 2 * named, "{}", ended.stderr);
        assert_eq!(ended.stderr.matches("reason=\"not_a_file\"").count(), 3 * named, "{}", ended.stderr);
        assert!(ended.stderr.contains("caf\\xE9.log"), "{}", ended.stderr);
        assert!(!ended.stderr.contains('\x1b'), "{}", ended.stderr);
    }
}

#[test]
fn a_followed_folder_is_read_on_whatever_appears_in_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let name = "in/a \x1b[31m\n.log";
    fs::write(folder.path().join(name), events(10)).unwrap();
    let mut settings = settings(folder.path(), "in/*.log");
    settings.extend(["engine.admin=127.0.0.1:0", "sources.events.follow=true"].map(str::to_owned));
    settings.retain(|setting| setting != "engine.admin=off");
    let mut process = Process::start(&mut tidewatch(&[&["run", "auth-windows"], &set(&settings)[..]].concat()));
    process.wait_for("running", 1);
    let admin = process.admin_addresses().remove(0);
    clutter(&folder.path().join("in"));
    process.wait_for("caf\\xE9.log", 1);
    fs::write(folder.path().join("in/b.log"), events(10)).unwrap();
    let mut writer = fs::OpenOptions::new().append(true).open(folder.path().join(name)).unwrap();
    writer.write_all(events(10).as_bytes()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let metrics = loop {
        let metrics = get(&admin, "/metrics");
        let read = metrics.lines().find(|line| line.starts_with("tidewatch_source_records_total{"));
        if read.is_some_and(|line| line.ends_with(" 30")) {
            break metrics;
        }
        assert!(Instant::now() < deadline, "{}", process.stderr());
        thread::sleep(Duration::from_millis(50));
    };
    for (reason, paths) in [("not_utf8", 1), ("not_a_file", 3), ("broken_link", 2), ("compressed", 1)] {
        let series = format!(
            "source_skipped_paths_total{{reason=\"{reason}\",source=\"events\",dataflow=\"auth-windows\"}} {paths}"
        );
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
    assert!(metrics.contains("a \\\\u{1b}[31m\\\\n.log") && !metrics.contains('\x1b'), "{metrics}");
    signal("TERM", &process.pid().to_string());
    let ended = process.end_within(PATIENCE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn a_source_that_would_read_its_own_output_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    symlink("out", folder.path().join("link")).unwrap();
    for (pattern, extra, faults) in [
        ("out/windows/*.jsonl", "", 1),
        ("link/**/*.jsonl", "", 3),
        ("out/../link/dead_letters/*", "", 1),
        ("state/**/*.log", "engine.state_dir=", 1),
    ] {
        let mut settings = settings(folder.path(), pattern);
        if !extra.is_empty() {
            settings.push(format!("{extra}{}", folder.path().join("state").display()));
        }
        for command in [["check", "auth-windows"], ["run", "auth-windows"], ["cluster", "auth-windows"]] {
            let ended = run(&[&command[..], &set(&settings)].concat());
            assert_eq!(ended.code(), Some(2), "{pattern}: {}", ended.stderr);
            let told = ended.stderr.lines().filter(|line| line.contains("sources.events.path: ")).count();
            assert_eq!(told, faults, "{pattern}: {}", ended.stderr);
        }
    }
    assert!(!folder.path().join("out/windows").exists() && !folder.path().join("state").exists());
}

#[test]
fn more_files_than_descriptors_are_all_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    for i in 0..100 {
        fs::write(folder.path().join(format!("in/{i:03}.log")), events(10)).unwrap();
    }
    for (follow, limit) in [("false", 64), ("true", 64)] {
        let mut settings = settings(folder.path(), "in/*.log");
        settings.push(format!("sources.events.follow={follow}"));
        let program = env!("CARGO_BIN_EXE_tidewatch");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), program, "run", "auth-windows"]);
        command.args(set(&settings)).env_remove("RUST_LOG");
        let process = if follow == "true" {
            let mut process = Process::start(&mut command);
            process.wait_for("running", 1);
            thread::sleep(Duration::from_secs(3));
            signal("TERM", &process.pid().to_string());
            process
        } else {
            Process::start(&mut command)
        };
        let ended = process.end_within(PATIENCE);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("source events: 1000 read"), "{}", ended.stderr);
    }
}

#[test]
fn nobody_else_reads_rows_and_nobody_else_writes_state() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.log"), format!("no event\n{}", events(1_000))).unwrap();
    let state = folder.path().join("state");
    let settings = settings(folder.path(), "in.log");
    let path = state.display().to_string();
    let run = || run(&[&["run", "auth-windows", "--state", &path], &set(&settings)[..]].concat());
    let ended = run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(!rows(&folder.path().join("out/dead_letters")).is_empty());
    for sink in ["windows", "dead_letters"] {
        for entry in fs::read_dir(folder.path().join("out").join(sink)).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().mode();
            assert_eq!(mode & 0o027, 0, "{:?} has mode {mode:o}", entry.path());
        }
    }
    fs::set_permissions(&state, Permissions::from_mode(0o770)).unwrap();
    let ended = run();
    assert_eq!(ended.code(), Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("chmod go-w"), "{}", ended.stderr);
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(state.join("identity.json")).unwrap();
    for _ in 0..2 {
        let ended = run();
        assert_eq!(ended.code(), Some(5), "{}", ended.stderr);
        assert!(ended.stderr.contains("identity.json is missing"), "{}", ended.stderr);
    }
}
