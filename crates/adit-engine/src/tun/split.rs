//! Cutting frames that are larger than the MTU into packets, and completing checksums left to us.
//!
//! The payload is not touched: each packet gets headers of its own in a side buffer, and its payload stays in the slab. The
//! frame comes from the local kernel, yet every field of it is checked, since a guest may have written it.

use adit_protocol::{Checksum, Ecn, Path};

use super::vnet::{GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, NEEDS_CSUM, Vnet};
use crate::RecvBatch;
use crate::batch::{Slot, Span};

/// Packets that one frame may become; one that would become more is dropped.
pub(super) const MAX_PIECES: usize = 1024;
/// Bytes of all headers of a packet that is cut.
const MAX_HEADERS: usize = 192;

/// The frame is not what its virtual network header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejected;

/// What lies where in a frame that is to be cut.
struct Layout {
    v4: bool,
    udp: bool,
    /// Where the transport header starts, and where the payload does.
    transport: usize,
    payload: usize,
    step: usize,
}

/// Adds the packets of the frame at `at` in the batch's slab, of which the caller has said that it is used.
pub(super) fn split(batch: &mut RecvBatch, at: usize, len: usize, vnet: Vnet, from: Path) -> Result<(), Rejected> {
    let frame = batch.slab.get_mut(at..at + len).ok_or(Rejected)?;
    let gso = vnet.gso_type & !GSO_ECN;
    if gso == GSO_NONE {
        if vnet.flags & NEEDS_CSUM != 0 {
            complete(frame, vnet)?;
        }
        batch.slots.push(slot(from, Span::default(), Span::new(at, len)));
        return Ok(());
    }
    let layout = Layout::find(frame, vnet, gso)?;
    let pieces = (len - layout.payload).div_ceil(layout.step).max(1);
    if pieces > MAX_PIECES {
        return Err(Rejected);
    }
    let (headers, payload) = frame.split_at(layout.payload);
    for number in 0..pieces {
        let start = number * layout.step;
        let piece = &payload[start..payload.len().min(start + layout.step)];
        let head = Span::new(batch.heads.len(), headers.len());
        batch.heads.extend_from_slice(headers);
        layout.fix(&mut batch.heads[head.range()], piece, number, number + 1 == pieces);
        batch.slots.push(slot(from, head, Span::new(at + layout.payload + start, piece.len())));
    }
    Ok(())
}

fn slot(from: Path, head: Span, body: Span) -> Slot {
    Slot { from, ecn: Ecn::NotEct, taken: false, head, body }
}

/// Completes a checksum whose field holds the sum of the pseudo-header.
fn complete(frame: &mut [u8], vnet: Vnet) -> Result<(), Rejected> {
    let start = usize::from(vnet.csum_start);
    let field = start + usize::from(vnet.csum_offset);
    if frame.len() < field + 2 {
        return Err(Rejected);
    }
    let sum = match Checksum::new().with(&frame[start..]).finish() {
        // Zero would mean that there is none (UDP), and is the same number (TCP).
        0 => 0xffff,
        sum => sum,
    };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

impl Layout {
    fn find(frame: &[u8], vnet: Vnet, gso: u8) -> Result<Self, Rejected> {
        let transport = usize::from(vnet.csum_start);
        let v4 = frame.first().is_some_and(|first| first >> 4 == 4);
        let fixed = match frame.first().map(|first| first >> 4) {
            Some(4) => usize::from(frame[0] & 15) * 4,
            Some(6) => 40,
            _ => return Err(Rejected),
        };
        let udp = match (gso, v4) {
            (GSO_TCPV4, true) | (GSO_TCPV6, false) => false,
            (GSO_UDP, _) => true,
            _ => return Err(Rejected),
        };
        let right_place = if v4 { fixed >= 20 && transport == fixed } else { transport >= fixed };
        let protocol = if udp { 17 } else { 6 };
        let right_protocol = if v4 { frame.get(9) } else { frame.get(6).filter(|_| transport == 40) };
        if !right_place || right_protocol.is_some_and(|found| *found != protocol) {
            return Err(Rejected);
        }
        let payload = if udp {
            transport + 8
        } else {
            let offset = *frame.get(transport + 12).ok_or(Rejected)?;
            transport + usize::from(offset >> 4) * 4
        };
        let least = transport + if udp { 8 } else { 20 };
        if payload < least || payload > frame.len() || payload > MAX_HEADERS || vnet.gso_size == 0 {
            return Err(Rejected);
        }
        Ok(Self { v4, udp, transport, payload, step: usize::from(vnet.gso_size) })
    }

    /// Makes a copy of the frame's headers those of one piece.
    fn fix(&self, headers: &mut [u8], piece: &[u8], number: usize, last: bool) {
        let total = headers.len() + piece.len();
        let (ip, transport) = headers.split_at_mut(self.transport);
        let mut pseudo = Checksum::new().with_word(if self.udp { 17 } else { 6 });
        let transport_len = total - self.transport;
        if self.v4 {
            put(ip, 2, total as u16);
            let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(number as u16);
            put(ip, 4, id);
            put(ip, 10, 0);
            let sum = Checksum::new().with(ip).finish();
            put(ip, 10, sum);
            pseudo = pseudo.with(&ip[12..20]);
        } else {
            put(ip, 4, (total - 40) as u16);
            pseudo = pseudo.with(&ip[8..40]);
        }
        pseudo = pseudo.with_word(transport_len as u16);
        let field = if self.udp {
            put(transport, 4, transport_len as u16);
            6
        } else {
            let first = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
            let sequence = first.wrapping_add((number * self.step) as u32);
            transport[4..8].copy_from_slice(&sequence.to_be_bytes());
            if number > 0 {
                transport[13] &= !CWR;
            }
            if !last {
                transport[13] &= !(FIN | PSH);
            }
            16
        };
        put(transport, field, 0);
        let sum = match pseudo.with(transport).with(piece).finish() {
            0 if self.udp => 0xffff,
            sum => sum,
        };
        put(transport, field, sum);
    }
}

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

fn put(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}
