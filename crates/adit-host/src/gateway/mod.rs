//! A server's part of the machine as a value: whose packets it forwards, to where, and under whose address.
//!
//! Unless something else is said, the devices of a network reach what users of a VPN expect, the internet and the
//! server's own networks, but not each other. [`Gateway::isolate`], [`Gateway::confined`] and [`Gateway::reach`] change that.
//!
//! Not here: the nftables text (`ruleset`), firewalls of other programs (`beside`), loading (`nft`).

mod beside;
mod ruleset;

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use beside::{OtherFirewall, Pass};
pub(crate) use beside::{SeenChain, other_firewalls, passes, seen_chains, takes_passes};
pub use ruleset::GatewayTable;
pub(crate) use ruleset::table_of;

/// What makes a machine the gateway of a network of devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The network's addresses, IPv4 and IPv6. Nobody uses them on another interface, neither as source nor, uninvited, as
    /// destination.
    pub ranges: Vec<IpNet>,
    /// Whether devices go out under the machine's own addresses.
    pub nat: bool,
    /// Whether devices are kept from each other, but for what [`reach`](Self::reach) allows.
    pub isolate: bool,
    /// Where those go who have an invite and are no device yet.
    pub enrol: Option<Enrol>,
    /// Devices that reach nothing but what [`reach`](Self::reach) allows, this machine included (it still answers their
    /// pings).
    pub confined: Vec<IpNet>,
    /// Who may reach what, beyond what all may. A rule that is taken away ends the connections it allowed.
    pub reach: Vec<Reach>,
    /// Ports of this machine where the tunnel itself is served. A device that sends from such a port goes out from another,
    /// or it could take over what others send to the server.
    pub listens: Vec<Ports>,
}

/// Where those go who have an invite and are no device yet: nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// The network that holds the addresses of all invites and of no device.
    pub sources: Ipv6Net,
    /// The server's address inside the tunnel.
    pub server: Ipv6Addr,
    /// The UDP port there.
    pub port: u16,
}

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reach {
    /// Who. A network outside of [`Gateway::ranges`] may be given the way to devices.
    pub from: Vec<IpNet>,
    /// What.
    pub to: To,
    /// Only by these ports; by any protocol if absent.
    pub ports: Option<Ports>,
}

/// What is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// These addresses.
    Nets(Vec<IpNet>),
    /// Every address but the network's own and those that are private, or local to a link or machine.
    Internet,
}

/// Ports of one transport, the last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ports {
    /// Of which transport.
    pub transport: Transport,
    /// The first.
    pub first: u16,
    /// The last; not less than the first.
    pub last: u16,
}

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Gateway {
    /// Whether the network has addresses of IPv6, or of IPv4.
    pub(crate) fn has(&self, v6: bool) -> bool {
        self.ranges.iter().any(|net| net.addr().is_ipv6() == v6)
    }
}

impl Ports {
    /// One port.
    #[must_use]
    pub const fn one(transport: Transport, port: u16) -> Self {
        Self { transport, first: port, last: port }
    }
}

#[cfg(test)]
mod tests;
