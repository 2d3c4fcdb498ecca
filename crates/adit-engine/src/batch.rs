//! Received packets: one bounded slab, cut into slots without copying.
//!
//! Towards the core a slot is a packet in one or two pieces; after opening, the same slots are what the inside writes. Not
//! here: datagrams to send (`arena`), how frames are cut (`tun::split`) and glued (`tun::coalesce`).

use std::fmt;
use std::ops::Range;

use adit_protocol::{DropReason, Drops, Ecn, IpPacket, LinkId, Path};

use crate::Full;

/// Slots after which a batch reads no more. One more frame may go beyond it by its own segments.
const SLOTS: usize = 256;

/// The most bytes one read can give: an IP packet or UDP datagram with the virtual network header before it.
pub const MAX_READ: usize = 65_536 + 64;

/// Received packets or datagrams in one slab, as slots.
///
/// On the way out it holds what the inside read, until it is sealed; on the way in what the outside read, opened in place,
/// until the inside has written it. It is empty when every slot was taken.
pub struct RecvBatch {
    pub(crate) slab: Vec<u8>,
    /// Headers of segments cut from larger frames.
    pub(crate) heads: Vec<u8>,
    pub(crate) slots: Vec<Slot>,
    /// Bytes of the slab that hold something.
    used: usize,
    /// The first slot that was not taken.
    next: usize,
    pub(crate) drops: Drops,
}

/// Without what the packets hold.
impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.slots.iter().filter(|slot| !slot.taken).count();
        f.debug_struct("RecvBatch").field("packets", &left).field("bytes", &self.used).finish_non_exhaustive()
    }
}

/// One packet of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) from: Path,
    pub(crate) ecn: Ecn,
    pub(crate) taken: bool,
    pub(crate) head: Span,
    pub(crate) body: Span,
}

/// A range of a slab, small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl RecvBatch {
    /// A batch of this many bytes, the bound on what is received at a time. At least [`MAX_READ`].
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            slab: vec![0; bytes.max(MAX_READ)],
            heads: Vec::new(),
            slots: Vec::with_capacity(SLOTS),
            used: 0,
            next: 0,
            drops: Drops::default(),
        }
    }

    /// Adds a packet by copying it.
    ///
    /// # Errors
    /// [`Full`] if there is no room now.
    pub fn push(&mut self, from: Path, ecn: Ecn, packet: &[u8]) -> Result<(), Full> {
        if self.slots.len() >= SLOTS {
            return Err(Full);
        }
        self.spare().get_mut(..packet.len()).ok_or(Full)?.copy_from_slice(packet);
        self.fill(from, ecn, packet.len(), packet.len());
        Ok(())
    }

    /// The unused end of the slab, to read into; tell of it by [`fill`](Self::fill).
    pub fn spare(&mut self) -> &mut [u8] {
        let used = self.used;
        &mut self.slab[used..]
    }

    /// The first `len` bytes of what [`spare`](Self::spare) gave hold datagrams from `from`, of `stride` bytes each (the last
    /// one of what is left).
    pub fn fill(&mut self, from: Path, ecn: Ecn, len: usize, stride: usize) {
        self.fill_at(from, ecn, self.used..self.used + len, stride);
    }

    /// As [`fill`](Self::fill), for a range of the slab behind everything filled so far.
    pub(crate) fn fill_at(&mut self, from: Path, ecn: Ecn, range: Range<usize>, stride: usize) {
        let (mut at, end) = (range.start, range.end.min(self.slab.len()));
        let stride = stride.max(1);
        while at < end {
            let len = stride.min(end - at);
            self.slots.push(Slot { from, ecn, taken: false, head: Span::default(), body: Span::new(at, len) });
            at += len;
        }
        self.used = self.used.max(end);
    }

    /// Whether it should be read into: there is room for the largest read, and for more slots.
    pub fn has_room(&self) -> bool {
        self.slots.len() < SLOTS && self.slab.len() - self.used >= MAX_READ
    }

    /// How many packets it was given since it was empty.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Where its packets came from, from the one with this number on (they are numbered in the order they came).
    pub fn sources_since(&self, first: usize) -> impl Iterator<Item = Path> {
        self.slots.iter().skip(first).map(|slot| slot.from)
    }

    /// The packets from the one with this number on came over this carrier.
    pub fn came_over(&mut self, link: LinkId, first: usize) {
        for slot in self.slots.iter_mut().skip(first) {
            slot.from.link = link;
        }
    }

    /// Whether every packet was taken.
    pub fn is_empty(&self) -> bool {
        self.next == self.slots.len()
    }

    /// Forgets everything it holds.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.slots.clear();
        self.used = 0;
        self.next = 0;
    }

    /// The next packet of those to be written inside, which are in one piece.
    pub fn front(&self) -> Option<&[u8]> {
        self.slots.get(self.next).map(|slot| &self.slab[slot.body.range()])
    }

    /// Where the next packet came from.
    pub fn front_path(&self) -> Option<Path> {
        self.slots.get(self.next).map(|slot| slot.from)
    }

    /// The congestion mark that the next packet came with.
    pub fn front_ecn(&self) -> Option<Ecn> {
        self.slots.get(self.next).map(|slot| slot.ecn)
    }

    /// The next packet has been written.
    pub fn pop_front(&mut self) {
        self.take(self.next);
    }

    /// The next packet was refused by the inside: dropped and counted.
    pub fn refuse_front(&mut self) {
        if !self.is_empty() {
            self.drops.count(DropReason::InsideFull);
        }
        self.pop_front();
    }

    /// What was dropped here since the last call.
    pub fn take_drops(&mut self) -> Drops {
        std::mem::take(&mut self.drops)
    }

    /// Bytes of the slab in use so far.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Counts `len` bytes of the spare room as used, by frames whose slots the caller adds.
    pub(crate) fn advance(&mut self, len: usize) {
        self.used = (self.used + len).min(self.slab.len());
    }

    /// The number of the next slot that was not taken.
    pub(crate) fn cursor(&self) -> usize {
        self.next
    }

    /// Marks a slot as done with, in any order; when all are, the batch is empty and its memory free again.
    pub(crate) fn take(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.taken = true;
        }
        self.settle();
    }

    /// Moves behind the slots that are done with, after some were marked so.
    pub(crate) fn settle(&mut self) {
        while self.slots.get(self.next).is_some_and(|s| s.taken) {
            self.next += 1;
        }
        if self.is_empty() {
            self.clear();
        }
    }

    /// The packet in a slot, if it is one.
    pub(crate) fn packet(&self, slot: &Slot) -> Option<IpPacket<'_>> {
        if slot.head.len == 0 {
            IpPacket::parse(&self.slab[slot.body.range()])
        } else {
            IpPacket::parse_split(&self.heads[slot.head.range()], &self.slab[slot.body.range()])
        }
    }
}

