//! Where a datagram came from, or goes to.

use std::net::{IpAddr, SocketAddr};

/// Which of a driver's carriers: 0 is the first (plain UDP in a tunnel that has only that).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LinkId(pub u8);

/// A way to a peer: a carrier, the peer's address on it, and the address of ours it was reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The carrier.
    pub link: LinkId,
    /// The peer's address. IPv4 is never written as IPv4-mapped IPv6.
    pub remote: SocketAddr,
    /// Our address that answers leave from, where a peer has shown which it uses; `None` lets the routing table choose.
    pub local: Option<IpAddr>,
}

impl Path {
    /// A way over the first carrier with the source left to the routing table.
    pub fn to(remote: SocketAddr) -> Self {
        Self { link: LinkId(0), remote, local: None }
    }

    /// The same way with the source left to the routing table: for retries, when routing may have changed.
    #[must_use]
    pub fn without_source(self) -> Self {
        Self { local: None, ..self }
    }
}
