//! The answer to `get`: a device as text.
//!
//! Not here: which device (`adit`), reading the answer (`client`).

use std::fmt::Write as _;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::{DeviceStatus, PeerStatus};

/// The whole answer to `get=1`, `errno=0` included (reference W-111). Port and mark are left out when 0.
///
/// The text holds the private and pre-shared keys, so it is made in one piece of memory and wiped.
pub fn emit_get(status: &DeviceStatus, listen_port: u16, fwmark: u32) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(most_bytes(status)));
    if let Some(key) = status.private_key.as_ref().filter(|key| !key.is_none()) {
        push_key(&mut text, "private_key", key.expose());
    }
    if listen_port != 0 {
        push(&mut text, "listen_port", listen_port);
    }
    if fwmark != 0 {
        push(&mut text, "fwmark", fwmark);
    }
    for peer in &status.peers {
        push_peer(&mut text, peer);
    }
    text.push_str("errno=0\n\n");
    text
}

fn push_peer(text: &mut String, peer: &PeerStatus) {
    push_key(text, "public_key", peer.public_key.as_bytes());
    push_key(text, "preshared_key", peer.preshared_key.as_ref().map_or(&[0; 32], |key| key.expose()));
    push(text, "protocol_version", 1);
    if let Some(endpoint) = peer.endpoint {
        push(text, "endpoint", endpoint);
    }
    let handshake = peer.last_handshake.unwrap_or_default();
    push(text, "last_handshake_time_sec", handshake.as_secs());
    push(text, "last_handshake_time_nsec", handshake.subsec_nanos());
    push(text, "tx_bytes", peer.tx_bytes);
    push(text, "rx_bytes", peer.rx_bytes);
    push(text, "persistent_keepalive_interval", peer.persistent_keepalive);
    for net in &peer.allowed_ips {
        push(text, "allowed_ip", net);
    }
}

/// At least as many bytes as the text will have, so that it never moves and leaves a key behind.
pub(super) fn most_bytes(status: &DeviceStatus) -> usize {
    const DEVICE: usize = 160;
    const PEER: usize = 560;
    const V4: usize = "allowed_ip=255.255.255.255/32\n".len();
    const V6: usize = "allowed_ip=ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128\n".len();
    let net = |net: &IpNet| if net.addr().is_ipv4() { V4 } else { V6 };
    let peer = |peer: &PeerStatus| PEER + peer.allowed_ips.iter().map(net).sum::<usize>();
    DEVICE + status.peers.iter().map(peer).sum::<usize>()
}

pub(super) fn push(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{key}={value}");
}

/// A key digit by digit: `format!` would leave a copy of it behind.
pub(super) fn push_key(text: &mut String, key: &str, bytes: &[u8; 32]) {
    text.push_str(key);
    text.push('=');
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text.push('\n');
}
