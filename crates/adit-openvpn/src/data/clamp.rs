//! `mssfix`: TCP segments that fit one datagram, by the size that its ends tell each other when they begin.
//!
//! Not here: how large a packet fits one datagram (`mod`), packets that are too large all the same (`fragment`).

use std::net::IpAddr;

use adit_protocol::{Checksum, Path};

/// To which size TCP segments are clamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MssFix {
    /// They are left alone.
    Off,
    /// So that the datagrams that carry them have at most this size.
    Datagram {
        /// In bytes.
        size: u16,
        /// The size counts the headers of IP and UDP too (`mtu`).
        with_headers: bool,
    },
    /// The packet inside has at most this size (`fixed`).
    Inside(u16),
}

impl Default for MssFix {
    /// What OpenVPN does unless told otherwise.
    fn default() -> Self {
        Self::unsaid(1500, None)
    }
}

impl MssFix {
    /// What OpenVPN does with this `tun-mtu` and `fragment`, where nothing is said (measured).
    pub const fn unsaid(mtu: u16, fragment: Option<u16>) -> Self {
        match (fragment, mtu) {
            (Some(size), _) => Self::Datagram { size, with_headers: true },
            (None, 1500) => Self::Datagram { size: 1492, with_headers: true },
            (None, mtu) => Self::Inside(mtu),
        }
    }
}

impl MssFix {
    /// The same, where datagrams carry so many bytes more on a part of their way.
    pub(crate) fn with_room_for(self, bytes: u16) -> Self {
        match self {
            Self::Datagram { size, with_headers } => Self::Datagram { size: size.saturating_sub(bytes), with_headers },
            Self::Off | Self::Inside(_) => self,
        }
    }
}

/// The same, for one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segments {
    /// They are left alone.
    Free,
    /// What we send has at most so many bytes, headers of the carrier not counted.
    Datagram(usize),
    /// The packet inside has.
    Inside(usize),
}

impl MssFix {
    /// What it comes to on a path; `stream`: the carrier is TCP.
    pub(crate) fn on(self, path: Path, stream: bool) -> Segments {
        match self {
            Self::Off => Segments::Free,
            Self::Inside(size) => Segments::Inside(size.into()),
            Self::Datagram { size, with_headers } => {
                let address = match path.remote.ip() {
                    IpAddr::V4(_) => 20,
                    IpAddr::V6(_) => 40,
                };
                // TCP has the length of each packet before it.
                let headers = address + if stream { 20 + 2 } else { 8 };
                Segments::Datagram(usize::from(size).saturating_sub(if with_headers { headers } else { 0 }))
            }
        }
    }
}

/// The protocol's number, in both versions of IP.
const TCP: u8 = 6;
/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;
const SYN: u8 = 2;
/// No segment is made smaller than this: what needs it is not worth having.
const SMALLEST: usize = 64;

/// If this packet begins a TCP connection, its segments are to fit packets of at most `inside` bytes.
pub(super) fn clamp(packet: &mut [u8], inside: usize) {
    let Some(header) = before_tcp(packet) else { return };
    let most = inside.saturating_sub(header + TCP_HEADER).max(SMALLEST);
    let Ok(most) = u16::try_from(most) else { return };
    // Options of the address's header take room too, but not in every packet.
    let Some(tcp) = packet.get_mut(header_len(packet)..) else { return };
    clamp_tcp(tcp, most);
}

/// Bytes of the shortest header of this version, if TCP that is no later fragment follows.
fn before_tcp(packet: &[u8]) -> Option<usize> {
    match packet.first()? >> 4 {
        4 => {
            let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
            (packet.get(9) == Some(&TCP) && fragment == 0).then_some(20)
        }
        6 => (packet.get(6) == Some(&TCP)).then_some(40),
        _ => None,
    }
}

fn header_len(packet: &[u8]) -> usize {
    match packet.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 15) * 4,
        _ => 40,
    }
}

fn clamp_tcp(tcp: &mut [u8], most: u16) {
    if tcp.get(13).is_none_or(|flags| flags & SYN == 0) {
        return;
    }
    let end = tcp.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    let Some(at) = tcp.get(..end).and_then(size_at) else { return };
    let Some(size) = tcp.get_mut(at..).and_then(|bytes| bytes.first_chunk_mut::<2>()) else { return };
    let before = u16::from_be_bytes(*size);
    if before <= most {
        return;
    }
    *size = most.to_be_bytes();
    // RFC 1624: the checksum follows by what has changed; what does not lie on a word counts turned round.
    let turned = |value: u16| if at % 2 == 0 { value } else { value.swap_bytes() };
    let Some(checksum) = tcp.get_mut(16..).and_then(|bytes| bytes.first_chunk_mut::<2>()) else { return };
    *checksum = Checksum::update(u16::from_be_bytes(*checksum), turned(before), turned(most)).to_be_bytes();
}

