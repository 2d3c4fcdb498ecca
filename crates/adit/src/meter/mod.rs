//! Rate limits in the data plane: a core around a core, which lets a device's packets pass no faster than it may.
//!
//! What comes too fast waits in a short queue, and is dropped and counted only when that is full: TCP then settles at the
//! limit, where a limit by dropping alone would starve it. Sessions and keys are not touched, and without limits a packet
//! costs one branch. Not here: one direction of one device (`shaper`), who has which limit, how much was used.

mod shaper;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_protocol::{
    Admission, Delivery, DropReason, Drops, Inbound, IpPacket, Now, Open, Outbound, Output, Path, PrefixTable,
    Protocol, Why,
};
use ipnet::IpNet;

use shaper::{Shaper, Verdict};

/// Bytes that wait in all queues together; what would wait beyond them is dropped.
const MAX_WAITING: usize = 32 << 20;
/// Waiting packets are looked at no more often than this: at high rates, several then go at once.
const TICK: Duration = Duration::from_millis(1);

/// How fast the packets of a device may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The device's addresses inside the tunnel. The most specific network of all limits decides.
    pub addresses: Vec<IpNet>,
    /// Towards the device, in bits per second of whole inner packets; 0 lets nothing pass, and `None` everything.
    pub down: Option<u64>,
    /// From the device, likewise.
    pub up: Option<u64>,
}

/// A core that lets packets pass no faster than [`Limit`]s allow.
pub struct Metered<P> {
    core: P,
    /// Absent while nobody is limited.
    meter: Option<Box<Meter>>,
    drops: Drops,
    /// Times in here are nanoseconds since then.
    epoch: Instant,
}

struct Meter {
    lanes: Vec<Lane>,
    /// From an address to its lane.
    by_address: PrefixTable<usize>,
    /// Lanes with packets that wait, by when the first may go.
    waiting: [BinaryHeap<Reverse<(u64, usize)>>; 2],
    /// Bytes in all queues.
    bytes: usize,
    /// The packet that was last given to the inside; its memory is used again.
    given: Vec<u8>,
}

/// A limited device.
struct Lane {
    /// By [`Way`].
    ways: [Option<Shaper>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

/// Without what waits.
impl<P: fmt::Debug> fmt::Debug for Metered<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = self.meter.as_ref().map_or(0, |meter| meter.lanes.len());
        f.debug_struct("Metered").field("core", &self.core).field("limits", &limits).finish_non_exhaustive()
    }
}

impl<P> Metered<P> {
    /// A core whose packets pass as they come, until there are limits.
    pub fn new(core: P, now: Now) -> Self {
        Self { core, meter: None, drops: Drops::default(), epoch: now.instant }
    }

    /// The core inside.
    pub const fn core(&self) -> &P {
        &self.core
    }

    /// The core inside.
    pub const fn core_mut(&mut self) -> &mut P {
        &mut self.core
    }

    /// From now on these limits and no others. A device that has had a limit keeps what waits of its packets and what it has
    /// saved; what waits for one that is limited no more is dropped and counted.
    pub fn set_limits(&mut self, limits: Vec<Limit>) {
        let mut old = self.meter.take();
        if !limits.is_empty() {
            self.meter = Some(Box::new(Meter::new(limits, old.as_deref_mut())));
        }
        let left = old.iter().flat_map(|old| &old.lanes).flat_map(|lane| lane.ways.iter().flatten()).map(Shaper::len);
        self.drops.add(DropReason::OverLimit, left.sum::<usize>() as u64);
    }

