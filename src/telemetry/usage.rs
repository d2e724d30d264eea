//! The resources that this process has used so far, as the operating system counts them.

use serde::{Deserialize, Serialize};

/// CPU time and memory of a process, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of all its threads, in seconds, in user mode and in the kernel.
    pub cpu_seconds: f64,
    /// The most memory it has held in RAM at one time, in bytes; the sum of these over several processes. `None` where
    /// the operating system does not report it.
    pub memory_peak_bytes: Option<u64>,
}

impl Usage {
    /// Of this process, until now.
    pub fn of_this_process() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Usage {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            memory_peak_bytes: std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(peak),
        }
    }

    /// Adds the usage of another process.
    pub fn add(&mut self, other: &Usage) {
        self.cpu_seconds += other.cpu_seconds;
        let peaks = [self.memory_peak_bytes, other.memory_peak_bytes];
        self.memory_peak_bytes = peaks.into_iter().flatten().reduce(|a, b| a + b);
    }
}

/// The peak of the resident memory in `/proc/PID/status`.
fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_time_and_memory() {
        let before = Usage::of_this_process();
        let started = std::time::Instant::now();
        let mut held = vec![1u8; 64 << 20];
        let mut at = 0;
        while Usage::of_this_process().cpu_seconds < before.cpu_seconds + 0.05 {
            at = (at * 31 + 7) % held.len();
            held[at] = held[at].wrapping_add(1);
            assert!(started.elapsed().as_secs() < 60, "CPU time does not pass");
        }
        if cfg!(target_os = "linux") {
            let peak = Usage::of_this_process().memory_peak_bytes.unwrap();
            assert!(peak >= 64 << 20, "{peak}");
        }
    }

    #[test]
    fn processes_add_up() {
        assert_eq!(peak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2 << 20));
        assert_eq!(peak("Name:\tx\n"), None);
        let usage = |cpu_seconds, memory_peak_bytes| Usage { cpu_seconds, memory_peak_bytes };
        let mut sum = Usage::default();
        sum.add(&usage(1.5, Some(10)));
        sum.add(&usage(2.0, Some(20)));
        assert_eq!(sum, usage(3.5, Some(30)));
    }
}
