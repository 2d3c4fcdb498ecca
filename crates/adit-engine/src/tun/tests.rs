//! Cutting and gluing against a naive reference, and against whatever a hostile guest may write.

use adit_protocol::{Ecn, Path};
use proptest::prelude::*;

use super::coalesce::{Coalescer, MAX_PIECES};
use super::split::{self, Rejected, split};
use super::vnet::{GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, NEEDS_CSUM, VNET_LEN, Vnet};
use crate::RecvBatch;
use crate::batch::MAX_READ;
use crate::channel::NOWHERE;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Every packet cut from a frame is whole, has right checksums, and carries its part of the payload.
    #[test]
    fn a_frame_becomes_whole_packets_in_order(frame in frames()) {
        let packets = cut(&frame);
        let mut payload = Vec::new();
        for (number, packet) in packets.iter().enumerate() {
            prop_assert!(checksums_are_right(packet), "packet {number}");
            prop_assert!(packet.len() <= frame.headers() + usize::from(frame.step));
            if !frame.udp {
                let at = frame.transport();
                let sequence = u32::from_be_bytes(packet[at + 4..at + 8].try_into().unwrap());
                prop_assert_eq!(sequence, frame.sequence.wrapping_add(payload.len() as u32));
                let last = number + 1 == packets.len();
                prop_assert_eq!(packet[at + 13] & 0x08 != 0, frame.push && last, "push only at the end");
            }
            payload.extend_from_slice(&packet[frame.headers()..]);
        }
        prop_assert_eq!(payload, frame.payload());
    }

    /// Gluing what was cut from a frame, and cutting it again, gives the same packets.
    #[test]
    fn glued_packets_are_cut_into_the_same_again(frames in prop::collection::vec(frames(), 1..4), shuffle in any::<u64>()) {
        let trains: Vec<Vec<Vec<u8>>> = frames.iter().map(cut).collect();
        let packets = interleave(&trains, shuffle);
        let again: Vec<Vec<u8>> = glue(&packets).iter().flat_map(|(vnet, bytes)| cut_bytes(*vnet, bytes).unwrap()).collect();
        let (mut before, mut after) = (packets.clone(), again.clone());
        for train in &trains {
            // One flow keeps its order, unless two frames happen to be of one flow.
            let of_train = |all: &[Vec<u8>]| all.iter().filter(|p| train.contains(p)).cloned().collect::<Vec<_>>();
            prop_assert_eq!(of_train(&packets), of_train(&again));
        }
        before.sort();
        after.sort();
        prop_assert_eq!(before, after);
    }

    /// Whatever header and frame come, it ends in packets inside the frame or in a refusal.
    #[test]
    fn hostile_frames_are_cut_inside_their_bounds_or_refused(
        header in any::<[u8; VNET_LEN]>(),
        kind in prop::sample::select(vec![GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_TCPV4 | GSO_ECN, 3, 77]),
        start in 0u16..80,
        size in prop_oneof![0u16..4, any::<u16>()],
        mut bytes in prop::collection::vec(any::<u8>(), 0..3000),
        version in prop::sample::select(vec![0x45u8, 0x4f, 0x60, 0x00]),
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        let vnet = Vnet { gso_type: kind, csum_start: start, gso_size: size, ..Vnet::parse(&header) };
        prop_assert_eq!(Vnet::parse(&vnet.emit()), vnet);
        if let Ok(packets) = cut_bytes(vnet, &bytes) {
            prop_assert!(packets.len() <= split::MAX_PIECES);
            prop_assert!(packets.iter().map(Vec::len).all(|len| len <= bytes.len()));
        }
    }

    /// Random packets never make the coalescer fail, and none is lost.
    #[test]
    fn hostile_packets_are_written_once_each(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..120), 1..50)) {
        let mut batch = RecvBatch::with_capacity(MAX_READ);
        for packet in &packets {
            let mut packet = packet.clone();
            packet[0] = [0x45, 0x60][packet.len() % 2];
            if let Some(protocol) = packet.get_mut(9) {
                *protocol = [6, 17][*protocol as usize % 2];
            }
            batch.push(Path::to(NOWHERE), Ecn::NotEct, &packet).unwrap();
        }
        let mut coalescer = Coalescer::default();
        let mut slots: Vec<u16> = coalescer.plan(&batch, true, true).iter().flat_map(|f| f.slots.clone()).collect();
        slots.sort_unstable();
        prop_assert_eq!(slots, (0..packets.len() as u16).collect::<Vec<_>>());
    }
}

#[test]
fn a_train_of_one_flow_becomes_one_frame_with_the_header_it_was_cut_from() {
    let frame = TestFrame { push: true, ..TestFrame::example() };
    let glued = glue(&cut(&frame));
    assert_eq!(glued.len(), 1);
    let (vnet, bytes) = &glued[0];
    let (original_vnet, original) = frame.emit();
    assert_eq!((vnet.gso_type, vnet.gso_size, vnet.header_len), (GSO_TCPV4, 1000, original_vnet.header_len));
    assert_eq!(*bytes, original, "checksums included: both hold the sum of the pseudo-header");
}

