//! Asking the scheduler to run a thread soon after it is woken, for little at a time.
//!
//! A tunnel's thread sleeps most of the time, and every packet of a busy machine waits until it is woken. From Linux 6.12 on
//! a thread may ask for short slices; a woken thread with shorter slices does not wait for the end of another's (EEVDF).
//! That takes no more of the processor than before, and no privilege. Not here: threads and runtimes (`engine`).

mod sys;

use std::time::Duration;

/// Long enough for a batch of packets, short against the usual slice of some milliseconds.
const SLICE: Duration = Duration::from_micros(100);

/// Asks for short slices for the calling thread. An older kernel takes no notice; a refusal is no fault.
pub fn prefer_promptness() {
    if let Err(error) = sys::set_slice(SLICE) {
        tracing::debug!(%error, "the scheduler keeps its usual slices for this thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nice value and the policy stay; a kernel without custom slices answers as if it had them, or has none to show.
    #[test]
    fn a_thread_gets_what_it_asks_for_and_keeps_the_rest() {
        std::thread::spawn(|| {
            let before = sys::attributes().unwrap();
            prefer_promptness();
            let after = sys::attributes().unwrap();
            assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
            let slice = Duration::from_nanos(after.sched_runtime);
            assert!(slice == SLICE || after.sched_runtime == before.sched_runtime, "{slice:?}");
        })
        .join()
        .unwrap();
    }
}
