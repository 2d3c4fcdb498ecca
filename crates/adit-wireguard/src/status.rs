//! What a device looks like from outside, as values to print.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_protocol::{Drops, LinkId, Why};
use ipnet::IpNet;

use crate::{PresharedKey, PrivateKey, PublicKey};

/// A device at one moment.
#[derive(Debug)]
pub struct DeviceStatus {
    /// Its private key, if it has one. Never printed by `Debug`.
    pub private_key: Option<PrivateKey>,
    /// The public key of it.
    pub public_key: Option<PublicKey>,
    /// Its peers, in the order they were made.
    pub peers: Vec<PeerStatus>,
    /// What it has dropped.
    pub drops: Drops,
    /// Handshakes completed since it was made, also with peers that are gone.
    pub handshakes: u64,
    /// The next deadline of all, and why.
    pub deadline: Option<(Instant, Why)>,
    /// Whether it answers handshakes with cookies at the moment.
    pub under_load: bool,
}

/// A peer at one moment.
#[derive(Debug)]
pub struct PeerStatus {
    /// Who.
    pub public_key: PublicKey,
    /// The secret shared beforehand, if there is one.
    pub preshared_key: Option<PresharedKey>,
    /// Where it was last heard from, or was said to be.
    pub endpoint: Option<SocketAddr>,
    /// The carrier of that endpoint.
    pub link: LinkId,
    /// Wall clock of the last completed handshake, since the Unix epoch.
    pub last_handshake: Option<Duration>,
    /// Bytes of WireGuard messages received (reference W-100).
    pub rx_bytes: u64,
    /// Bytes of WireGuard messages sent.
    pub tx_bytes: u64,
    /// Seconds between keepalives; 0 is off.
    pub persistent_keepalive: u16,
    /// Its networks, ascending.
    pub allowed_ips: Vec<IpNet>,
    /// Whether there is a session that data can be sent with.
    pub has_session: bool,
    /// Packets that wait for a session.
    pub staged: usize,
    /// Its next deadline, and why.
    pub deadline: Option<(Instant, Why)>,
}
