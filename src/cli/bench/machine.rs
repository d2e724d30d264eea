//! The machine that a measurement ran on.

use std::fs;
use std::thread;

use super::results::Machine;

impl Machine {
    /// This machine, as far as its operating system reports it.
    pub(super) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory(&read("/proc/meminfo")),
            cpu: cpu(&read("/proc/cpuinfo")),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// The memory in `/proc/meminfo`.
fn memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The first model in `/proc/cpuinfo`.
fn cpu(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_says() {
        assert_eq!(memory("MemTotal:       24 kB\nMemFree: 1 kB\n"), Some(24 * 1024));
        assert_eq!(cpu("processor\t: 0\nmodel\t\t: 7\nmodel name\t: A CPU: fast\n").as_deref(), Some("A CPU: fast"));
        assert_eq!((memory(""), cpu("")), (None, None));
        assert!(Machine::this().cores >= 1);
    }
}
