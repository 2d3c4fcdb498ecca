//! The table of flows: every packet finds its connection, and the connection keeps what the rules need of it.
//!
//! Not here: the order of bytes (`stream`), what they say (`tls`, `quic`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::capture::Frame;
use super::packet::{Packet, TcpHead};
use super::quic::Quic;
use super::stream::{Arrival, Reassembly, Room};
use super::syn::Syn;
use super::tls::Tls;

/// Flows of a capture; packets of further ones are only counted.
pub const MAX_FLOWS: usize = 4096;
/// Packets of one flow whose time and size are kept.
pub const MAX_PACKETS_PER_FLOW: usize = 100_000;
/// Packets of all flows whose time and size are kept.
pub const MAX_PACKETS: usize = 2_000_000;
/// Packets with payload of one flow whose first bytes are kept.
pub const MAX_HEADS: usize = 256;
/// First bytes of a packet that are kept.
pub const MAX_HEAD: usize = 64;
/// First bytes of a client that are kept.
pub const MAX_FIRST: usize = 4096;

/// Everything that a capture has shown.
#[derive(Debug, Default)]
pub struct Traffic {
    flows: Vec<Flow>,
    by_ends: HashMap<Ends, usize>,
    room: Room,
    kept: usize,
    /// Frames, whatever they held.
    pub frames: u64,
    /// Frames that held neither TCP nor UDP.
    pub passed_over: u64,
    /// Packets that found no place in the table.
    pub beyond_bounds: u64,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Both ends, the smaller address first, so that both directions are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends(Transport, SocketAddr, SocketAddr);

/// One TCP connection, or the datagrams between two UDP ports.
#[derive(Debug)]
pub struct Flow {
    /// TCP or UDP.
    pub transport: Transport,
    /// Who began, as far as can be known.
    pub client: SocketAddr,
    /// The other.
    pub server: SocketAddr,
    /// The capture has its beginning: the first packet of TCP. For UDP nobody can know; it is assumed.
    pub from_start: bool,
    /// Every packet, as far as there is room.
    pub packets: Vec<Seen>,
    /// Packets that were seen, with those that there is no room for.
    pub packet_count: u64,
    /// The first bytes of the first packets with payload.
    pub heads: Vec<Head>,
    /// The first payload of the client, as far as it is kept.
    pub first: Vec<u8>,
    /// Bytes of payload from the client, without repetitions.
    pub up_bytes: u64,
    /// Bytes of payload from the server, without repetitions.
    pub down_bytes: u64,
    /// The client's first packet.
    pub syn: Option<Syn>,
    /// TLS, if it is TCP and looks like that.
    pub tls: Tls,
    /// QUIC, if it is UDP and looks like that.
    pub quic: Quic,
    up: Reassembly,
    down: Reassembly,
    ended: bool,
    initial: Option<u32>,
}

/// A packet: when, which way, how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When, since the Unix epoch.
    pub at: Duration,
    /// From the client.
    pub up: bool,
    /// Bytes of payload.
    pub length: u32,
    /// TCP: the number of its first byte.
    pub sequence: u32,
    /// TCP: what it acknowledges, if anything.
    pub acknowledges: Option<u32>,
    /// TCP: all of its bytes were seen before.
    pub repeated: bool,
}

/// How a packet with payload begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// When.
    pub at: Duration,
    /// From the client.
    pub up: bool,
    /// Bytes of payload.
    pub length: usize,
    bytes: [u8; MAX_HEAD],
    kept: u8,
}

impl Head {
    /// Its first bytes, at most [`MAX_HEAD`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.kept)]
    }
}

impl Traffic {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The flows, in the order in which they began.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// The flows alone.
    pub fn into_flows(self) -> Vec<Flow> {
        self.flows
    }

    /// Takes a captured frame.
    pub fn add(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        match Packet::parse(frame) {
            Some(packet) => self.take(&packet),
            None => self.passed_over += 1,
        }
    }

