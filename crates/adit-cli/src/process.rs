//! What the kernel knows of a process: its memory and its CPU time, from `/proc`.

/// Resident memory in KiB; 0 if there is no such process.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    resident_in(&status)
}

/// CPU seconds used so far, in user and kernel mode.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ticks_in(&stat) as f64 / USER_HZ
}

/// The unit of times in `/proc`: a constant of the kernel's interface on every machine that Rust knows.
const USER_HZ: f64 = 100.0;

fn resident_in(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Fields 14 and 15; counted after the name, which may hold spaces and parentheses.
fn ticks_in(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_resident_set() {
        assert_eq!(resident_in("Name:\tadit\nVmHWM:\t 9 kB\nVmRSS:\t    7340 kB\n"), 7340);
        assert_eq!(resident_in(""), 0);
        assert!(resident_kib(std::process::id()) > 0);
    }

    #[test]
    fn cpu_time_is_user_and_system_whatever_the_process_is_called() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0";
        assert_eq!(ticks_in(stat), 42);
        assert_eq!(ticks_in("nonsense"), 0);
    }
}
