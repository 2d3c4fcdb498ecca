//! View of an IPv4 or IPv6 packet: version, source, destination, length, congestion mark.
//!
//! Not here: transport headers, checksums (`checksum`), splitting and coalescing (the engine's TUN).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP packet in one or two pieces of memory.
///
/// Two, because a segment cut from a larger frame has headers of its own and a payload that still lies in the frame.
/// The first piece always holds the whole IP header.
#[derive(Clone, Copy)]
pub struct IpPacket<'a> {
    head: &'a [u8],
    tail: &'a [u8],
}

/// Explicit congestion notification, the low two bits of the traffic class (RFC 3168 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not take part.
    #[default]
    NotEct = 0,
    /// ECN-capable, codepoint 1.
    Ect1 = 1,
    /// ECN-capable, codepoint 0.
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

/// Without what it holds.
impl fmt::Debug for IpPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpPacket({} bytes)", self.head.len() + self.tail.len())
    }
}

impl Ecn {
    /// The low two bits of a traffic class byte.
    pub const fn from_tos(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

impl<'a> IpPacket<'a> {
    /// A packet whose bytes are exactly `bytes`: version 4 or 6, the header whole, and the length field equal to the
    /// bytes there are. `None` for anything else.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::parse_split(bytes, &[])
    }

    /// Like [`parse`](Self::parse) for a packet in two pieces.
    pub fn parse_split(head: &'a [u8], tail: &'a [u8]) -> Option<Self> {
        let declared = declared_len(head)?;
        (declared == head.len() + tail.len()).then_some(Self { head, tail })
    }

    /// The packet at the front of `bytes`, which may be followed by padding: the header whole, and no longer than
    /// `bytes`. This is what a receiver finds after decryption (reference W-90).
    pub fn parse_padded(bytes: &'a [u8]) -> Option<Self> {
        let declared = declared_len(bytes)?;
        bytes.get(..declared).map(|head| Self { head, tail: &[] })
    }

    /// Bytes of the whole packet.
    #[expect(clippy::len_without_is_empty, reason = "a packet has at least its header")]
    pub const fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Both pieces, in order.
    pub const fn pieces(&self) -> (&'a [u8], &'a [u8]) {
        (self.head, self.tail)
    }

    /// Copies the packet to the front of `to`, which must be long enough; a shorter one is left as it is.
    pub fn copy_to(&self, to: &mut [u8]) {
        let Some((head, rest)) = to.split_at_mut_checked(self.head.len()) else { return };
        let Some(tail) = rest.get_mut(..self.tail.len()) else { return };
        head.copy_from_slice(self.head);
        tail.copy_from_slice(self.tail);
    }

    /// 4 or 6.
    pub fn version(&self) -> u8 {
        self.head.first().map_or(0, |b| b >> 4)
    }

    /// Source address.
    pub fn source(&self) -> IpAddr {
        self.address(12, 8)
    }

    /// Destination address.
    pub fn destination(&self) -> IpAddr {
        self.address(16, 24)
    }

    /// Congestion mark.
    pub fn ecn(&self) -> Ecn {
        match self.head {
            [first, second, ..] if first >> 4 == 4 => Ecn::from_tos(*second),
            [_, second, ..] => Ecn::from_tos(second >> 4),
            _ => Ecn::NotEct,
        }
    }

    fn address(&self, at_v4: usize, at_v6: usize) -> IpAddr {
        let bytes = |at: usize, n: usize| self.head.get(at..at + n);
        if self.version() == 4 {
            let octets: [u8; 4] = bytes(at_v4, 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
            IpAddr::V4(Ipv4Addr::from(octets))
        } else {
            let octets: [u8; 16] = bytes(at_v6, 16).and_then(|b| b.try_into().ok()).unwrap_or_default();
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    }
}

/// The packet's length by its own header, if `head` holds a whole IPv4 (with its options) or IPv6 header.
fn declared_len(head: &[u8]) -> Option<usize> {
    match head.first()? >> 4 {
        4 => {
            let (fixed, _) = head.split_first_chunk::<20>()?;
            let header = usize::from(fixed[0] & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
            (header >= 20 && header <= head.len() && total >= header).then_some(total)
        }
        6 => {
            let (fixed, _) = head.split_first_chunk::<40>()?;
            Some(40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]])))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(total: u16, len: usize) -> Vec<u8> {
        let mut p = vec![0; len];
        p[0] = 0x45;
        p[1] = 0x02;
        p[2..4].copy_from_slice(&total.to_be_bytes());
        p[12..16].copy_from_slice(&[10, 0, 0, 1]);
        p[16..20].copy_from_slice(&[10, 0, 0, 2]);
        p
    }

    #[test]
    fn a_whole_packet_is_taken_apart() {
        let bytes = v4(28, 28);
        let p = IpPacket::parse(&bytes).unwrap();
        assert_eq!((p.version(), p.len(), p.ecn()), (4, 28, Ecn::Ect0));
        assert_eq!(p.source(), IpAddr::from([10, 0, 0, 1]));
        assert_eq!(p.destination(), IpAddr::from([10, 0, 0, 2]));
    }

    #[test]
    fn padding_is_trimmed_only_where_it_is_expected() {
        let bytes = v4(20, 32);
        assert!(IpPacket::parse(&bytes).is_none());
        assert_eq!(IpPacket::parse_padded(&bytes).unwrap().len(), 20);
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        assert!(IpPacket::parse_padded(&v4(33, 32)).is_none());
        assert!(IpPacket::parse_padded(&v4(19, 32)).is_none());
    }

    #[test]
    fn every_truncation_is_refused() {
        let mut v6 = vec![0x60; 48];
        v6[4..6].copy_from_slice(&8u16.to_be_bytes());
        assert!(IpPacket::parse(&v6).is_some());
        for n in 0..48 {
            assert!(IpPacket::parse_padded(&v6[..n]).is_none());
        }
    }

    #[test]
    fn two_pieces_are_one_packet() {
        let bytes = v4(28, 28);
        let p = IpPacket::parse_split(&bytes[..20], &bytes[20..]).unwrap();
        let mut out = [0; 28];
        p.copy_to(&mut out);
        assert_eq!(out[..], bytes[..]);
    }
}
