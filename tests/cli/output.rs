//! Standard error and standard output that cannot be written.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{events, rows, run, set, tidewatch};

/// What may become of standard error: a disk that is full, a reader that is gone, nothing at all.
const UNWRITABLE: [&str; 3] = ["2>/dev/full", "2>&1 >/dev/null | true", "2>&-"];

/// Runs the program by a shell with this redirection; its exit code goes to a file, since that of a pipeline is its last one's.
fn code_of(folder: &Path, arguments: &[&str], redirection: &str) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
    let (program, quoted) = (env!("CARGO_BIN_EXE_tidewatch"), quoted.join(" "));
    let code = folder.join("code");
    // The reader of a pipe is gone before anything is written to it.
    let script = format!("(sleep 0.1; '{program}' {quoted}; echo $? >'{}') {redirection}", code.display());
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    drop(output);
    fs::read_to_string(&code).unwrap().trim().to_owned()
}

#[test]
fn standard_error_that_cannot_be_written_changes_nothing() {
    for redirection in UNWRITABLE {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in.jsonl");
        fs::write(&input, events(2_000)).unwrap();
        let settings = |name: &str| {
            let mut settings = vec!["engine.admin=off".to_owned(), "engine.log=trace".to_owned()];
            settings.push(format!("sources.events.path={}", input.display()));
            let path = |sink: &&str| format!("sinks.{sink}.path={}", folder.path().join(name).join(sink).display());
            settings.extend(["windows", "alerts"].iter().map(path));
            settings
        };
        let state = folder.path().join("state").display().to_string();
        let commands: [(&str, &[&str]); 3] = [
            ("run", &["run", "auth-windows"]),
            ("state", &["run", "auth-windows", "--state", &state]),
            ("cluster", &["cluster", "auth-windows"]),
        ];
        let mut all = Vec::new();
        for (name, command) in commands {
            let settings = settings(name);
            let code = code_of(folder.path(), &[command, &set(&settings)].concat(), redirection);
            assert_eq!(code, "0", "{name} {redirection}");
            all.push(rows(&folder.path().join(name).join("windows")));
        }
        assert!(all[0].len() >= 80 && all[0] == all[1] && all[1] == all[2], "{redirection}");
        let others: [(&[&str], &str); 7] = [
            (&["list"], "0"),
            (&["check", "auth-windows", "--set", "engine.log=tidewatch::mesh=debug"], "0"),
            (&["check", "auth-windows", "--set", "engine.tick=5"], "2"),
            (&["run", "auth-window"], "2"),
            (&["run"], "2"),
            (&["checkpoint", "list", "--state", &state], "0"),
            (&["bench", "auth-windows", "--events", "500", "--repeats", "1", "--warmup", "0"], "0"),
        ];
        for (arguments, expected) in others {
            assert_eq!(code_of(folder.path(), arguments, redirection), expected, "{arguments:?} {redirection}");
        }
    }
}

#[test]
fn a_report_that_nobody_reads_is_no_failure_and_one_that_cannot_be_written_is() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json").display().to_string();
    let measured = ["bench", "auth-windows", "--events", "500", "--repeats", "1", "--warmup", "0", "--json", &json];
    assert_eq!(run(&measured).code(), Some(0));
    for arguments in [&["list"][..], &["check", "auth-windows"], &["bench", "compare", &json, &json], &["--help"]] {
        assert_eq!(code_of(folder.path(), arguments, "2>/dev/null | true"), "0", "{arguments:?}");
        // The help text is clap's to print.
        if arguments != ["--help"] {
            assert_eq!(code_of(folder.path(), arguments, "2>/dev/null >/dev/full"), "4", "{arguments:?}");
        }
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = tidewatch(&["list"]).stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: cannot write to standard output: No space left"), "{said}");
}