    fn take(&mut self, packet: &Packet<'_>) {
        let transport = if packet.tcp.is_some() { Transport::Tcp } else { Transport::Udp };
        let ends = Ends(transport, packet.from.min(packet.to), packet.from.max(packet.to));
        let known = self.by_ends.get(&ends).copied().filter(|at| !self.flows[*at].is_succeeded_by(packet));
        let at = match known {
            Some(at) => at,
            None if self.flows.len() == MAX_FLOWS => {
                self.beyond_bounds += 1;
                return;
            }
            None => {
                self.flows.push(Flow::begin(transport, packet));
                self.by_ends.insert(ends, self.flows.len() - 1);
                self.flows.len() - 1
            }
        };
        let flow = &mut self.flows[at];
        let room = self.kept < MAX_PACKETS && flow.packets.len() < MAX_PACKETS_PER_FLOW;
        flow.take(packet, &mut self.room, room);
        if room {
            self.kept += 1;
        } else {
            self.beyond_bounds += 1;
        }
    }
}

impl Flow {
    fn begin(transport: Transport, packet: &Packet<'_>) -> Self {
        let (client, server, from_start) = match packet.tcp {
            Some(head) if head.syn && !head.ack => (packet.from, packet.to, true),
            Some(head) if head.syn => (packet.to, packet.from, false),
            // In the middle: servers have the smaller port.
            Some(_) if packet.from.port() < packet.to.port() => (packet.to, packet.from, false),
            Some(_) => (packet.from, packet.to, false),
            None => (packet.from, packet.to, true),
        };
        Self {
            transport,
            client,
            server,
            from_start,
            packets: Vec::new(),
            packet_count: 0,
            heads: Vec::new(),
            first: Vec::new(),
            up_bytes: 0,
            down_bytes: 0,
            syn: None,
            tls: Tls::default(),
            quic: Quic::default(),
            up: Reassembly::default(),
            down: Reassembly::default(),
            ended: false,
            initial: None,
        }
    }

    /// Whether this packet begins another connection between the same ports.
    fn is_succeeded_by(&self, packet: &Packet<'_>) -> bool {
        let Some(head) = packet.tcp.filter(|head| head.syn && !head.ack) else { return false };
        self.ended || self.initial.is_some_and(|initial| initial != head.sequence)
    }

    fn take(&mut self, packet: &Packet<'_>, room: &mut Room, keep: bool) {
        self.packet_count += 1;
        let up = packet.from == self.client;
        let length = u32::try_from(packet.payload_len).unwrap_or(u32::MAX);
        let mut seen = Seen { at: packet.at, up, length, sequence: 0, acknowledges: None, repeated: false };
        if let Some(head) = &packet.tcp {
            seen.sequence = head.sequence;
            seen.acknowledges = head.ack.then_some(head.acknowledges);
            seen.repeated = self.take_segment(packet, head, up, room) == Arrival::Repeated;
        } else {
            self.quic.feed(up, packet.at, packet.payload, packet.payload_len);
        }
        if keep {
            self.packets.push(seen);
        }
        if length > 0 && !seen.repeated {
            let bytes = if up { &mut self.up_bytes } else { &mut self.down_bytes };
            *bytes += u64::from(length);
            self.keep_head(packet, up);
        }
    }

    fn keep_head(&mut self, packet: &Packet<'_>, up: bool) {
        if up && self.first.is_empty() {
            self.first = packet.payload[..packet.payload.len().min(MAX_FIRST)].to_vec();
        }
        if self.heads.len() < MAX_HEADS {
            let kept = packet.payload.len().min(MAX_HEAD);
            let mut bytes = [0; MAX_HEAD];
            bytes[..kept].copy_from_slice(&packet.payload[..kept]);
            self.heads.push(Head { at: packet.at, up, length: packet.payload_len, bytes, kept: kept as u8 });
        }
    }

    fn take_segment(&mut self, packet: &Packet<'_>, head: &TcpHead<'_>, up: bool, room: &mut Room) -> Arrival {
        let direction = if up { &mut self.up } else { &mut self.down };
        let mut sequence = head.sequence;
        if head.syn {
            direction.begin(head.sequence);
            sequence = sequence.wrapping_add(1);
            if up && !head.ack && self.syn.is_none() {
                self.syn = Syn::of(packet);
                self.initial = Some(head.sequence);
            }
        }
        self.ended |= head.fin || head.rst;
        let tls = &mut self.tls;
        direction.take(sequence, packet.payload, packet.payload_len, room, |bytes| tls.feed(up, packet.at, bytes))
    }

    /// Whether bytes are missing from the capture, so that records could not be followed to the end.
    pub const fn is_torn(&self) -> bool {
        self.up.is_torn() || self.down.is_torn()
    }

