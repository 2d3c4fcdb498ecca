//! One UDP datagram over IPv6, as bytes: what goes through the tunnel of an invite without a network stack, at either end.
//!
//! Not here: what is in it.

use std::net::Ipv6Addr;

use adit_protocol::{Checksum, IpPacket};

/// Bytes of the IPv6 header (RFC 8200 §3).
const IPV6: usize = 40;
/// Bytes of the UDP header (RFC 768).
const UDP: usize = 8;
/// The next header is UDP's.
const NEXT_IS_UDP: u8 = 17;
/// As many routers as usual.
const HOP_LIMIT: u8 = 64;

/// A datagram with where it is from and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Address and port of whoever sent it.
    pub from: (Ipv6Addr, u16),
    /// Address and port of whoever it is for.
    pub to: (Ipv6Addr, u16),
    /// What it holds.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// As a packet. The payload is a message, much shorter than a packet may be.
    pub fn emit(&self) -> Vec<u8> {
        let len = ((UDP + self.payload.len()) as u16).to_be_bytes();
        let mut packet = Vec::with_capacity(IPV6 + UDP + self.payload.len());
        packet.extend_from_slice(&[0x60, 0, 0, 0, len[0], len[1], NEXT_IS_UDP, HOP_LIMIT]);
        packet.extend_from_slice(&self.from.0.octets());
        packet.extend_from_slice(&self.to.0.octets());
        for port in [self.from.1, self.to.1] {
            packet.extend_from_slice(&port.to_be_bytes());
        }
        packet.extend_from_slice(&len);
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(self.payload);
        // RFC 768: a sum of zero is sent as ones, for zero means none.
        let checksum = match sum(&packet) {
            0 => u16::MAX,
            sum => sum,
        };
        if let Some(place) = packet.get_mut(IPV6 + 6..IPV6 + UDP) {
            place.copy_from_slice(&checksum.to_be_bytes());
        }
        packet
    }

    /// Reads a packet; `None` if it is something else, or was damaged.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let parsed = IpPacket::parse(packet)?;
        let packet = packet.get(..parsed.len())?;
        let (header, rest) = packet.split_first_chunk::<IPV6>()?;
        let (udp, payload) = rest.split_first_chunk::<UDP>()?;
        let len = u16::from_be_bytes([udp[4], udp[5]]);
        let has_sum = udp[6..] != [0, 0];
        if parsed.version() != 6 || header[6] != NEXT_IS_UDP || usize::from(len) != rest.len() || !has_sum {
            return None;
        }
        let address = |at: usize| Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?));
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let datagram = Self { from: (address(8)?, port(0)), to: (address(24)?, port(2)), payload };
        (sum(packet) == 0).then_some(datagram)
    }
}

/// The checksum over datagram and pseudo header (RFC 8200 §8.1); 0 if a right one is in it.
fn sum(packet: &[u8]) -> u16 {
    let (addresses, udp) = (packet.get(8..IPV6).unwrap_or_default(), packet.get(IPV6..).unwrap_or_default());
    Checksum::new().with(addresses).with_word(udp.len() as u16).with_word(u16::from(NEXT_IS_UDP)).with(udp).finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: (Ipv6Addr, u16) = (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2), 50_000);
    const THERE: (Ipv6Addr, u16) = (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), 5354);

    /// Computed by an independent program (Python).
    #[test]
    fn the_bytes_are_those_of_other_programs() {
        let packet = Datagram { from: HERE, to: THERE, payload: b"hello" }.emit();
        assert_eq!(packet[40..], [0xc3, 0x50, 0x14, 0xea, 0, 13, 0xe9, 0xc2, b'h', b'e', b'l', b'l', b'o']);
    }

    #[test]
    fn what_is_no_such_datagram_is_none() {
        let good = Datagram { from: HERE, to: THERE, payload: b"hello" }.emit();
        for at in [0, 4, 5, 6, 9, 30, 41, 44, 45, 46, 48] {
            let mut wrong = good.clone();
            wrong[at] ^= 0x20;
            assert_eq!(Datagram::parse(&wrong), None, "byte {at}");
        }
        for end in 0..good.len() {
            assert_eq!(Datagram::parse(&good[..end]), None, "{end} bytes");
        }
        let mut without_sum = good;
        without_sum[46..48].fill(0);
        assert_eq!(Datagram::parse(&without_sum), None);
    }

    proptest! {
        #[test]
        fn every_datagram_comes_back(payload in proptest::collection::vec(any::<u8>(), 0..1200), port: u16) {
            let datagram = Datagram { from: (HERE.0, port), to: THERE, payload: &payload };
            let packet = datagram.emit();
            prop_assert_eq!(Datagram::parse(&packet), Some(datagram));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let parsed = Datagram::parse(&bytes).map_or(0, |datagram| datagram.payload.len());
            prop_assert!(parsed <= bytes.len());
        }
    }
}
