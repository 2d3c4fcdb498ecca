//! The addresses of a server's network: which are the server's own, which each client is given, and what it is told of them.
//!
//! Not here: which place is whose (`pool`), what else is pushed (`attendant`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_openvpn::ClientSettings;
use adit_openvpn::options::{self, Topology};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

/// Places for clients, however large the network is.
pub(super) const MAX_PLACES: u32 = 65_536;

/// Addresses that a network of IPv6 keeps for other uses before those of clients; networks of less than 2^16 addresses keep two.
const FIRST_V6: u128 = 0x1000;
const FIRST_V6_SMALL: u128 = 2;

/// A network in which no client has a place.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LayoutError {
    /// Too small for its layout.
    #[error(
        "no client has room in the network of `server`\n  hint: write a larger one, such as server 10.8.0.0 255.255.255.0"
    )]
    NoRoom,
    /// Clients have addresses, and the server has none.
    #[error(
        "clients are given addresses, and nothing says which one the server has\n  hint: write `server 10.8.0.0 255.255.255.0` \
         in place of `ifconfig-pool`, or an `ifconfig` with the server's address"
    )]
    NoAddress,
    /// The pool is somewhere else.
    #[error(
        "the pool reaches out of the server's own network {network}\n  hint: both ends of `ifconfig-pool` are addresses of that network"
    )]
    Outside {
        /// The server's.
        network: Ipv4Net,
    },
}

/// The addresses of a server's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    topology: Topology,
    /// The server's address, and the mask (`subnet`) or the other end's.
    own4: Option<(Ipv4Addr, Ipv4Addr)>,
    own6: Option<Ipv6Net>,
    /// The network of `server`, where the file has that.
    network: Option<Ipv4Net>,
    /// The first address that is given, and how many places there are.
    pool4: Option<(Ipv4Addr, u32)>,
    pool6: Option<(Ipv6Net, u32)>,
    client_to_client: bool,
}

impl Layout {
    /// The layout that a configuration asks for.
    ///
    /// # Errors
    /// Nobody would have a place, or the places are nowhere.
    pub fn of(config: &options::ServerConfig) -> Result<Self, LayoutError> {
        let (server, inside) = (&config.server, &config.common.inside);
        let topology = inside.topology.unwrap_or_default();
        let fixed = inside.ifconfig.map(|ifconfig| (ifconfig.local, ifconfig.other));
        let own4 = server.network.map(|network| of_server(network, topology)).or(fixed);
        let mut layout = Self {
            topology,
            own4,
            own6: server
                .network6
                .and_then(|network| at(network, 1).ok())
                .or_else(|| inside.ifconfig6.map(|ifconfig| ifconfig.local)),
            network: server.network,
            pool4: None,
            pool6: None,
            client_to_client: server.client_to_client,
        };
        if !server.no_pool {
            layout.pool4 = layout.places4(server)?;
            layout.pool6 = places6(server);
        }
        Ok(layout)
    }

    fn places4(&self, server: &options::ServerOptions) -> Result<Option<(Ipv4Addr, u32)>, LayoutError> {
        let (first, last) = match (&server.pool, server.network) {
            (Some(pool), _) => (*pool.start(), *pool.end()),
            (None, Some(network)) => {
                let keeps = if self.topology == Topology::Subnet { 2 } else { 4 };
                let most = if self.topology == Topology::Net30 { 0 } else { 1 };
                (plus(network.network(), keeps), minus(network.broadcast(), most))
            }
            (None, None) => return Ok(None),
        };
        let (own, mask) = self.own4.ok_or(LayoutError::NoAddress)?;
        if self.topology == Topology::Subnet
            && let Ok(network) = Ipv4Net::with_netmask(own, mask)
            && !(network.contains(&first) && network.contains(&last))
        {
            return Err(LayoutError::Outside { network: network.trunc() });
        }
        let (first, last) = (u32::from(first), u32::from(last));
        let (first, count) = if self.topology == Topology::Net30 {
            let first = first.div_ceil(4).saturating_mul(4);
            (first, last.saturating_add(1).saturating_sub(first) / 4)
        } else {
            (first, last.saturating_add(1).saturating_sub(first))
        };
        if count == 0 { Err(LayoutError::NoRoom) } else { Ok(Some((first.into(), count.min(MAX_PLACES)))) }
    }

