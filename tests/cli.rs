//! The command line, as a process: what it prints, what it writes, and how it exits.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

#[path = "cli/config.rs"]
mod config;
#[path = "cli/output.rs"]
mod output;
#[path = "support/process.rs"]
mod process;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use self::process::{
    PATIENCE, Process, endless, events, files, get, rows, run, set, signal, tidewatch, wait_for_rows_written,
};

#[test]
fn list_names_every_dataflow() {
    let listed = run(&["list"]);
    assert_eq!(listed.code(), Some(0), "{}", listed.stderr);
    for name in ["auth-windows", "ssh-brute-force"] {
        assert!(listed.stdout.lines().any(|line| line.starts_with(name) && line.len() > name.len() + 10));
    }
}

#[test]
fn check_reports_every_fault_at_once_with_its_place() {
    let good = run(&["check", "auth-windows", "--set", "sources.events.path=Cargo.toml"]);
    assert_eq!((good.code(), good.stderr.as_str()), (Some(0), ""));
    assert_eq!(good.stdout, "the configuration of dataflow \"auth-windows\" is complete\n");

    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("my.toml"),
        "[params]\nwindow = \"1 fortnight\"\n\n[sources.events]\nkind = \"files\"\n\n[sinks.windos]\nkind = \"null\"\n",
    )
    .unwrap();
    let mut command = tidewatch(&["check", "auth-windows", "--config", "my.toml", "--set", "engine.tick=5"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    // A build without Kafka does not offer it.
    let without_kafka = |text: &str| text.replace(", \"kafka\"", "");
    assert_eq!(without_kafka(&stderr), without_kafka(include_str!("cli/faults.txt")));
}

#[test]
fn an_unknown_dataflow_is_an_error_that_names_the_known() {
    let unknown = run(&["run", "auth-window"]);
    assert_eq!(unknown.code(), Some(2));
    let nexmark: String = (0..9).map(|query| format!(", nexmark-q{query}")).collect();
    let known = format!("auth-windows, ssh-brute-force{nexmark}");
    let said = format!("error: there is no dataflow \"auth-window\"\n  hint: this program has: {known}\n");
    assert_eq!(unknown.stderr, said);
}

#[test]
fn workers_and_processes_do_not_change_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.jsonl");
    // Among the events, in every thousand: an empty line, one that is not an event, one that is too long, and one that
    // is late.
    let late = "{\"ts\":1700000000000,\"host\":\"h\",\"src_ip\":\"10.0.0.1\",\"user\":\"u\",\"action\":\"login\",\
                \"outcome\":\"success\",\"bytes\":1,\"message\":\"m\"}";
    let odd = format!("\n{{\"ts\":\n{}\n{late}\n", "x".repeat(1_100));
    // And before some lines a hole, as after a truncation, or a byte order mark; neither is part of them.
    let text = events(20_000).lines().enumerate().fold(String::new(), |text, (i, line)| {
        let (before, after) = match i % 1_000 {
            300 => ("\0\0\0", ""),
            301 => ("\u{feff}", ""),
            302 => ("\0\0\n", ""),
            999 => ("", odd.as_str()),
            _ => ("", ""),
        };
        text + before + line + "\n" + after
    });
    fs::write(&input, text).unwrap();
    let results = |name: &str, command: &[&str]| {
        let out = folder.path().join(name);
        let mut settings = vec!["engine.admin=off".to_owned(), format!("sources.events.path={}", input.display())];
        settings.extend(["params.failures_min=40", "sources.events.record_bytes_max=1KiB"].map(str::to_owned));
        let dead = format!("dead_letters.path={}", out.join("dead_letters").display());
        settings.extend(["dead_letters.kind=file".to_owned(), dead]);
        settings.extend(["windows", "alerts"].map(|sink| format!("sinks.{sink}.path={}", out.join(sink).display())));
        let ended = run(&[command, &set(&settings)].concat());
        assert_eq!(ended.code(), Some(0), "{name}: {}", ended.stderr);
        assert_eq!(ended.stderr.matches("20060 records read").count(), 1, "{name}: {}", ended.stderr);
        assert_eq!(ended.stderr.matches("source events: 20060 read, 20000 processed").count(), 1, "{}", ended.stderr);
        let [windows, alerts, dead] = ["windows", "alerts", "dead_letters"].map(|sink| rows(&out.join(sink)));
        assert!(ended.stderr.contains(&format!("sink windows: {} rows", windows.len())), "{}", ended.stderr);
        (windows, alerts, dead)
    };
    let one = results("one", &["run", "auth-windows"]);
    assert!(one.0.len() > 100 && !one.1.is_empty(), "{} {}", one.0.len(), one.1.len());
    for (reason, letters) in [("malformed", 20), ("too_large", 20), ("late", 20)] {
        let reason = format!("\"reason\":\"{reason}\"");
        assert_eq!(one.2.iter().filter(|letter| letter.contains(&reason)).count(), letters, "{reason} {}", one.2[0]);
    }
    assert!(one == results("two", &["run", "auth-windows", "--workers", "2"]));
    assert!(one == results("four", &["run", "auth-windows", "--workers", "4"]));
    assert!(one == results("cluster", &["cluster", "auth-windows", "--processes", "2", "--workers", "2"]));
}

