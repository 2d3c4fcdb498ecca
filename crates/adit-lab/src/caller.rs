//! Someone who begins a handshake with our own protocol core, without a daemon: a peer to be, or a stranger.
//!
//! Not here: what becomes of it.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use adit_protocol::{Now, Output, Protocol};
use adit_wireguard::{Device, DeviceChange, PeerChange, PrivateKey, PublicKey};

/// The first message of a device that has just been given its only peer.
pub fn initiation(seed: [u8; 32], responder: PublicKey, at: SocketAddr) -> Option<Vec<u8>> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Now { instant: Instant::now(), unix };
    let mut device = Device::new(random(), now);
    let mut peer = PeerChange::new(responder);
    peer.endpoint = Some(at);
    peer.persistent_keepalive = Some(25);
    let change =
        DeviceChange { private_key: Some(PrivateKey::new(seed)), peers: vec![peer], ..DeviceChange::default() };
    device.apply(now, change);
    loop {
        match device.poll_output(now) {
            Output::Transmit { datagram, .. } => return Some(datagram),
            Output::Timeout(..) => return None,
            Output::Seal { .. } | Output::Event(_) => {}
        }
    }
}

/// Thirty-two random bytes.
pub fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("the system has no randomness: {error}"));
    bytes
}
