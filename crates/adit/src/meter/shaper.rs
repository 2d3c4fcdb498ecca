//! One direction of one limited device: what may pass at once, what waits, and until when.
//!
//! A packet may pass once everything before it is paid for at the rate. Up to [`SAVED`] of time in which nothing came is
//! saved, and spent at once. Times are nanoseconds since the meter's epoch. Not here: whose packets (`meter`).

use std::collections::VecDeque;
use std::time::Duration;

use adit_protocol::IpPacket;

/// Silence that counts as saved, so that timers may be late by as much and the rate is still reached: what bursts may be.
const SAVED: Duration = Duration::from_millis(30);
/// The longest that packets wait. TCP over paths with a round trip of up to about twice this keeps up with the limit.
const MAX_WAIT: Duration = Duration::from_millis(60);
/// Packets of Ethernet's size that may wait however low the rate, or TCP would have nothing to learn from.
const MIN_QUEUE: usize = 8 * 1500;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes.
    Pass,
    /// A copy of it waits.
    Wait,
    /// The queue is full.
    Drop,
}

/// The state.
pub(super) struct Shaper {
    /// Bits per second.
    rate: u64,
    /// Until when what has passed is paid for.
    paid: u64,
    queue: VecDeque<Vec<u8>>,
    /// Bytes in the queue, and how many there may be.
    bytes: usize,
    max_bytes: usize,
}

impl Shaper {
    /// One with this rate, that goes on where `before` was. What waits does so no longer than at the new rate.
    pub(super) fn new(rate: u64, before: Option<Self>) -> Self {
        let max_bytes = (u128::from(rate) * MAX_WAIT.as_nanos() / 8 / 1_000_000_000).try_into().unwrap_or(usize::MAX);
        // What was paid at another rate is forgotten: at one bit a second, a packet is paid for in hours.
        let (paid, queue, bytes) = before
            .map_or_else(|| (0, VecDeque::new(), 0), |b| (if b.rate == rate { b.paid } else { 0 }, b.queue, b.bytes));
        Self { rate, paid, queue, bytes, max_bytes: max_bytes.max(MIN_QUEUE) }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packets that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first that waits may go.
    pub(super) fn due(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.paid)
    }

    /// A packet has come; `room` is how many bytes more may wait in all queues.
    pub(super) fn admit(&mut self, now: u64, packet: &IpPacket<'_>, room: usize) -> Verdict {
        if self.rate == 0 {
            return Verdict::Drop;
        }
        if self.is_empty() && self.paid <= now {
            self.pay(now, packet.len());
            return Verdict::Pass;
        }
        let len = packet.len();
        if self.bytes + len > self.max_bytes || len > room {
            return Verdict::Drop;
        }
        let mut copy = vec![0; len];
        packet.copy_to(&mut copy);
        self.queue.push_back(copy);
        self.bytes += len;
        Verdict::Wait
    }

    /// The first that waits goes, for its time has come.
    pub(super) fn release(&mut self, now: u64) -> Option<Vec<u8>> {
        let packet = self.queue.pop_front()?;
        self.bytes -= packet.len();
        self.pay(now, packet.len());
        if self.queue.is_empty() {
            // The longest queue there was is not kept for a device that has become quiet.
            self.queue.shrink_to(0);
        }
        Some(packet)
    }

    fn pay(&mut self, now: u64, len: usize) {
        let saved = now.saturating_sub(SAVED.as_nanos() as u64);
        let nanos = (len as u128) * 8 * 1_000_000_000 / u128::from(self.rate.max(1));
        self.paid = self.paid.max(saved).saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX));
    }
}
