//! Changes a device can take, and news it can give.
//!
//! One vocabulary for every source of configuration: a file, `wg set`, a reload, the library.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::{PresharedKey, PrivateKey, PublicKey};

/// What to change on a device. `None` and empty mean: leave as it is.
///
/// Applied from top to bottom. Sessions, counters and replay timestamps of peers that stay are kept (reference W-116).
/// The listening port and the firewall mark are not here: they belong to the outside, not to the protocol.
#[derive(Debug, Default)]
pub struct DeviceChange {
    /// A new private key; all zero takes the key away.
    pub private_key: Option<PrivateKey>,
    /// Remove every peer first.
    pub replace_peers: bool,
    /// Then these, in order.
    pub peers: Vec<PeerChange>,
}

/// What to change on one peer, which is made if it is not there.
#[derive(Debug)]
pub struct PeerChange {
    /// Which peer.
    pub public_key: PublicKey,
    /// Remove it; the rest is ignored.
    pub remove: bool,
    /// Do nothing if it is not there.
    pub update_only: bool,
    /// A new pre-shared key; all zero takes it away. Used from the next handshake on.
    pub preshared_key: Option<PresharedKey>,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 turns them off.
    pub persistent_keepalive: Option<u16>,
    /// Take all its networks away first.
    pub replace_allowed_ips: bool,
    /// Then these, in order.
    pub allowed_ips: Vec<AllowedIpChange>,
}

/// One network given to a peer or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedIpChange {
    /// The peer owns it now; whoever did does no more.
    Add(IpNet),
    /// If the peer owns it, it does no more.
    Remove(IpNet),
}

impl PeerChange {
    /// A change of this peer that changes nothing yet.
    pub const fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

/// News of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session with the peer is usable: the initiator has its answer, or the responder its first data.
    HandshakeCompleted(PublicKey),
    /// The peer did not answer an initiation in time; another one goes out.
    HandshakeUnanswered(PublicKey),
    /// The peer did not answer for `REKEY_ATTEMPT_TIME`; tried again only when there is new data.
    HandshakeGaveUp(PublicKey),
    /// An authenticated datagram came from a new address.
    EndpointMoved(PublicKey, SocketAddr),
}
