//! Datagrams to send: a bounded slab of runs, each run of equal-size datagrams that leave as one system call.
//!
//! Not here: received packets (`batch`), sockets (`udp`).

use std::fmt;
use std::ops::Range;

use adit_protocol::{DropReason, Drops, LinkId, Path};

/// The most datagrams in one run: what the kernel takes with `UDP_SEGMENT` everywhere.
pub const MAX_SEGMENTS: usize = 64;

/// The most bytes in one datagram, and in one run: 65 535 less the headers of IPv4 and UDP.
pub const MAX_DATAGRAM: usize = 65_507;

/// Datagrams waiting to leave, as runs: same path, same traffic class, equal size but for a shorter last one.
///
/// A run is at most [`MAX_SEGMENTS`] datagrams and [`MAX_DATAGRAM`] bytes, so a carrier that can cut (`UDP_SEGMENT`) sends
/// it with one call. Memory is given once and reused whenever the arena has been emptied.
pub struct SendArena {
    slab: Vec<u8>,
    used: usize,
    runs: Vec<RunEntry>,
    /// The first run that has not been sent.
    next: usize,
    /// Only runs before this one are shown; all, if there are not as many.
    fence: usize,
    drops: Drops,
}

/// One run of a [`SendArena`].
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Where its datagrams go.
    pub to: Path,
    /// Differentiated services and congestion bits of the outer header.
    pub tos: u8,
    /// All datagrams, one after the other.
    pub bytes: &'a [u8],
    /// Bytes of each datagram but the last, which may have fewer.
    pub segment: usize,
}

/// Without what the datagrams hold.
impl fmt::Debug for SendArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendArena").field("runs", &self.runs).field("next", &self.next).finish_non_exhaustive()
    }
}

/// Without what the datagrams hold.
impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("to", &self.to)
            .field("tos", &self.tos)
            .field("bytes", &self.bytes.len())
            .field("segment", &self.segment)
            .finish()
    }
}

/// There is no room for another datagram: send first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the send arena is full")]
pub struct Full;

#[derive(Debug, Clone, Copy)]
struct RunEntry {
    to: Path,
    tos: u8,
    start: usize,
    len: usize,
    segment: usize,
    segments: usize,
}

