//! Each end on a processor of its own, as two machines have it: left to the scheduler, whether a packet wakes a sleeper on its
//! own processor or on the other one decides more about a ping than the program does.

use std::fs;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::subjects::children;

/// Threads that stay on one processor until this is dropped; then they may run where they might before.
#[derive(Debug)]
pub(super) struct Pinned(Vec<(Option<Pid>, CpuSet)>);

impl Pinned {
    /// Puts the first end, this thread and what it starts on one processor, the last end on another. On a machine with one
    /// processor everything stays where it is.
    pub(super) fn apart(ends: &[u32]) -> Self {
        let mut pinned = Self(Vec::new());
        if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
            return pinned;
        }
        pinned.pin(None, 0);
        for (processor, end) in ends.iter().enumerate() {
            let whole = std::iter::once(*end).chain(children(*end));
            for thread in whole.flat_map(threads) {
                pinned.pin(Some(thread), processor.min(1));
            }
        }
        pinned
    }

    fn pin(&mut self, thread: Option<Pid>, processor: usize) {
        // A thread that has ended meanwhile needs no place.
        let Ok(before) = sched_getaffinity(thread) else { return };
        let mut one = CpuSet::new();
        one.set(processor);
        if sched_setaffinity(thread, &one).is_ok() {
            self.0.push((thread, before));
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for (thread, before) in &self.0 {
            let _ended_meanwhile = sched_setaffinity(*thread, before);
        }
    }
}

fn threads(pid: u32) -> Vec<Pid> {
    let listed = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    listed.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_stay_where_they_are_put_and_are_free_again() {
        let before = sched_getaffinity(None).unwrap();
        let pinned = Pinned::apart(&[]);
        if std::thread::available_parallelism().unwrap().get() > 1 {
            assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        }
        drop(pinned);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