#[test]
fn a_packet_with_a_wrong_checksum_is_never_glued() {
    for broken in 0..3 {
        let mut packets = cut(&TestFrame::example());
        packets.truncate(3);
        *packets[broken].last_mut().unwrap() ^= 1;
        assert!(glue(&packets).iter().all(|(_, bytes)| bytes.len() < 2500), "packet {broken}");
        assert!(glue(&packets).iter().any(|(_, bytes)| *bytes == packets[broken]), "it is written as it is");
    }
}

#[test]
fn a_gap_another_acknowledgement_and_a_fin_end_a_frame() {
    let packets = cut(&TestFrame::example());
    let lens = |packets: &[Vec<u8>]| glue(packets).iter().map(|(_, b)| b.len()).collect::<Vec<_>>();
    let headers = TestFrame::example().headers();
    assert_eq!(lens(&packets[..4]), [headers + 4000]);
    assert_eq!(lens(&[packets[0].clone(), packets[2].clone()]), [headers + 1000, headers + 1000]);
    let mut other = packets.clone();
    edit(&mut other[2], |tcp| tcp[11] ^= 1);
    assert_eq!(lens(&other[..4]), [headers + 2000, headers + 1000, headers + 1000]);
    let mut fin = packets.clone();
    edit(&mut fin[1], |tcp| tcp[13] |= 1);
    assert_eq!(lens(&fin[..4]), [headers + 1000, headers + 1000, headers + 2000]);
    let mut push = packets;
    edit(&mut push[1], |tcp| tcp[13] |= 8);
    assert_eq!(lens(&push[..4]), [headers + 2000, headers + 2000]);
}

#[test]
fn flows_that_alternate_are_glued_apart() {
    let one = TestFrame::example();
    let other = TestFrame { port: 99, ..TestFrame::example() };
    let mixed = interleave(&[cut(&one), cut(&other)], 0xaaaa_aaaa_aaaa_aaaa);
    assert_eq!(glue(&mixed).len(), 2);
}

#[test]
fn a_frame_of_too_many_pieces_is_refused() {
    let frame = TestFrame { step: 2, len: 4000, ..TestFrame::example() };
    let (vnet, bytes) = frame.emit();
    assert_eq!(cut_bytes(vnet, &bytes), Err(Rejected));
}

#[test]
fn a_checksum_left_to_us_is_completed() {
    let frame = TestFrame { len: 700, ..TestFrame::example() };
    let (vnet, bytes) = frame.emit();
    let vnet = Vnet { gso_type: GSO_NONE, gso_size: 0, ..vnet };
    let packets = cut_bytes(vnet, &bytes).unwrap();
    assert_eq!(packets.len(), 1);
    assert!(checksums_are_right(&packets[0]));
    let beyond = Vnet { csum_offset: 9000, ..vnet };
    assert_eq!(cut_bytes(beyond, &bytes), Err(Rejected));
}

/// A frame as the kernel would give it.
#[derive(Debug, Clone)]
struct TestFrame {
    v4: bool,
    udp: bool,
    options: u8,
    port: u16,
    sequence: u32,
    id: u16,
    push: bool,
    len: usize,
    step: u16,
    seed: u8,
}

fn frames() -> impl Strategy<Value = TestFrame> {
    let shape = (any::<bool>(), any::<bool>(), 0u8..=10, 1u16..4, any::<u32>(), any::<u16>(), any::<bool>());
    (shape, 1usize..20_000, 400u16..1500, any::<u8>()).prop_map(|(shape, len, step, seed)| {
        let (v4, udp, options, port, sequence, id, push) = shape;
        // The flows of one batch differ, so that their order can be told apart.
        let port = port << 8 | u16::from(seed);
        TestFrame { v4, udp, options, port, sequence, id, push, len, step, seed }
    })
}

impl TestFrame {
    fn example() -> Self {
        let flags = (true, false, false);
        let (v4, udp, push) = flags;
        Self {
            v4,
            udp,
            options: 3,
            port: 80,
            sequence: u32::MAX - 1500,
            id: 65_534,
            push,
            len: 4500,
            step: 1000,
            seed: 1,
        }
    }

    fn transport(&self) -> usize {
        if self.v4 { 20 } else { 40 }
    }

    fn headers(&self) -> usize {
        self.transport() + if self.udp { 8 } else { 20 + usize::from(self.options) * 4 }
    }

    fn payload(&self) -> Vec<u8> {
        (0..self.len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(self.seed)).collect()
    }