impl Span {
    pub(crate) fn new(start: usize, len: usize) -> Self {
        Self { start: start as u32, len: len as u32 }
    }

    /// Keeps only this part of itself.
    pub(crate) fn narrow(&mut self, part: Range<usize>) {
        *self = Self::new(self.start as usize + part.start, part.len());
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_is_split_by_its_stride_without_losing_a_byte() {
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        batch.spare()[..250].fill(7);
        batch.fill(from(), Ecn::Ect0, 250, 100);
        let lens: Vec<_> = batch.slots.iter().map(|s| s.body.len).collect();
        assert_eq!(lens, [100, 100, 50]);
        assert_eq!(batch.used(), 250);
    }

    #[test]
    fn a_batch_is_reused_when_all_was_taken() {
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        for i in 0..3 {
            batch.push(from(), Ecn::NotEct, &[i; 30]).unwrap();
        }
        batch.take(1);
        assert_eq!(batch.front().unwrap(), [0; 30]);
        assert_eq!(batch.front_path(), Some(from()));
        batch.pop_front();
        assert_eq!(batch.front().unwrap(), [2; 30]);
        batch.refuse_front();
        assert!(batch.is_empty());
        assert_eq!(batch.used(), 0);
        assert_eq!(batch.take_drops().of(DropReason::InsideFull), 1);
    }

    #[test]
    fn slots_and_bytes_are_bounded() {
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        let n = (0..10_000).take_while(|_| batch.push(from(), Ecn::NotEct, &[0; 1]).is_ok()).count();
        assert_eq!(n, SLOTS);
        batch.clear();
        assert!(batch.push(from(), Ecn::NotEct, &[0; MAX_READ]).is_ok());
        assert_eq!(batch.push(from(), Ecn::NotEct, &[0; 1]), Err(Full));
    }

    fn from() -> Path {
        Path::to(([127, 0, 0, 1], 1).into())
    }
}
