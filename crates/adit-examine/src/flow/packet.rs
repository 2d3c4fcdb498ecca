//! A frame taken apart: addresses, ports, the TCP header as values, and the payload.
//!
//! Not here: what belongs together (`table`), in which order (`stream`).

use std::net::SocketAddr;
use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::capture::{Frame, Link};

/// A TCP or UDP packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When, since the Unix epoch.
    pub at: Duration,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// TTL, or hop limit.
    pub hop_limit: u8,
    /// Its TCP header; a UDP datagram has none.
    pub tcp: Option<TcpHead<'a>>,
    /// What was captured of its payload.
    pub payload: &'a [u8],
    /// How long the payload was on the wire.
    pub payload_len: usize,
}

/// What matters of a TCP header.
#[derive(Debug, Clone, Copy)]
pub struct TcpHead<'a> {
    /// Sequence number of the first byte.
    pub sequence: u32,
    /// The next byte that the sender expects.
    pub acknowledges: u32,
    /// The window field as it stands.
    pub window: u16,
    /// The first packet of a connection.
    pub syn: bool,
    /// Acknowledges something.
    pub ack: bool,
    /// The last packet of a direction.
    pub fin: bool,
    /// Breaks the connection.
    pub rst: bool,
    /// The options as they stand.
    pub options: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a frame apart. What is neither TCP nor UDP, or a later fragment, is none.
    pub fn parse(frame: &Frame<'a>) -> Option<Self> {
        let ip = network_layer(frame.link, frame.bytes)?;
        let sliced = LaxSlicedPacket::from_ip(ip).ok()?;
        let (from, to, hop_limit, wire_len) = match sliced.net.as_ref()? {
            LaxNetSlice::Ipv4(v4) => {
                let header = v4.header();
                let (from, to) = (header.source_addr().into(), header.destination_addr().into());
                (from, to, header.ttl(), usize::from(header.total_len()))
            }
            LaxNetSlice::Ipv6(v6) => {
                let header = v6.header();
                let length = usize::from(header.payload_length());
                let whole = if length == 0 { 0 } else { length + IPV6_HEADER };
                (header.source_addr().into(), header.destination_addr().into(), header.hop_limit(), whole)
            }
            LaxNetSlice::Arp(_) => return None,
        };
        // A sender that leaves segmenting to the card writes 0: then the captured length is the length.
        let wire_len = if wire_len == 0 { ip.len() } else { wire_len };
        let (from_port, to_port, tcp, payload) = match sliced.transport? {
            TransportSlice::Tcp(tcp) => {
                (tcp.source_port(), tcp.destination_port(), Some(TcpHead::of(&tcp)), tcp_payload(&tcp))
            }
            TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port(), None, udp_payload(&udp)),
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => return None,
        };
        // From the start of the IP header to the payload: what the payload's length lacks of the packet's.
        let headers = (payload.as_ptr() as usize).saturating_sub(ip.as_ptr() as usize);
        let payload_len = wire_len.saturating_sub(headers);
        let payload = payload.get(..payload_len).unwrap_or(payload);
        let (from, to) = (SocketAddr::new(from, from_port), SocketAddr::new(to, to_port));
        Some(Self { at: frame.at, from, to, hop_limit, tcp, payload, payload_len })
    }
}

const IPV6_HEADER: usize = 40;

/// The payload with the lifetime of the frame, which the accessors of the library shorten.
fn tcp_payload<'a>(tcp: &etherparse::TcpSlice<'a>) -> &'a [u8] {
    tcp.slice().get(usize::from(tcp.data_offset()) * 4..).unwrap_or_default()
}

fn udp_payload<'a>(udp: &etherparse::UdpSlice<'a>) -> &'a [u8] {
    udp.payload()
}

