//! Gluing packets of one flow into the larger frames that they were cut from.
//!
//! Nothing is copied: a frame is a list of slots of the batch, and a header of its own made when it is written. Not here:
//! writing (`tun`), what may be glued (`flow`).

use arrayvec::ArrayVec;

use super::flow::{Candidate, Kind};
use super::vnet::{GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, NEEDS_CSUM, Vnet};
use crate::RecvBatch;

/// Flows that are looked at for a place to append; beyond them the oldest is closed.
const OPEN: usize = 8;
/// Packets in one frame, so that its pieces fit into one writev.
pub(super) const MAX_PIECES: usize = 64;
/// Bytes of a frame: what the length field of IPv4 holds.
const MAX_FRAME: usize = 65_535;
/// The most bytes of headers: IPv6 and TCP with all its options.
pub(super) const MAX_HEADERS: usize = 40 + 60;

/// Packets that are written as one.
#[derive(Debug)]
pub(super) struct Frame {
    /// Slots of the batch, in order.
    pub(super) slots: Slots,
    /// Of the first packet; `None` for one that stays alone.
    candidate: Option<Candidate>,
    /// Payload of each piece but the last, and of all.
    step: usize,
    payload: usize,
    /// The last packet ends it.
    closed: bool,
    /// The first packet's checksums have been verified.
    intact: bool,
    pushes: bool,
}

/// A list of slots: almost always one or many in a row, but flows may be mixed.
pub(super) type Slots = ArrayVec<u16, MAX_PIECES>;

/// Finds frames in a batch. Its memory is reused.
#[derive(Debug, Default)]
pub(super) struct Coalescer {
    frames: Vec<Frame>,
}

impl Coalescer {
    /// The frames that the packets left in the batch make, in the order of their first packets. Packets of one flow keep
    /// their order.
    pub(super) fn plan(&mut self, batch: &RecvBatch, tcp: bool, udp: bool) -> &[Frame] {
        self.frames.clear();
        let mut open: ArrayVec<usize, OPEN> = ArrayVec::new();
        for (number, slot) in batch.slots.iter().enumerate().skip(batch.cursor()).filter(|(_, slot)| !slot.taken) {
            let packet = &batch.slab[slot.body.range()];
            let candidate = Candidate::of(packet).filter(|c| if c.kind.is_udp() { udp } else { tcp });
            let Some(candidate) = candidate else {
                self.frames.push(Frame::alone(number));
                continue;
            };
            let same = open.iter().rposition(|at| {
                let frame = &self.frames[*at];
                frame.candidate.is_some_and(|c| candidate.same_flow(packet, &c, frame.first(batch)))
            });
            if let Some(place) = same {
                let frame = &mut self.frames[open[place]];
                if frame.append(batch, number, &candidate, packet) {
                    if frame.closed {
                        open.remove(place);
                    }
                    continue;
                }
                open.remove(place);
            }
            if !candidate.alone && !candidate.pushes {
                if open.is_full() {
                    open.remove(0);
                }
                open.push(self.frames.len());
            }
            self.frames.push(Frame::begin(number, candidate, packet));
        }
        &self.frames
    }
}

impl Frame {
    fn alone(slot: usize) -> Self {
        let slots = [slot as u16].into_iter().collect();
        Self { slots, candidate: None, step: 0, payload: 0, closed: true, intact: false, pushes: false }
    }

    fn begin(slot: usize, candidate: Candidate, packet: &[u8]) -> Self {
        let payload = packet.len().saturating_sub(candidate.payload);
        Self { candidate: Some(candidate), step: payload, payload, closed: false, ..Self::alone(slot) }
    }

    fn first<'a>(&self, batch: &'a RecvBatch) -> &'a [u8] {
        let slot = self.slots.first().copied().unwrap_or(0);
        &batch.slab[batch.slots[usize::from(slot)].body.range()]
    }

    /// Appends a packet of the same flow, if it is the very next piece.
    fn append(&mut self, batch: &RecvBatch, slot: usize, candidate: &Candidate, packet: &[u8]) -> bool {
        let Some(begun) = self.candidate else { return false };
        let first = self.first(batch);
        let Some(payload) = packet.len().checked_sub(candidate.payload) else { return false };
        let follows = candidate.kind.is_udp() || candidate.sequence == begun.sequence.wrapping_add(self.payload as u32);
        let fits = !candidate.alone
            && !self.closed
            && !self.slots.is_full()
            && payload <= self.step
            && begun.payload + self.payload + payload <= MAX_FRAME
            && candidate.payload == begun.payload
            && follows
            && candidate.same_headers(packet, first, self.slots.len());
        if !fits || !candidate.intact(packet) {
            return false;
        }
        if !self.intact {
            if !begun.intact(first) {
                return false;
            }
            self.intact = true;
        }
        self.payload += payload;
        self.pushes = candidate.pushes;
        self.closed = candidate.pushes || payload < self.step;
        self.slots.push(slot as u16);
        true
    }

    /// The headers of the whole frame, and the virtual network header before it. For a single packet there is nothing to
    /// change, and no headers of its own.
    pub(super) fn headers(&self, batch: &RecvBatch) -> (Vnet, ArrayVec<u8, MAX_HEADERS>) {
        let mut headers = ArrayVec::new();
        let Some(candidate) = self.candidate.filter(|_| self.slots.len() > 1) else {
            return (Vnet { gso_type: GSO_NONE, ..Vnet::default() }, headers);
        };
        let first = self.first(batch);
        headers.extend(first[..candidate.payload].iter().copied());
        let (t, total) = (candidate.transport, candidate.payload + self.payload);
        if candidate.kind.is_v4() {
            put(&mut headers, 2, total as u16);
            put(&mut headers, 10, 0);
            let sum = adit_protocol::Checksum::new().with(&headers[..20]).finish();
            put(&mut headers, 10, sum);
        } else {
            put(&mut headers, 4, (total - 40) as u16);
        }
        let csum_offset = if candidate.kind.is_udp() {
            put(&mut headers, t + 4, (total - t) as u16);
            6
        } else {
            if self.pushes {
                headers[t + 13] |= 0x08;
            }
            16
        };
        let partial = candidate.pseudo(&headers, total).partial();
        put(&mut headers, t + csum_offset, partial);
        let gso_type = match candidate.kind {
            Kind::Tcp4 => GSO_TCPV4,
            Kind::Tcp6 => GSO_TCPV6,
            Kind::Udp4 | Kind::Udp6 => GSO_UDP,
        };
        let vnet = Vnet {
            flags: NEEDS_CSUM,
            gso_type,
            header_len: candidate.payload as u16,
            gso_size: self.step as u16,
            csum_start: t as u16,
            csum_offset: csum_offset as u16,
        };
        (vnet, headers)
    }

    /// Where the payload of each packet starts.
    pub(super) fn payload_at(&self) -> usize {
        self.candidate.map_or(0, |candidate| candidate.payload)
    }
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}
