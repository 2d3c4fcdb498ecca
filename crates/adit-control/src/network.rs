//! The network of a server: its name, where it is found, its ranges, its public key.
//!
//! Not here: which address a device gets (`address`), who is in it (`peer`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_wireguard::PublicKey;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::key;
use crate::name::{Host, Name};

/// Names and addresses under which one server is found: as many as an invite has room for.
pub const MAX_HOSTS: usize = 8;
/// Name servers given to devices.
pub const MAX_DNS: usize = 8;
/// The largest range of addresses: 2²⁴.
const SHORTEST_PREFIX: u8 = 8;
/// The smallest: the server and one device.
const LONGEST_PREFIX: u8 = 30;
/// What private networks are made of (RFC 1918, RFC 6598).
const PRIVATE: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// A network as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What people call it.
    pub name: Name,
    /// Where it is found, in the order in which devices try.
    pub hosts: Vec<Host>,
    /// The UDP port of WireGuard.
    pub port: u16,
    /// The web server through which it is reached where UDP is not.
    pub web: Option<Web>,
    /// The devices' IPv4 range. The server has its first address.
    pub v4: Ipv4Net,
    /// A range of 64 bits out of `fd00::/8` (RFC 4193), of which devices have the first 2³² addresses, invites others.
    pub v6: Ipv6Net,
    /// Name servers for devices. None: they keep their own.
    pub dns: Vec<IpAddr>,
    /// The server's public key.
    #[serde(with = "key::text")]
    pub key: PublicKey,
}

/// The HTTPS carrier as devices are offered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Web {
    /// The name in its certificate, and in the client's hello.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
    /// How a device knows that it is the right one.
    pub trust: Trust,
}

/// How a device knows a web server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// By certificate authorities that everybody trusts.
    Public,
    /// By SHA-256 of its public key (RFC 7469 §2.4).
    Pin([u8; 32]),
}

/// What is wrong with a network.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkFault {
    /// The IPv4 range is not a range for devices.
    #[error(
        "{0} is no range for devices: it must be private, between /{SHORTEST_PREFIX} and /{LONGEST_PREFIX}\n  hint: 10.77.0.0/24 has room for 253 devices, 10.77.0.0/16 for 65 533"
    )]
    V4(Ipv4Net),
    /// The IPv6 range is not one.
    #[error(
        "{0} is no range for devices: it must be a /64 out of fd00::/8\n  hint: leave it out, and one is chosen at random"
    )]
    V6(Ipv6Net),
    /// No host, or too many.
    #[error(
        "a network has 1 to {MAX_HOSTS} names or addresses under which devices find it, not {0}\n  hint: --host vpn.example.org"
    )]
    Hosts(usize),
    /// Too many name servers.
    #[error("a network gives its devices at most {MAX_DNS} name servers, not {0}")]
    Dns(usize),
    /// Port 0.
    #[error("port 0 is no port that anybody could reach\n  hint: WireGuard usually has 51820, HTTPS 443")]
    Port,
    /// All zero.
    #[error("the server's public key is empty")]
    Key,
}

impl Network {
    /// Whether it can be one.
    pub fn check(&self) -> Result<(), NetworkFault> {
        let (v4, v6) = (self.v4, self.v6);
        let is_private = PRIVATE.iter().any(|range| range.contains(&v4));
        if v4 != v4.trunc() || !is_private || !(SHORTEST_PREFIX..=LONGEST_PREFIX).contains(&v4.prefix_len()) {
            return Err(NetworkFault::V4(v4));
        }
        if v6 != v6.trunc() || v6.prefix_len() != 64 || v6.addr().octets()[0] != 0xfd {
            return Err(NetworkFault::V6(v6));
        }
        if !(1..=MAX_HOSTS).contains(&self.hosts.len()) {
            return Err(NetworkFault::Hosts(self.hosts.len()));
        }
        if self.dns.len() > MAX_DNS {
            return Err(NetworkFault::Dns(self.dns.len()));
        }
        if self.port == 0 || self.web.as_ref().is_some_and(|web| web.port == 0) {
            return Err(NetworkFault::Port);
        }
        if self.key.as_bytes() == &[0; 32] {
            return Err(NetworkFault::Key);
        }
        Ok(())
    }

    /// The server's own IPv4 address in the tunnel.
    pub fn server_v4(&self) -> Ipv4Addr {
        self.host_v4(1)
    }

    /// The server's own IPv6 address in the tunnel.
    pub fn server_v6(&self) -> Ipv6Addr {
        self.host_v6(1)
    }

    /// The part of the IPv6 range that devices have: never an invite's address.
    pub fn devices_v6(&self) -> Ipv6Net {
        Ipv6Net::new_assert(self.v6.addr(), 96)
    }

    /// The highest number that a device can have: the address after it is IPv4's broadcast.
    pub(crate) fn last_host(&self) -> u32 {
        (u32::MAX >> self.v4.prefix_len().min(31)) - 1
    }

    pub(crate) fn host_v4(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.v4.addr().to_bits() | number)
    }

    pub(crate) fn host_v6(&self, number: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.v6.addr().to_bits() | u128::from(number))
    }

    /// The number of a device by its IPv4 address.
    pub(crate) fn number_v4(&self, address: Ipv4Addr) -> Option<u32> {
        self.v4.contains(&address).then(|| address.to_bits() ^ self.v4.addr().to_bits())
    }

    /// The number of a device by its IPv6 address.
    pub(crate) fn number_v6(&self, address: Ipv6Addr) -> Option<u32> {
        let number = address.to_bits() ^ self.v6.addr().to_bits();
        u32::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::network;

    #[test]
    fn a_network_of_a_server_at_home_is_one() {
        let network = network();
        assert_eq!(network.check(), Ok(()));
        assert_eq!(network.server_v4().to_string(), "10.77.0.1");
        assert_eq!(network.server_v6().to_string(), "fd7a:91c2:77:1::1");
        assert_eq!(network.last_host(), 254);
        assert_eq!(network.number_v4(network.host_v4(200)), Some(200));
        assert_eq!(network.number_v6(network.host_v6(200)), Some(200));
        assert_eq!(network.number_v6("fd7a:91c2:77:1:8000::1".parse().unwrap()), None);
    }

    #[test]
    fn what_cannot_be_a_network_is_refused() {
        let but = |change: fn(&mut Network)| {
            let mut network = network();
            change(&mut network);
            network.check().unwrap_err()
        };
        assert!(matches!(but(|n| n.v4 = "8.8.8.0/24".parse().unwrap()), NetworkFault::V4(_)));
        assert!(matches!(but(|n| n.v4 = "10.77.0.7/24".parse().unwrap()), NetworkFault::V4(_)));
        assert!(matches!(but(|n| n.v4 = "10.0.0.0/31".parse().unwrap()), NetworkFault::V4(_)));
        assert!(matches!(but(|n| n.v4 = "0.0.0.0/0".parse().unwrap()), NetworkFault::V4(_)));
        assert!(matches!(but(|n| n.v6 = "2001:db8::/64".parse().unwrap()), NetworkFault::V6(_)));
        assert!(matches!(but(|n| n.v6 = "fd00::/48".parse().unwrap()), NetworkFault::V6(_)));
        assert_eq!(but(|n| n.hosts.clear()), NetworkFault::Hosts(0));
        assert_eq!(but(|n| n.dns = vec!["10.0.0.1".parse().unwrap(); 9]), NetworkFault::Dns(9));
        assert_eq!(but(|n| n.port = 0), NetworkFault::Port);
        assert_eq!(but(|n| n.key = PublicKey::new([0; 32])), NetworkFault::Key);
    }
}
