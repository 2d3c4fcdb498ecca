//! Numbers that control packets carry inside their envelope, so that none is taken twice.

use adit_protocol::ReplayWindow;

/// The number of a packet: of two times the later is newer, of one time the greater id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplayId {
    pub(crate) id: u32,
    /// Seconds since the Unix epoch, when the sender began to count.
    pub(crate) time: u32,
}

/// The numbers that a sender gives. Retransmissions get new ones.
#[derive(Debug)]
pub(crate) struct ReplayCounter {
    next: ReplayId,
}

/// The numbers that a receiver has seen: 64 behind the newest of its time.
#[derive(Debug)]
pub(crate) struct ReplayFilter {
    time: u32,
    seen: ReplayWindow<2>,
}

impl ReplayCounter {
    /// Counts from `first`, with the present time as `unix` seconds.
    pub(crate) const fn new(first: u32, unix: u64) -> Self {
        Self { next: ReplayId { id: first, time: unix as u32 } }
    }

    /// The next number. After the last of 32 bits the time goes on by one.
    pub(crate) const fn next(&mut self) -> ReplayId {
        let now = self.next;
        self.next = match now.id.checked_add(1) {
            Some(id) => ReplayId { id, time: now.time },
            None => ReplayId { id: 1, time: now.time.wrapping_add(1) },
        };
        now
    }
}

impl ReplayFilter {
    /// Nothing has been seen.
    pub(crate) const fn new() -> Self {
        Self { time: 0, seen: ReplayWindow::new() }
    }

    /// Whether it is new. Call only for authentic packets.
    pub(crate) fn accept(&mut self, replay: ReplayId) -> bool {
        if replay.id == 0 || replay.time < self.time {
            return false;
        }
        if replay.time > self.time {
            *self = Self { time: replay.time, seen: ReplayWindow::new() };
        }
        self.seen.accept(u64::from(replay.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: u32, id: u32) -> ReplayId {
        ReplayId { id, time }
    }

    #[test]
    fn each_is_taken_once_and_time_does_not_run_back() {
        let mut filter = ReplayFilter::new();
        assert!(filter.accept(at(7, 1)) && filter.accept(at(7, 3)) && filter.accept(at(7, 2)));
        assert!(!filter.accept(at(7, 2)) && !filter.accept(at(7, 0)));
        assert!(filter.accept(at(8, 1)), "a later time begins anew");
        assert!(!filter.accept(at(7, 4)), "an earlier one is over");
        assert!(filter.accept(at(8, 100)) && filter.accept(at(8, 36)) && !filter.accept(at(8, 35)), "64 behind");
    }

    #[test]
    fn a_counter_never_gives_a_number_twice() {
        let mut counter = ReplayCounter::new(u32::MAX - 1, 5);
        let given = [counter.next(), counter.next(), counter.next(), counter.next()];
        assert_eq!(given, [at(5, u32::MAX - 1), at(5, u32::MAX), at(6, 1), at(6, 2)]);
    }
}