#[test]
fn a_missing_input_is_a_source_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("sources.events.path={}", folder.path().join("none.jsonl").display());
    for how in [&["run", "auth-windows", "--workers", "3"][..], &["cluster", "auth-windows", "--processes", "3"]] {
        let ended = run(&[how, &["--set", "engine.admin=off", "--set", &missing]].concat());
        assert_eq!(ended.code(), Some(3), "{how:?}: {}", ended.stderr);
        assert_eq!(ended.errors().len(), 1, "{how:?}: {}", ended.stderr);
        assert!(ended.errors()[0].contains("source \"events\""), "{}", ended.stderr);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_a_sink_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let mut settings = endless(folder.path());
    settings.push(format!("sinks.windows.path={}", file.join("below").display()));
    for how in [&["run", "auth-windows", "--workers", "2"][..], &["cluster", "auth-windows"]] {
        let ended = run(&[how, &set(&settings)].concat());
        assert_eq!(ended.code(), Some(4), "{how:?}: {}", ended.stderr);
        assert_eq!(ended.errors().len(), 1, "{how:?}: {}", ended.stderr);
        assert!(ended.errors()[0].contains("sink \"windows\""), "{}", ended.stderr);
    }
}

#[test]
fn a_signal_lets_what_was_read_come_out() {
    for (name, how) in [("TERM", &["--workers", "1"]), ("INT", &["--workers", "2"])] {
        let folder = tempfile::tempdir().unwrap();
        let settings = endless(folder.path());
        let mut process =
            Process::start(&mut tidewatch(&[&["run", "auth-windows"], &how[..], &set(&settings)].concat()));
        process.wait_for("running", 1);
        let windows = folder.path().join("windows");
        while files(&windows).is_empty() {
            assert!(process.is_running(), "{}", process.stderr());
            thread::sleep(Duration::from_millis(20));
        }
        signal(name, &process.pid().to_string());
        let ended = process.end_within(PATIENCE);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("windows were still open"), "{}", ended.stderr);
        assert!(files(&windows).iter().all(|name| name.ends_with(".jsonl")), "{:?}", files(&windows));
        let rows = rows(&windows);
        assert!(ended.stderr.contains(&format!("sink windows: {} rows", rows.len())), "{}", ended.stderr);
    }
}

#[test]
fn readiness_ends_with_the_first_signal_and_the_second_one_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = endless(folder.path());
    // Nobody reads the rows, so that the run cannot finish.
    settings.extend(
        ["engine.admin=127.0.0.1:0", "sinks.windows.kind=stdout", "sources.events.rate=1e9"].map(str::to_owned),
    );
    settings.retain(|setting| !setting.starts_with("sinks.windows.path") && setting != "engine.admin=off");
    let mut command = tidewatch(&[&["run", "auth-windows"], &set(&settings)[..]].concat());
    let mut process = Process::start(command.stdout(Stdio::piped()));
    process.wait_for("running", 1);
    let admin = process.admin_addresses().remove(0);
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200"));
    // More than a pipe holds.
    wait_for_rows_written(std::slice::from_ref(&admin), 1_000);
    signal("TERM", &process.pid().to_string());
    process.wait_for("stopping", 1);
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 503"));
    // The same one again, as `timeout` sends it; then another one, which does not wait for the rows.
    signal("INT", &process.pid().to_string());
    thread::sleep(Duration::from_millis(1_100));
    assert!(process.is_running(), "{}", process.stderr());
    signal("INT", &process.pid().to_string());
    let ended = process.end_within(Duration::from_secs(5));
    assert_eq!(ended.code(), Some(130), "{}", ended.stderr);
}