    /// The addresses of the server's interface.
    pub fn own(&self) -> Vec<IpNet> {
        let v4 = self.own4.map(|(own, other)| match self.topology {
            Topology::Subnet => Ipv4Net::with_netmask(own, other).unwrap_or_else(|_| Ipv4Net::from(own)),
            Topology::Net30 | Topology::PointToPoint => Ipv4Net::from(own),
        });
        v4.map(IpNet::from).into_iter().chain(self.own6.map(IpNet::from)).collect()
    }

    /// Networks that lead to clients and that the interface's addresses do not bring by themselves.
    pub fn networks(&self) -> Vec<IpNet> {
        if self.topology == Topology::Subnet {
            return Vec::new();
        }
        let other = self.own4.map(|(_, other)| Ipv4Net::from(other));
        self.network.map(|network| network.trunc()).or(other).map(IpNet::from).into_iter().collect()
    }

    /// How many clients have a place.
    pub(super) fn places(&self) -> u32 {
        let v4 = self.pool4.map(|(_, count)| count);
        v4.or(self.pool6.map(|(_, count)| count)).unwrap_or(0)
    }

    /// What a client in this place is given; the rest of the settings is empty.
    pub(super) fn place(&self, place: u32) -> ClientSettings {
        let address4 = self.pool4.and_then(|(first, count)| {
            let (own, other) = self.own4?;
            let nth = |step: u32| plus(first, place.saturating_mul(step));
            (place < count).then(|| match self.topology {
                Topology::Subnet => (nth(1), other),
                Topology::PointToPoint => (nth(1), own),
                Topology::Net30 => (plus(nth(4), 2), plus(nth(4), 1)),
            })
        });
        let address6 = self.pool6.and_then(|(first, count)| {
            let address = u128::from(first.addr()).checked_add(u128::from(place))?;
            (place < count).then_some((Ipv6Addr::from(address), first.prefix_len()))
        });
        ClientSettings { address4, address6, ..ClientSettings::default() }
    }

    /// The place whose client has this address, or for `net30` a network that begins like this.
    pub(super) fn place_of(&self, address: IpAddr) -> Option<u32> {
        let place = match address {
            IpAddr::V4(address) => {
                let (first, count) = self.pool4?;
                let step = if self.topology == Topology::Net30 { 4 } else { 1 };
                let place = u32::from(address).checked_sub(u32::from(first))? / step;
                (place < count).then_some(place)?
            }
            IpAddr::V6(address) => {
                let (first, count) = self.pool6?;
                let place = u128::from(address).checked_sub(u128::from(first.addr()))?;
                u32::try_from(place).ok().filter(|place| *place < count)?
            }
        };
        (place < self.places()).then_some(place)
    }

    /// What clients are told of the network, for those that do not hear it from lines of the file.
    pub(super) fn told(&self) -> Vec<String> {
        let name = match self.topology {
            Topology::Subnet => "subnet",
            Topology::Net30 => "net30",
            Topology::PointToPoint => "p2p",
        };
        let mut options = vec![format!("topology {name}")];
        if let (Some(network), Some((own, _))) = (self.network, self.own4) {
            options.push(match self.topology {
                Topology::Subnet => format!("route-gateway {own}"),
                _ if self.client_to_client => format!("route {} {}", network.network(), network.netmask()),
                Topology::Net30 | Topology::PointToPoint => format!("route {own}"),
            });
        }
        options
    }

    /// Whether places have addresses of IPv4 and of IPv6.
    pub(super) const fn gives(&self) -> (bool, bool) {
        (self.pool4.is_some(), self.pool6.is_some())
    }

    /// Whether an address of the server's own is in this network.
    pub(super) fn has_own_in(&self, net: &IpNet) -> bool {
        let own = [self.own4.map(|(own, _)| own.into()), self.own6.map(|own| own.addr().into())];
        own.iter().flatten().any(|own: &IpAddr| net.contains(own))
    }