impl SendArena {
    /// An arena of this many bytes, the bound on what waits in it.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { slab: vec![0; bytes], used: 0, runs: Vec::new(), next: 0, fence: usize::MAX, drops: Drops::default() }
    }

    /// Adds a datagram of `len` bytes, written by `write`, behind those that wait.
    ///
    /// # Errors
    /// [`Full`] if there is no room now. A datagram that could never be sent (empty, or longer than [`MAX_DATAGRAM`] or
    /// the arena) is counted as dropped in place of that.
    pub fn push_with(&mut self, to: Path, tos: u8, len: usize, write: impl FnOnce(&mut [u8])) -> Result<(), Full> {
        match self.reserve(to, tos, len)? {
            Some(range) => write(&mut self.slab[range]),
            None => self.drops.count(DropReason::TooLong),
        }
        Ok(())
    }

    /// Adds a datagram by copying it.
    ///
    /// # Errors
    /// As [`push_with`](Self::push_with).
    pub fn push(&mut self, to: Path, tos: u8, datagram: &[u8]) -> Result<(), Full> {
        self.push_with(to, tos, datagram.len(), |bytes| bytes.copy_from_slice(datagram))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.next == self.runs.len().min(self.fence)
    }

    /// Lets `send` see nothing but the runs for one carrier, all of them: they are moved before the others, in their order.
    pub(crate) fn only<R>(&mut self, link: LinkId, send: impl FnOnce(&mut Self) -> R) -> R {
        self.those(|run| run.to.link == link, send)
    }

    /// Lets `send` see all runs but those for one carrier, as [`only`](Self::only) does.
    pub(crate) fn all_but<R>(&mut self, link: LinkId, send: impl FnOnce(&mut Self) -> R) -> R {
        self.those(|run| run.to.link != link, send)
    }

    fn those<R>(&mut self, wanted: impl Fn(&RunEntry) -> bool, send: impl FnOnce(&mut Self) -> R) -> R {
        let shown = self.runs.len().min(self.fence);
        let waiting = &mut self.runs[self.next..shown];
        if !waiting.iter().all(&wanted) {
            waiting.sort_by_key(|run| !wanted(run));
        }
        let runs = waiting.iter().take_while(|run| wanted(run)).count();
        self.first_runs(runs, send)
    }

    /// Lets `send` see nothing but the first runs of those that are shown.
    pub fn first_runs<R>(&mut self, runs: usize, send: impl FnOnce(&mut Self) -> R) -> R {
        let outer = self.fence;
        self.fence = (self.next + runs).min(outer);
        let result = send(self);
        // Behind a fence nothing is forgotten, so the places of runs are what they were.
        self.fence = outer;
        self.tidy();
        result
    }

    /// Bytes for which there is room.
    pub fn room(&self) -> usize {
        self.slab.len() - self.used
    }

    /// The run that must leave first.
    pub fn front(&self) -> Option<Run<'_>> {
        self.waiting().next()
    }

    /// Every run that waits, in the order in which they must leave.
    pub fn waiting(&self) -> impl Iterator<Item = Run<'_>> {
        let shown = self.runs.len().min(self.fence);
        self.runs[self.next..shown].iter().map(|run| Run {
            to: run.to,
            tos: run.tos,
            bytes: &self.slab[run.start..run.start + run.len],
            segment: run.segment,
        })
    }

    /// The first run has been sent.
    pub fn pop_front(&mut self) {
        self.next = (self.next + 1).min(self.runs.len().min(self.fence));
        self.tidy();
    }

    /// Memory is free again when nothing waits, behind a fence neither; as long as there is one, the places of runs stay.
    fn tidy(&mut self) {
        if self.fence == usize::MAX && self.next == self.runs.len() {
            self.runs.clear();
            self.next = 0;
            self.used = 0;
        }
    }

    /// The first run cannot be sent: its datagrams are dropped, and counted.
    pub fn refuse_front(&mut self) {
        if !self.is_empty()
            && let Some(run) = self.runs.get(self.next)
        {
            self.drops.add(DropReason::OutsideFull, run.segments as u64);
        }
        self.pop_front();
    }

    /// This many bytes of the first run have left: whole datagrams of it.
    pub fn sent(&mut self, bytes: usize) {
        let shown = self.runs.len().min(self.fence);
        let Some(run) = self.runs[..shown].get_mut(self.next) else { return };
        if bytes >= run.len {
            return self.pop_front();
        }
        run.start += bytes;
        run.len -= bytes;
        run.segments -= (bytes / run.segment).min(run.segments - 1);
    }

    /// As [`sent`](Self::sent), for datagrams that were refused: dropped and counted.
    pub(crate) fn refused(&mut self, bytes: usize) {
        if let Some(run) = self.runs.get(self.next) {
            self.drops.add(DropReason::OutsideFull, bytes.min(run.len).div_ceil(run.segment) as u64);
        }
        self.sent(bytes);
    }

    /// What was dropped here since the last call.
    pub fn take_drops(&mut self) -> Drops {
        std::mem::take(&mut self.drops)
    }

    /// Room for a datagram: `Ok(None)` if there never will be.
    pub(crate) fn reserve(&mut self, to: Path, tos: u8, len: usize) -> Result<Option<Range<usize>>, Full> {
        if len == 0 || len > MAX_DATAGRAM || len > self.slab.len() {
            return Ok(None);
        }
        if len > self.room() {
            return Err(Full);
        }
        let range = self.used..self.used + len;
        self.used = range.end;
        let none_waits = self.is_empty();
        match self.runs.last_mut() {
            Some(run) if !none_waits && run.takes(to, tos, len) => {
                run.len += len;
                run.segments += 1;
            }
            _ => self.runs.push(RunEntry { to, tos, start: range.start, len, segment: len, segments: 1 }),
        }
        Ok(Some(range))
    }

    /// As [`reserve`](Self::reserve), for callers that have seen to it that there is room: what does not fit is dropped.
    pub(crate) fn reserve_or_count(&mut self, to: Path, tos: u8, len: usize) -> Option<Range<usize>> {
        let (range, reason) = match self.reserve(to, tos, len) {
            Ok(range) => (range, DropReason::TooLong),
            Err(Full) => (None, DropReason::OutsideFull),
        };
        if range.is_none() {
            self.drops.count(reason);
        }
        range
    }

    /// All of the slab, for writing into reserved ranges.
    pub(crate) fn slab_mut(&mut self) -> &mut [u8] {
        &mut self.slab
    }
}