impl<'a> TcpHead<'a> {
    fn of(tcp: &etherparse::TcpSlice<'a>) -> Self {
        let header = tcp.header_slice();
        Self {
            sequence: tcp.sequence_number(),
            acknowledges: tcp.acknowledgment_number(),
            window: tcp.window_size(),
            syn: tcp.syn(),
            ack: tcp.ack(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            options: header.get(TCP_FIXED..).unwrap_or_default(),
        }
    }
}

/// A TCP header without options.
const TCP_FIXED: usize = 20;

/// Strips the link's header.
fn network_layer(link: Link, bytes: &[u8]) -> Option<&[u8]> {
    match link {
        Link::Raw => Some(bytes),
        Link::Ethernet => after_ether_type(bytes.get(12..)?),
        // Packet type, hardware type, address length, address, protocol.
        Link::Cooked => after_ether_type(bytes.get(14..)?),
        // The protocol comes first.
        Link::Cooked2 => {
            let (kind, rest) = (bytes.get(..2)?, bytes.get(20..)?);
            is_ip(kind).then_some(rest)
        }
        // The family's number differs between systems, and so does its byte order; IP says itself which version it is.
        Link::Loopback => bytes.get(4..),
    }
}

/// Skips VLAN tags.
fn after_ether_type(mut bytes: &[u8]) -> Option<&[u8]> {
    for _ in 0..=MAX_TAGS {
        let (kind, rest) = bytes.split_at_checked(2)?;
        match kind {
            [0x81, 0x00] | [0x88, 0xa8] | [0x91, 0x00] => bytes = rest.get(2..)?,
            other => return is_ip(other).then_some(rest),
        }
    }
    None
}

/// VLAN tags that a frame may carry.
const MAX_TAGS: usize = 3;

fn is_ip(ether_type: &[u8]) -> bool {
    matches!(ether_type, [0x08, 0x00] | [0x86, 0xdd])
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(5000, 53).write(&mut bytes, payload).unwrap();
        bytes
    }

    fn parse(link: Link, bytes: &[u8]) -> Option<(SocketAddr, Vec<u8>, usize)> {
        let packet = Packet::parse(&Frame { at: Duration::ZERO, link, bytes })?;
        Some((packet.to, packet.payload.to_vec(), packet.payload_len))
    }

    #[test]
    fn every_link_type_leads_to_the_same_packet() {
        let ip = udp(b"question");
        let expected = Some(("10.0.0.2:53".parse().unwrap(), b"question".to_vec(), 8));
        let tagged = [&[0; 12][..], &[0x81, 0, 0, 7, 0x08, 0], &ip].concat();
        for (link, header) in [
            (Link::Raw, vec![]),
            (Link::Ethernet, [&[0; 12][..], &[0x08, 0]].concat()),
            (Link::Cooked, [&[0; 14][..], &[0x08, 0]].concat()),
            (Link::Cooked2, [&[0x08, 0][..], &[0; 18]].concat()),
            (Link::Loopback, vec![2, 0, 0, 0]),
        ] {
            assert_eq!(parse(link, &[header, ip.clone()].concat()), expected, "{link:?}");
        }
        assert_eq!(parse(Link::Ethernet, &tagged), expected);
    }

    #[test]
    fn padding_of_short_frames_is_no_payload() {
        let frame = [&[0; 12][..], &[0x08, 0], &udp(b"x"), &[0; 17]].concat();
        assert_eq!(parse(Link::Ethernet, &frame).unwrap().1, b"x");
    }

    #[test]
    fn a_packet_cut_by_the_snap_length_keeps_its_length_on_the_wire() {
        let ip = udp(&[7; 100]);
        let (_, payload, length) = parse(Link::Raw, &ip[..ip.len() - 60]).unwrap();
        assert_eq!((payload.len(), length), (40, 100));
    }

    #[test]
    fn headers_cut_short_are_no_packets() {
        let ip = udp(b"");
        for end in 0..ip.len() {
            assert_eq!(parse(Link::Raw, &ip[..end]), None, "{end}");
        }
    }
}
