//! Taking namespaces away, with what still runs in them: our own at their end, and those of test processes that died.
//!
//! Not here: any namespace whose name is not `adit-PID-n`.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::shell::Run;

/// Removes namespaces whose maker no longer lives (it was killed, and could not clean up).
pub(super) fn leftovers_of_the_dead() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str()
            && let Some(pid) = maker(name)
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            remove(name);
        }
    }
}

/// Ends the processes inside and deletes the namespace. Nothing can be done about a failure here, so none is reported.
pub(super) fn remove(name: &str) {
    let inside = Run::line(&format!("ip netns pids {name}")).attempt().unwrap_or_default();
    for pid in inside.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)) {
        // `ip netns pids` also names processes one of whose threads is inside: the test itself must live.
        if u32::try_from(pid.as_raw_nonzero().get()) != Ok(std::process::id()) {
            let _gone_already = kill_process(pid, Signal::KILL);
        }
    }
    let _gone_already = Run::line(&format!("ip netns delete {name}")).attempt();
}

/// The process that made `adit-PID-n`.
fn maker(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix("adit-")?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_swept() {
        assert_eq!(maker("adit-41-0"), Some(41));
        for foreign in ["adit-demo-1", "adit-41", "adit-41-x", "other-41-0", "adit", ""] {
            assert_eq!(maker(foreign), None, "{foreign}");
        }
    }
}