impl RunEntry {
    /// Whether another datagram may be appended.
    fn takes(&self, to: Path, tos: u8, len: usize) -> bool {
        let last_is_whole = self.len == self.segments * self.segment;
        last_is_whole
            && len <= self.segment
            && self.segments < MAX_SEGMENTS
            && self.len + len <= MAX_DATAGRAM
            && self.tos == tos
            && self.to == to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_to_one_peer_are_one_run_which_a_shorter_one_ends() {
        let mut arena = SendArena::with_capacity(10_000);
        for len in [100, 100, 40, 100, 100] {
            arena.push_with(to(1), 0, len, |b| b.fill(len as u8)).unwrap();
        }
        let runs: Vec<_> = arena.waiting().map(|r| (r.segment, r.bytes.len())).collect();
        assert_eq!(runs, [(100, 240), (100, 200)]);
        assert_eq!(arena.front().unwrap().bytes[200..], [40; 40]);
    }

    #[test]
    fn a_longer_one_another_path_or_another_class_begins_a_run() {
        let mut arena = SendArena::with_capacity(10_000);
        arena.push(to(1), 0, &[1; 10]).unwrap();
        arena.push(to(1), 0, &[1; 11]).unwrap();
        arena.push(to(2), 0, &[1; 11]).unwrap();
        arena.push(to(2), 2, &[1; 11]).unwrap();
        assert_eq!(arena.waiting().count(), 4);
    }

    #[test]
    fn a_run_has_at_most_64_datagrams_and_65507_bytes() {
        let mut arena = SendArena::with_capacity(200_000);
        for _ in 0..65 {
            arena.push(to(1), 0, &[1; 10]).unwrap();
        }
        for _ in 0..3 {
            arena.push(to(2), 0, &[1; 32_000]).unwrap();
        }
        let runs: Vec<_> = arena.waiting().map(|r| r.bytes.len()).collect();
        assert_eq!(runs, [640, 10, 64_000, 32_000]);
    }

    #[test]
    fn a_full_arena_says_so_and_has_room_again_when_emptied() {
        let mut arena = SendArena::with_capacity(100);
        arena.push(to(1), 0, &[1; 60]).unwrap();
        assert_eq!(arena.push(to(1), 0, &[1; 60]), Err(Full));
        arena.pop_front();
        assert!(arena.is_empty());
        arena.push(to(1), 0, &[1; 60]).unwrap();
    }

    #[test]
    fn what_can_never_be_sent_is_counted_and_not_waited_for() {
        let mut arena = SendArena::with_capacity(200_000);
        assert_eq!(arena.push_with(to(1), 0, MAX_DATAGRAM + 1, |_| ()), Ok(()));
        assert_eq!(arena.push_with(to(1), 0, MAX_DATAGRAM, |_| ()), Ok(()));
        arena.refuse_front();
        let drops = arena.take_drops();
        assert_eq!((drops.of(DropReason::TooLong), drops.of(DropReason::OutsideFull)), (1, 1));
        assert_eq!(arena.take_drops().total(), 0);
    }

    #[test]
    fn a_run_may_leave_one_datagram_at_a_time() {
        let mut arena = SendArena::with_capacity(1000);
        for len in [10, 10, 5] {
            arena.push_with(to(1), 0, len, |b| b.fill(len as u8)).unwrap();
        }
        arena.sent(10);
        assert_eq!((arena.front().unwrap().bytes.len(), arena.front().unwrap().segment), (15, 10));
        arena.refused(10);
        assert_eq!(arena.front().unwrap().bytes, [5; 5]);
        arena.sent(5);
        assert!(arena.is_empty());
        assert_eq!(arena.take_drops().total(), 1);
    }

    #[test]
    fn each_carrier_is_shown_its_own_runs_in_their_order() {
        let on = |link, port| Path { link: LinkId(link), ..to(port) };
        let mut arena = SendArena::with_capacity(1000);
        for (link, port) in [(1, 1), (0, 2), (1, 3), (0, 4)] {
            arena.push(on(link, port), 0, &[port as u8; 10]).unwrap();
        }
        let mut seen = Vec::new();
        arena.only(LinkId(0), |arena| {
            while let Some(run) = arena.front() {
                seen.push(run.bytes[0]);
                arena.pop_front();
            }
            assert!(arena.is_empty());
            arena.refuse_front();
        });
        assert_eq!(seen, [2, 4]);
        assert_eq!(arena.waiting().map(|run| run.bytes[0]).collect::<Vec<_>>(), [1, 3]);
        arena.only(LinkId(1), |arena| {
            arena.pop_front();
            arena.pop_front();
        });
        assert!(arena.is_empty());
        assert_eq!((arena.room(), arena.take_drops().total()), (1000, 0));
    }

    #[test]
    fn nothing_joins_a_run_that_has_left() {
        let mut arena = SendArena::with_capacity(1000);
        arena.push(to(1), 0, &[1; 10]).unwrap();
        arena.push(to(2), 0, &[2; 10]).unwrap();
        arena.pop_front();
        arena.push(to(2), 0, &[3; 10]).unwrap();
        assert_eq!(arena.front().unwrap().bytes.len(), 20);
        arena.pop_front();
        assert!(arena.is_empty());
    }

    fn to(port: u16) -> Path {
        Path::to(([127, 0, 0, 1], port).into())
    }
}