/// Where the maximum segment size stands among the options of this header.
fn size_at(header: &[u8]) -> Option<usize> {
    let mut at = TCP_HEADER;
    loop {
        let options = header.get(at..)?;
        match options {
            [0, ..] | [] => return None,
            [1, ..] => at += 1,
            [2, 4, _, _, ..] => return Some(at + 2),
            [_, len, ..] if *len >= 2 => at += usize::from(*len),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The internet checksum over address header and all; 0 when a packet's own is right.
    fn checksum(packet: &[u8]) -> u16 {
        let (addresses, tcp) = match packet[0] >> 4 {
            4 => (&packet[12..20], &packet[usize::from(packet[0] & 15) * 4..]),
            _ => (&packet[8..40], &packet[40..]),
        };
        let pseudo = [addresses, &[0, TCP], &(tcp.len() as u16).to_be_bytes(), tcp].concat();
        let mut sum: u32 =
            pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// A packet of TCP with these flags and options.
    fn packet(version: u8, flags: u8, options: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0x30, 0x39, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0, flags, 16, 0, 0, 0, 0, 0];
        tcp.extend(options);
        while tcp.len() % 4 != 0 {
            tcp.push(0);
        }
        tcp[12] = (tcp.len() as u8 / 4) << 4;
        let mut packet = match version {
            4 => vec![0x45, 0, 0, 20 + tcp.len() as u8, 0, 0, 0, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
            _ => [[0x60, 0, 0, 0, 0, tcp.len() as u8, TCP, 64].as_slice(), &[7; 16], &[9; 16]].concat(),
        };
        packet.extend(tcp);
        let sum = checksum(&packet).to_be_bytes();
        let at = packet.len() - usize::from(packet[header_len(&packet) + 12] >> 4) * 4 + 16;
        packet[at..at + 2].copy_from_slice(&sum);
        assert_eq!(checksum(&packet), 0);
        packet
    }

    /// The size that it says, if it says one.
    fn said(packet: &[u8]) -> Option<u16> {
        let tcp = &packet[header_len(packet)..];
        size_at(tcp).map(|at| u16::from_be_bytes([tcp[at], tcp[at + 1]]))
    }

    #[test]
    fn a_beginning_is_clamped_and_its_checksum_holds() {
        let size = [2, 4, 0x05, 0xb4];
        for (version, expected) in [(4, 1360), (6, 1340)] {
            for before in [&[][..], &[1], &[1, 1, 1], &[3, 3, 7], &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8]] {
                for flags in [SYN, SYN | 0x10] {
                    let mut packet = packet(version, flags, &[before, &size].concat());
                    clamp(&mut packet, 1400);
                    assert_eq!((said(&packet), checksum(&packet)), (Some(expected), 0), "{before:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_else_is_touched() {
        let size = [2, 4, 0x05, 0xb4];
        let mut later = packet(4, SYN, &size);
        later[7] = 1;
        let mut udp = packet(4, SYN, &size);
        udp[9] = 17;
        for untouched in [
            packet(4, 0x10, &size),
            packet(4, SYN, &[2, 4, 0x01, 0x00]),
            packet(4, SYN, &[]),
            packet(4, SYN, &[0, 0, 0, 0, 2, 4, 5, 0xb4]),
            packet(4, SYN, &[3, 0, 2, 4, 5, 0xb4]),
            packet(6, 0x10, &size),
            later,
            udp,
        ] {
            let mut after = untouched.clone();
            clamp(&mut after, 1400);
            assert_eq!(after, untouched);
        }
        let mut small = packet(4, SYN, &size);
        clamp(&mut small, 3);
        assert_eq!(said(&small), Some(64), "no segment becomes smaller than that");
    }

    #[test]
    fn the_headers_of_the_carrier_count_where_the_option_says_so() {
        let four = Path::to(([192, 0, 2, 1], 1194).into());
        let six = Path::to("[2001:db8::1]:1194".parse().unwrap());
        let fix = MssFix::default();
        assert_eq!([fix.on(four, false), fix.on(six, false)], [1464, 1444].map(Segments::Datagram));
        assert_eq!([fix.on(four, true), fix.on(six, true)], [1450, 1430].map(Segments::Datagram));
        let without = MssFix::Datagram { size: 1400, with_headers: false };
        assert_eq!(without.on(six, false), Segments::Datagram(1400));
        assert_eq!(
            (MssFix::Inside(900).on(six, true), MssFix::Off.on(four, false)),
            (Segments::Inside(900), Segments::Free)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..80), version in 4_u8..7, inside in any::<u16>()) {
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | *first & 15;
            }
            let len = bytes.len();
            clamp(&mut bytes, inside.into());
            prop_assert_eq!(bytes.len(), len);
        }
    }
}
