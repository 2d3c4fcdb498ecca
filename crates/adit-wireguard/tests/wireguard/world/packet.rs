//! Inner packets to send.

use std::net::IpAddr;

/// A 60-byte IPv4 packet from 10.0.0.`from` to 10.0.0.`to`, told apart from others by `id`.
pub(crate) fn between(from: u8, to: u8, id: u64) -> Vec<u8> {
    let mut packet = v4(from, to, 60);
    packet[20..28].copy_from_slice(&id.to_le_bytes());
    packet
}

/// An IPv4 packet of `len` bytes from 10.0.0.`from` to 10.0.0.`to`.
pub(crate) fn v4(from: u8, to: u8, len: u16) -> Vec<u8> {
    ip([10, 0, 0, from].into(), [10, 0, 0, to].into(), len)
}

/// An IPv6 packet of `len` bytes from fd00::`from` to fd00::`to`.
pub(crate) fn v6(from: u8, to: u8, len: u16) -> Vec<u8> {
    let address = |n: u8| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)]);
    ip(address(from), address(to), len)
}

/// A packet of `len` bytes between any two addresses of one family.
pub(crate) fn ip(from: IpAddr, to: IpAddr, len: u16) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet[0] = 0x45;
            packet[1] = 0;
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            packet[12..16].copy_from_slice(&from.octets());
            packet[16..20].copy_from_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet[..2].copy_from_slice(&[0x60, 0]);
            packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
            packet[8..24].copy_from_slice(&from.octets());
            packet[24..40].copy_from_slice(&to.octets());
        }
        _ => panic!("one family"),
    }
    packet
}