/// Sends every signal to the process and then to its group, as GNU `timeout` does.
fn twice(first: &str, second: &str, pid: u32) {
    let script = format!("kill -s {first} -- {pid}; kill -s {second} -- -{pid}");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let commands = [
        (&["run", "auth-windows"][..], "TERM", "TERM"),
        (&["run", "auth-windows", "--workers", "2"], "TERM", "INT"),
        (&["cluster", "auth-windows", "--processes", "2"], "TERM", "TERM"),
        (&["cluster", "auth-windows", "--processes", "2"], "INT", "TERM"),
    ];
    for (how, first, second) in commands {
        let folder = tempfile::tempdir().unwrap();
        let settings = endless(folder.path());
        let mut command = tidewatch(&[how, &set(&settings)].concat());
        let mut process = Process::start(command.process_group(0).env("TMPDIR", folder.path()));
        let windows = folder.path().join("windows");
        while files(&windows).is_empty() {
            assert!(process.is_running(), "{}", process.stderr());
            thread::sleep(Duration::from_millis(20));
        }
        twice(first, second, process.pid());
        let ended = process.end_within(PATIENCE);
        assert_eq!(ended.code(), Some(0), "{how:?}: {}", ended.stderr);
        assert!(files(&windows).iter().all(|name| name.ends_with(".jsonl")), "{how:?}: {:?}", files(&windows));
        assert!(ended.stderr.contains(&format!("sink windows: {} rows", rows(&windows).len())), "{}", ended.stderr);
    }
}

#[test]
fn a_stop_writes_open_windows_only_if_it_drains() {
    for (how, drain) in [("run", false), ("run", true), ("cluster", true)] {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in.jsonl");
        // Long ago, so that no clock closes their window before the stop: the source is not live.
        let line = |n: i64| {
            format!(
                "{{\"ts\":{},\"src_ip\":\"192.0.2.1\",\"user\":\"u\",\"outcome\":\"failure\",\"bytes\":1}}\n",
                1_777_636_800_000 + n
            )
        };
        fs::write(&input, (0..20).map(line).collect::<String>()).unwrap();
        let mut settings = endless(folder.path());
        settings.retain(|setting| !setting.starts_with("sources."));
        settings.extend([format!("sources.events.path={}", input.display())]);
        settings.extend(["sources.events.follow=true", "sources.events.live=false"].map(str::to_owned));
        settings.retain(|setting| !setting.starts_with("engine.admin"));
        settings.push("engine.admin=127.0.0.1:0".to_owned());
        let mut command = tidewatch(&[&[how, "auth-windows"][..], &set(&settings)].concat());
        let mut process = Process::start(command.args(drain.then_some("--drain")));
        let all = |line: &str| line.starts_with("tidewatch_source_records_total{") && line.ends_with(" 20");
        let read = |address: &String| get(address, "/metrics").lines().any(all);
        while !process.admin_addresses().iter().any(read) {
            assert!(process.is_running(), "{}", process.stderr());
            thread::sleep(Duration::from_millis(20));
        }
        signal("TERM", &process.pid().to_string());
        let ended = process.end_within(PATIENCE);
        let written = rows(&folder.path().join("windows"));
        assert_eq!((ended.code(), written.len()), (Some(0), usize::from(drain)), "{how}: {}", ended.stderr);
    }
    let refused =
        run(&["run", "auth-windows", "--drain", "--state", "none", "--set", "sources.events.path=none.jsonl"]);
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("engine.drain"), "{}", refused.stderr);
}