    fn emit(&self) -> (Vnet, Vec<u8>) {
        let total = self.headers() + self.len;
        let mut bytes = vec![0; self.headers()];
        if self.v4 {
            bytes[..10].copy_from_slice(&[0x45, 2, 0, 0, 0, 0, 0x40, 0, 64, if self.udp { 17 } else { 6 }]);
            bytes[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            bytes[4..6].copy_from_slice(&self.id.to_be_bytes());
            bytes[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = !naive(&bytes[..20], 0);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            bytes[..8].copy_from_slice(&[0x60, 0x20, 7, 7, 0, 0, if self.udp { 17 } else { 6 }, 64]);
            bytes[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
            bytes[23] = 1;
            bytes[39] = 2;
        }
        let t = self.transport();
        bytes[t..t + 2].copy_from_slice(&self.port.to_be_bytes());
        bytes[t + 3] = 9;
        if self.udp {
            bytes[t + 4..t + 6].copy_from_slice(&((total - t) as u16).to_be_bytes());
        } else {
            bytes[t + 4..t + 8].copy_from_slice(&self.sequence.to_be_bytes());
            bytes[t + 12] = (5 + self.options) << 4;
            bytes[t + 13] = 0x10 | if self.push { 8 } else { 0 };
            bytes[t + 14] = 7;
            bytes[t + 20..].fill(1);
        }
        let field = t + if self.udp { 6 } else { 16 };
        let pseudo = naive_pseudo(&bytes, total - t);
        bytes[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        bytes.extend(self.payload());
        let kind = if self.udp {
            GSO_UDP
        } else if self.v4 {
            GSO_TCPV4
        } else {
            GSO_TCPV6
        };
        let vnet = Vnet {
            flags: NEEDS_CSUM,
            gso_type: kind,
            header_len: self.headers() as u16,
            gso_size: self.step,
            csum_start: t as u16,
            csum_offset: (field - t) as u16,
        };
        (vnet, bytes)
    }
}

fn cut(frame: &TestFrame) -> Vec<Vec<u8>> {
    let (vnet, bytes) = frame.emit();
    cut_bytes(vnet, &bytes).unwrap()
}

fn cut_bytes(vnet: Vnet, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Rejected> {
    let mut batch = RecvBatch::with_capacity(MAX_READ);
    batch.spare()[..bytes.len()].copy_from_slice(bytes);
    batch.advance(bytes.len());
    split(&mut batch, 0, bytes.len(), vnet, Path::to(NOWHERE))?;
    let piece = |slot: &crate::batch::Slot| {
        let mut packet = batch.heads[slot.head.range()].to_vec();
        packet.extend_from_slice(&batch.slab[slot.body.range()]);
        packet
    };
    Ok(batch.slots.iter().map(piece).collect())
}

/// What would be written: a virtual network header and a frame each.
fn glue(packets: &[Vec<u8>]) -> Vec<(Vnet, Vec<u8>)> {
    let mut batch = RecvBatch::with_capacity(4 * MAX_READ);
    for packet in packets {
        batch.push(Path::to(NOWHERE), Ecn::NotEct, packet).unwrap();
    }
    let mut coalescer = Coalescer::default();
    let frames = coalescer.plan(&batch, true, true);
    let frame = |frame: &super::Frame| {
        assert!(frame.slots.len() <= MAX_PIECES);
        let (vnet, headers) = frame.headers(&batch);
        let mut bytes = headers.to_vec();
        let skip = if headers.is_empty() { 0 } else { frame.payload_at() };
        for slot in &frame.slots {
            bytes.extend_from_slice(&batch.slab[batch.slots[usize::from(*slot)].body.range()][skip..]);
        }
        (vnet, bytes)
    };
    frames.iter().map(frame).collect()
}

/// Mixes trains, each in its order, by the bits of `choice`.
fn interleave(trains: &[Vec<Vec<u8>>], mut choice: u64) -> Vec<Vec<u8>> {
    let mut rest: Vec<_> =
        trains.iter().map(|train| train.iter().cloned().collect::<std::collections::VecDeque<_>>()).collect();
    let mut mixed = Vec::new();
    while !rest.is_empty() {
        let at = (choice & 1) as usize % rest.len();
        choice = choice.rotate_right(1);
        mixed.extend(rest[at].pop_front());
        rest.retain(|train| !train.is_empty());
    }
    mixed
}

/// Changes the TCP header of an IPv4 packet, and makes its checksum right again.
fn edit(packet: &mut [u8], change: impl FnOnce(&mut [u8])) {
    change(&mut packet[20..]);
    packet[36..38].fill(0);
    let sum = !naive(&packet[20..], u32::from(naive_pseudo(packet, packet.len() - 20)));
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
}

fn checksums_are_right(packet: &[u8]) -> bool {
    let transport = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let header = transport == 40 || naive(&packet[..20], 0) == 0xffff;
    let pseudo = naive_pseudo(packet, packet.len() - transport);
    header && naive(&packet[transport..], u32::from(pseudo)) == 0xffff
}

fn naive_pseudo(packet: &[u8], transport_len: usize) -> u16 {
    let (addresses, protocol) = if packet[0] >> 4 == 4 { (12..20, packet[9]) } else { (8..40, packet[6]) };
    naive(&packet[addresses], u32::from(protocol) + transport_len as u32)
}

/// The internet checksum as RFC 1071 words it, two bytes at a time, not complemented.
fn naive(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
