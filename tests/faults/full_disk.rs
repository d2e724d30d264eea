//! The disk of the state directory, or that of the output, is full for a while. As root only: it takes a file system of
//! its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::input::Random;
use super::kills::{cluster, prepare, wrong};
use super::process::PATIENCE;

/// A small file system in memory, gone when this is dropped.
struct Small(PathBuf);

impl Small {
    /// Mounts one of `size` at `path`; `None`, and a line that says so, if that is not allowed here.
    fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(path);
        let mounted = command.output().unwrap();
        if !mounted.status.success() {
            // Past the test harness, which hides what a test that passes says.
            let _ = writeln!(std::io::stderr(), "left out: {}", String::from_utf8_lossy(&mounted.stderr).trim());
            return None;
        }
        Some(Small(path.to_owned()))
    }

    /// Leaves no room in it, however it is used.
    fn fill(&self) {
        let ballast = fs::File::create(self.0.join("ballast")).unwrap();
        let block = [7; 4096];
        while (&ballast).write(&block).is_ok_and(|written| written > 0) {}
    }

    fn is_full(&self) -> bool {
        fs::write(self.0.join("probe"), [7; 4096]).is_err()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Fills the disk of `part` of the run's folder in its midst, for three seconds, and lets it finish.
fn survive(part: &str, size: &str) {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Small::mount(&folder.path().join(part), size) else { return };
    let expected = prepare(folder.path(), 500_000, 3);
    let mut rounds = cluster(folder.path());
    rounds.settings.push("engine.tick=100ms".to_owned());
    let mut running = rounds.start(&mut Random(1));
    running.wait_for("checkpoint checkpoint=", 2);
    disk.fill();
    assert!(running.is_running(), "it ended before the disk was full: {}", running.stderr());
    thread::sleep(Duration::from_secs(3));
    assert!(running.is_running() && disk.is_full(), "{}", running.stderr());
    fs::remove_file(disk.0.join("ballast")).unwrap();
    let _ = fs::remove_file(disk.0.join("probe"));
    let ended = running.end_within(4 * PATIENCE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("No space left on device"), "nobody noticed: {}", ended.stderr);
    let wrong = wrong(folder.path(), &expected);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", ended.stderr);
}

#[test]
fn of_the_state_directory() {
    survive("state", "4m");
}

#[test]
fn of_the_output() {
    survive("out", "12m");
}