    /// Packets with payload, without repetitions.
    pub fn with_payload(&self) -> impl Iterator<Item = &Seen> {
        self.packets.iter().filter(|packet| packet.length > 0 && !packet.repeated)
    }

    /// Whether this is TLS over TCP.
    pub fn is_tls(&self) -> bool {
        self.transport == Transport::Tcp && self.tls.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::super::capture::Link;
    use super::*;

    struct Wire(Traffic, u64);

    impl Wire {
        fn new() -> Self {
            Self(Traffic::new(), 0)
        }

        fn send(&mut self, bytes: &[u8]) {
            self.1 += 1;
            self.0.add(&Frame { at: Duration::from_millis(self.1), link: Link::Raw, bytes });
        }

        fn udp(&mut self, (from, to): (u16, u16), payload: &[u8]) {
            let mut bytes = Vec::new();
            let packet = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 1], 64).udp(from, to);
            packet.write(&mut bytes, payload).unwrap();
            self.send(&bytes);
        }

        fn tcp(&mut self, (from, to): (u16, u16), sequence: u32, syn: bool, payload: &[u8]) {
            let mut bytes = Vec::new();
            let packet = PacketBuilder::ipv6([1; 16], [1; 16], 64).tcp(from, to, sequence, 64_240);
            let packet = if syn { packet.syn() } else { packet.ack(1) };
            packet.write(&mut bytes, payload).unwrap();
            self.send(&bytes);
        }
    }

    #[test]
    fn both_directions_are_one_flow_and_the_first_to_speak_is_the_client() {
        let mut wire = Wire::new();
        wire.udp((5000, 53), b"question");
        wire.udp((53, 5000), b"the answer");
        let [flow] = wire.0.flows() else { panic!() };
        assert_eq!((flow.client.port(), flow.up_bytes, flow.down_bytes), (5000, 8, 10));
        assert_eq!(flow.heads[1].bytes(), b"the answer");
    }

    #[test]
    fn ports_used_again_make_another_flow() {
        let mut wire = Wire::new();
        wire.tcp((5000, 443), 100, true, b"");
        wire.tcp((5000, 443), 101, false, b"one");
        wire.tcp((5000, 443), 100, true, b"");
        wire.tcp((5000, 443), 9000, true, b"");
        wire.tcp((5000, 443), 9001, false, b"second");
        let lengths: Vec<_> = wire.0.flows().iter().map(|flow| flow.up_bytes).collect();
        assert_eq!(lengths, [3, 6]);
    }

    #[test]
    fn a_connection_caught_in_the_middle_has_its_server_at_the_smaller_port() {
        let mut wire = Wire::new();
        wire.tcp((443, 5000), 7, false, b"late");
        let [flow] = wire.0.flows() else { panic!() };
        assert_eq!((flow.client.port(), flow.from_start, flow.down_bytes), (5000, false, 4));
    }

    #[test]
    fn repeated_segments_are_not_counted_twice() {
        let mut wire = Wire::new();
        wire.tcp((5000, 443), 100, true, b"");
        for _ in 0..3 {
            wire.tcp((5000, 443), 101, false, b"again");
        }
        let [flow] = wire.0.flows() else { panic!() };
        assert_eq!((flow.up_bytes, flow.with_payload().count(), flow.packets.len()), (5, 1, 4));
    }

    #[test]
    fn flows_are_bounded() {
        let mut wire = Wire::new();
        for port in 1000..1000 + u16::try_from(MAX_FLOWS).unwrap() + 10 {
            wire.udp((port, 53), b"?");
        }
        assert_eq!((wire.0.flows().len(), wire.0.beyond_bounds), (MAX_FLOWS, 10));
    }

    #[test]
    fn what_is_kept_of_a_flow_is_bounded() {
        let mut wire = Wire::new();
        for _ in 0..MAX_PACKETS_PER_FLOW + 10 {
            wire.udp((5000, 53), &[7; 1200]);
        }
        let [flow] = wire.0.flows() else { panic!() };
        assert_eq!((flow.packets.len(), flow.packet_count), (MAX_PACKETS_PER_FLOW, 100_010));
        assert_eq!((flow.heads.len(), flow.heads[0].bytes().len()), (MAX_HEADS, MAX_HEAD));
        assert_eq!(flow.first.len(), 1200);
    }
}