    fn since_epoch(&self, now: Now) -> u64 {
        u64::try_from(now.instant.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    fn verdict(&mut self, now: Now, way: Way, address: IpAddr, packet: &IpPacket<'_>) -> Verdict {
        let at = self.since_epoch(now);
        let verdict = self.meter.as_mut().map_or(Verdict::Pass, |meter| meter.verdict(at, way, address, packet));
        if verdict == Verdict::Drop {
            self.drops.count(DropReason::OverLimit);
        }
        verdict
    }

    /// When the next packet that waits may go.
    fn due(&self, now: Now) -> Option<Instant> {
        let first =
            self.meter.as_ref()?.waiting.iter().filter_map(|heap| heap.peek()).map(|Reverse((at, _))| *at).min()?;
        // Not at once, even if one could have gone by now: the inside may have had no room.
        Some((self.epoch + Duration::from_nanos(first)).max(now.instant + TICK))
    }
}

impl Meter {
    /// Takes over what `old` has for the same devices.
    fn new(limits: Vec<Limit>, mut old: Option<&mut Self>) -> Self {
        let mut meter = Self {
            lanes: Vec::with_capacity(limits.len()),
            by_address: PrefixTable::new(),
            waiting: [BinaryHeap::new(), BinaryHeap::new()],
            bytes: 0,
            given: Vec::new(),
        };
        for limit in limits {
            let number = meter.lanes.len();
            let mut known = old.as_deref_mut().and_then(|old| old.lane_of(&limit));
            let rates = [limit.down, limit.up];
            let ways = [Way::Down, Way::Up].map(|way| {
                let before = known.as_deref_mut().and_then(|lane| lane.ways[way as usize].take());
                rates[way as usize].map(|rate| Shaper::new(rate, before))
            });
            for (heap, shaper) in meter.waiting.iter_mut().zip(&ways) {
                let Some(shaper) = shaper else { continue };
                meter.bytes += shaper.bytes();
                heap.extend(shaper.due().map(|at| Reverse((at, number))));
            }
            for net in &limit.addresses {
                meter.by_address.insert(*net, number);
            }
            meter.lanes.push(Lane { ways });
        }
        meter
    }

    /// The lane of the same device: one that had the first of its addresses.
    fn lane_of(&mut self, limit: &Limit) -> Option<&mut Lane> {
        let number = *self.by_address.get(*limit.addresses.first()?)?;
        self.lanes.get_mut(number)
    }

    fn verdict(&mut self, now: u64, way: Way, address: IpAddr, packet: &IpPacket<'_>) -> Verdict {
        let Some(&number) = self.by_address.lookup(address) else { return Verdict::Pass };
        let Some(shaper) = self.lanes.get_mut(number).and_then(|lane| lane.ways[way as usize].as_mut()) else {
            return Verdict::Pass;
        };
        let first = shaper.is_empty();
        let verdict = shaper.admit(now, packet, MAX_WAITING - self.bytes);
        if verdict == Verdict::Wait {
            self.bytes += packet.len();
            if first {
                self.waiting[way as usize].extend(shaper.due().map(|at| Reverse((at, number))));
            }
        }
        verdict
    }

    /// The next packet that has waited long enough.
    fn release(&mut self, now: u64, way: Way) -> Option<Vec<u8>> {
        let heap = &mut self.waiting[way as usize];
        let Reverse((at, number)) = *heap.peek()?;
        if at > now {
            return None;
        }
        heap.pop();
        let shaper = self.lanes.get_mut(number)?.ways[way as usize].as_mut()?;
        let packet = shaper.release(now)?;
        heap.extend(shaper.due().map(|at| Reverse((at, number))));
        self.bytes -= packet.len();
        Some(packet)
    }
}

impl<P: Protocol> Protocol for Metered<P> {
    type Seal = P::Seal;
    type Open = P::Open;
    type Change = P::Change;
    type Event = P::Event;

    fn plan_outbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Outbound<P::Seal> {
        if self.meter.is_some() {
            match self.verdict(now, Way::Down, packet.destination(), packet) {
                Verdict::Pass => {}
                Verdict::Wait => return Outbound::Staged,
                Verdict::Drop => return Outbound::Drop(DropReason::OverLimit),
            }
        }
        self.core.plan_outbound(now, packet)
    }

    fn plan_inbound(&mut self, now: Now, from: Path, datagram: &mut [u8]) -> Inbound<P::Open> {
        self.core.plan_inbound(now, from, datagram)
    }

    fn commit_inbound(&mut self, now: Now, opened: <P::Open as Open>::Opened, datagram: &[u8]) -> Delivery {
        self.core.commit_inbound(now, opened, datagram)
    }

    fn admit_inbound(&mut self, now: Now, packet: &IpPacket<'_>) -> Admission {
        if self.meter.is_none() {
            return self.core.admit_inbound(now, packet);
        }
        match self.verdict(now, Way::Up, packet.source(), packet) {
            Verdict::Pass => self.core.admit_inbound(now, packet),
            Verdict::Wait => Admission::Kept,
            Verdict::Drop => Admission::Drop(DropReason::OverLimit),
        }
    }

    fn poll_inside(&mut self, now: Now) -> Option<&[u8]> {
        let at = self.since_epoch(now);
        if let Some(meter) = &mut self.meter
            && let Some(packet) = meter.release(at, Way::Up)
        {
            meter.given = packet;
            return Some(&meter.given);
        }
        self.core.poll_inside(now)
    }

    fn handle_timeout(&mut self, now: Now) {
        self.core.handle_timeout(now);
    }

    fn poll_output(&mut self, now: Now) -> Output<Self> {
        let at = self.since_epoch(now);
        while let Some(packet) = self.meter.as_mut().and_then(|meter| meter.release(at, Way::Down)) {
            let Some(view) = IpPacket::parse(&packet) else { continue };
            // What the core keeps or drops now, it counts like any other.
            if let Outbound::Seal { job, to } = self.core.plan_outbound(now, &view) {
                return Output::Seal { job, to, packet };
            }
        }
        match self.core.poll_output(now) {
            Output::Transmit { to, datagram, tos } => Output::Transmit { to, datagram, tos },
            Output::Seal { job, to, packet } => Output::Seal { job, to, packet },
            Output::Event(event) => Output::Event(event),
            Output::Timeout(core, why) => match self.due(now) {
                Some(due) if core.is_none_or(|core| due < core) => Output::Timeout(Some(due), Why("a rate limit")),
                _ => Output::Timeout(core, why),
            },
        }
    }

    fn apply(&mut self, now: Now, change: P::Change) {
        self.core.apply(now, change);
    }

    fn drops(&self) -> Drops {
        let mut drops = self.core.drops();
        drops.merge(&self.drops);
        drops
    }

    fn overhead(&self) -> usize {
        self.core.overhead()
    }
}

#[cfg(test)]
mod tests;