    /// Whether clients are given addresses of this network.
    pub(super) fn gives_of(&self, net: &IpNet) -> bool {
        let (first, last) = (net.network(), net.broadcast());
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => self.pool4.is_some_and(|(from, count)| {
                let step = if self.topology == Topology::Net30 { 4 } else { 1 };
                let until = u32::from(from).saturating_add(count.saturating_mul(step)).saturating_sub(1);
                u32::from(first) <= until && u32::from(from) <= u32::from(last)
            }),
            (IpAddr::V6(first), IpAddr::V6(last)) => self.pool6.is_some_and(|(from, count)| {
                let from = u128::from(from.addr());
                let until = from.saturating_add(u128::from(count.min(self.places()))).saturating_sub(1);
                u128::from(first) <= until && from <= u128::from(last)
            }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Places that no client gets, for the server has an address of them.
    pub(super) fn taken(&self) -> impl Iterator<Item = u32> {
        let own = [self.own4.map(|(own, _)| own.into()), self.own6.map(|own| own.addr().into())];
        own.into_iter().flatten().filter_map(|own| self.place_of(own))
    }
}

/// The server's own address by `server`.
fn of_server(network: Ipv4Net, topology: Topology) -> (Ipv4Addr, Ipv4Addr) {
    let own = plus(network.network(), 1);
    (own, if topology == Topology::Subnet { network.netmask() } else { plus(own, 1) })
}

fn places6(server: &options::ServerOptions) -> Option<(Ipv6Net, u32)> {
    let first = match (server.pool6, server.network6) {
        (Some(pool), _) => pool,
        (None, Some(network)) => {
            at(network, if network.prefix_len() < 112 { FIRST_V6 } else { FIRST_V6_SMALL }).ok()?
        }
        (None, None) => return None,
    };
    let room = u128::from(first.broadcast()).saturating_sub(u128::from(first.addr())).saturating_add(1);
    Some((first, u32::try_from(room).unwrap_or(u32::MAX).min(MAX_PLACES)))
}

fn at(network: Ipv6Net, nth: u128) -> Result<Ipv6Net, ipnet::PrefixLenError> {
    Ipv6Net::new(Ipv6Addr::from(u128::from(network.network()).saturating_add(nth)), network.prefix_len())
}

fn plus(address: Ipv4Addr, n: u32) -> Ipv4Addr {
    u32::from(address).saturating_add(n).into()
}

fn minus(address: Ipv4Addr, n: u32) -> Ipv4Addr {
    u32::from(address).saturating_sub(n).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openvpn::server::testing::config;

    fn layout(lines: &str) -> Layout {
        Layout::of(&config(lines)).unwrap()
    }

    fn v4(layout: &Layout, place: u32) -> String {
        layout.place(place).address4.map_or_else(String::new, |(address, other)| format!("{address} {other}"))
    }

    #[test]
    fn a_subnet_is_one_network_for_all() {
        let layout = layout("server 10.8.0.0 255.255.255.0\ntopology subnet\nserver-ipv6 fd00:8::/64\n");
        assert_eq!(layout.own().iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.8.0.1/24", "fd00:8::1/64"]);
        assert!(layout.networks().is_empty());
        assert_eq!((v4(&layout, 0), layout.places()), ("10.8.0.2 255.255.255.0".to_owned(), 253));
        assert_eq!(v4(&layout, 252), "10.8.0.254 255.255.255.0");
        assert_eq!(v4(&layout, 253), "");
        assert_eq!(layout.place(1).address6, Some(("fd00:8::1001".parse().unwrap(), 64)));
        assert_eq!(layout.told(), ["topology subnet", "route-gateway 10.8.0.1"]);
        assert_eq!(layout.place_of("10.8.0.3".parse().unwrap()), Some(1));
        assert_eq!(layout.place_of("10.8.0.1".parse().unwrap()), None);
        assert_eq!(layout.place_of("fd00:8::1002".parse().unwrap()), Some(2));
        assert_eq!((layout.taken().count(), layout.gives()), (0, (true, true)));
        let has_own = |net: &str| layout.has_own_in(&net.parse().unwrap());
        assert!(has_own("10.8.0.0/16") && has_own("fd00:8::1/128") && !has_own("10.8.0.2/32"));
    }

    #[test]
    fn what_clients_are_given_is_known_by_network() {
        let gives = |layout: &Layout, net: &str| layout.gives_of(&net.parse().unwrap());
        let subnet = layout("server 10.8.0.0 255.255.255.0\ntopology subnet\nserver-ipv6 fd00:8::/64\n");
        for (net, given) in [
            ("10.8.0.7/32", true),
            ("10.8.0.254/32", true),
            ("10.8.0.255/32", false),
            ("10.8.0.0/31", false),
            ("10.8.0.0/30", true),
            ("10.0.0.0/8", true),
            ("10.9.0.0/24", false),
            ("fd00:8::1000/128", true),
            ("fd00:8::fff/128", false),
            ("fd00:8::10fc/128", true),
            ("fd00:8::10fd/128", false),
            ("fd00:9::/64", false),
        ] {
            assert_eq!(gives(&subnet, net), given, "{net}");
        }
        let net30 = layout("server 10.8.0.0 255.255.255.0\n");
        assert!(gives(&net30, "10.8.0.4/32") && gives(&net30, "10.8.0.255/32") && !gives(&net30, "10.8.0.3/32"));
        assert!(!gives(&layout("server 10.8.0.0 255.255.255.0 nopool\ntopology subnet\n"), "10.8.0.0/24"));
    }

    #[test]
    fn net30_takes_four_addresses_a_client() {
        let layout = layout("server 10.8.0.0 255.255.255.0\n");
        assert_eq!(layout.own().iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.8.0.1/32"]);
        assert_eq!(layout.networks(), ["10.8.0.0/24".parse().unwrap()]);
        assert_eq!((v4(&layout, 0), v4(&layout, 1)), ("10.8.0.6 10.8.0.5".to_owned(), "10.8.0.10 10.8.0.9".to_owned()));
        assert_eq!((layout.places(), v4(&layout, 62)), (63, "10.8.0.254 10.8.0.253".to_owned()));
        assert_eq!(layout.told(), ["topology net30", "route 10.8.0.1"]);
        assert_eq!(layout.place_of("10.8.0.8".parse().unwrap()), Some(1), "as OpenVPN writes it down");
        assert_eq!(layout.place_of("10.8.0.10".parse().unwrap()), Some(1));
        let wide = self::layout("server 10.8.0.0 255.255.255.0\nclient-to-client\n");
        assert_eq!(wide.told()[1], "route 10.8.0.0 255.255.255.0");
    }

    #[test]
    fn point_to_point_has_the_server_at_the_other_end() {
        let layout = layout("server 10.8.0.0 255.255.255.0\ntopology p2p\n");
        assert_eq!((v4(&layout, 0), layout.places()), ("10.8.0.4 10.8.0.1".to_owned(), 251));
        assert_eq!(layout.told(), ["topology p2p", "route 10.8.0.1"]);
    }

    #[test]
    fn a_pool_of_ones_own_and_no_pool() {
        let layout = layout(
            "mode server\ntls-server\ntopology subnet\nifconfig 10.8.0.1 255.255.255.0\nifconfig-pool 10.8.0.50 10.8.0.59\n",
        );
        assert_eq!((v4(&layout, 0), layout.places()), ("10.8.0.50 255.255.255.0".to_owned(), 10));
        assert_eq!(layout.told(), ["topology subnet"]);
        let around = self::layout(
            "mode server\ntls-server\ntopology subnet\nifconfig 10.8.0.3 255.255.255.0\nifconfig-pool 10.8.0.2 10.8.0.4\n",
        );
        assert_eq!(around.taken().collect::<Vec<_>>(), [1], "the server is in the middle of the pool");
        let none = self::layout("server 10.8.0.0 255.255.255.0 nopool\ntopology subnet\n");
        assert_eq!((none.places(), none.own().len()), (0, 1));
        let six = self::layout("server-ipv6 fd00:8::/120\n");
        assert_eq!((six.places(), six.place(0).address4), (254, None));
        assert_eq!(six.place(0).address6, Some(("fd00:8::2".parse().unwrap(), 120)));
    }

    #[test]
    fn what_cannot_be_is_refused_and_what_is_huge_has_a_bound() {
        let of = |lines: &str| Layout::of(&config(lines));
        assert_eq!(of("server 10.8.0.0 255.255.255.252\n"), Err(LayoutError::NoRoom));
        assert_eq!(of("mode server\ntls-server\nifconfig-pool 10.8.0.4 10.8.0.9\n"), Err(LayoutError::NoAddress));
        let outside = "mode server\ntls-server\ntopology subnet\nifconfig 10.8.0.1 255.255.255.0\nifconfig-pool 10.9.0.4 10.9.0.9\n";
        assert!(matches!(of(outside), Err(LayoutError::Outside { .. })));
        let huge = layout("server 10.0.0.0 255.0.0.0\ntopology subnet\nserver-ipv6 fd00::/64\n");
        assert_eq!((huge.places(), huge.place(MAX_PLACES).address4), (MAX_PLACES, None));
    }
}
