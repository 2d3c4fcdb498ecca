//! What a process costs, as the kernel counts it.

use std::fs;

/// Memory and processor time of a process so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Resident memory now, in KiB.
    pub resident: u64,
    /// The most it was, in KiB.
    pub peak: u64,
    /// Processor time, user and system, in seconds.
    pub cpu: f64,
}

impl Usage {
    /// Reads `/proc/PID`.
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let status = read("status");
        Self { resident: kib(&status, "VmRSS:"), peak: kib(&status, "VmHWM:"), cpu: cpu(&read("stat")) }
    }

    /// Of a process and of those that it started, one after the other: what they share is counted for each.
    #[track_caller]
    pub fn of_all(pid: u32) -> Self {
        let whole = children(pid).into_iter().map(Self::of);
        whole.fold(Self::of(pid), |sum, one| Self {
            resident: sum.resident + one.resident,
            peak: sum.peak + one.peak,
            cpu: sum.cpu + one.cpu,
        })
    }
}

/// The processes that a process started, from any of its threads.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let listed = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    listed.flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

fn kib(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Fields 14 and 15 of `stat`, counted after the parenthesis that ends the name.
fn cpu(stat: &str) -> f64 {
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    ticks as f64 / USER_HZ
}

/// Ticks per second in `/proc`: part of the kernel's contract with programs on every architecture we know.
const USER_HZ: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_used_time_and_its_children_count() {
        let usage = Usage::of(std::process::id());
        assert!(usage.resident > 100 && usage.peak >= usage.resident / 2, "{usage:?}");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (alone, all) = (Usage::of(std::process::id()), Usage::of_all(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(all.peak > alone.peak, "{alone:?} {all:?}");
        assert!(cpu("1 (a) b) S 1 1 1 0 -1 4 5 0 0 0 300 100 0 0 20 0") > 3.9);
    }
}
