//! Topologies: two hosts, Alice and Bob, with a cable or a router between them.
//!
//! Not here: tunnels across them (`tunnel`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Family, Namespace, Router, join};

/// One of the two hosts of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one who calls.
    Alice,
    /// The one who is called.
    Bob,
}

/// Two hosts and what is between them.
#[derive(Debug, Clone)]
pub struct World {
    /// The host of the side that calls.
    pub alice: Namespace,
    /// The host of the side that is called.
    pub bob: Namespace,
    router: Option<Router>,
}

impl World {
    /// Two hosts on one cable with MTU 1500.
    #[track_caller]
    pub fn direct() -> Self {
        Self::cabled(1500)
    }

    /// Two hosts on one cable.
    #[track_caller]
    pub fn cabled(mtu: u32) -> Self {
        let world = Self { alice: Namespace::new(), bob: Namespace::new(), router: None };
        join((&world.alice, "eth0"), (&world.bob, "eth0"), mtu);
        for side in [Side::Alice, Side::Bob] {
            world.give_addresses(side);
        }
        world
    }

    /// Two hosts in two networks with a router between them, MTU 1500.
    #[track_caller]
    pub fn routed() -> Self {
        let router = Router::new(Namespace::new());
        let world = Self { alice: Namespace::new(), bob: Namespace::new(), router: Some(router) };
        for side in [Side::Alice, Side::Bob] {
            let port = side.port();
            join((world.host(side), "eth0"), (world.router().namespace(), port), 1500);
            world.give_addresses(side);
            for family in [Family::V4, Family::V6] {
                let gateway = side.gateway(family);
                world.router().namespace().add_address(port, gateway, prefix(family));
                world.host(side).run(&format!("ip route add default via {gateway}"));
            }
        }
        world
    }

    /// The namespace of a host.
    pub const fn host(&self, side: Side) -> &Namespace {
        match side {
            Side::Alice => &self.alice,
            Side::Bob => &self.bob,
        }
    }

    /// What is between them.
    #[track_caller]
    pub const fn router(&self) -> &Router {
        self.router.as_ref().expect("this world has a cable, not a router")
    }

    /// Where a host is, outside the tunnel.
    pub const fn address(&self, side: Side, family: Family) -> IpAddr {
        side.address(family, 2 + side.number() * 0x10)
    }

    fn give_addresses(&self, side: Side) {
        for family in [Family::V4, Family::V6] {
            let shared = if self.router.is_some() { prefix(family) } else { wide(family) };
            self.host(side).add_address("eth0", self.address(side, family), shared);
        }
    }
}

impl Side {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Alice => Self::Bob,
            Self::Bob => Self::Alice,
        }
    }

    /// The router's port on this side.
    pub const fn port(self) -> &'static str {
        match self {
            Self::Alice => "to-alice",
            Self::Bob => "to-bob",
        }
    }

    /// The router's address on this side.
    pub const fn gateway(self, family: Family) -> IpAddr {
        self.address(family, 1)
    }

    /// Any address in this side's network.
    pub const fn address(self, family: Family, host: u16) -> IpAddr {
        let network = self.number() + 1;
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(198, 18, network as u8, host as u8)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd18, 0, 0, network, 0, 0, 0, host)),
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::Alice => 0,
            Self::Bob => 1,
        }
    }
}

/// One side's network behind a router.
const fn prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}

/// Both sides' networks, for two hosts on one cable.
const fn wide(family: Family) -> u8 {
    match family {
        Family::V4 => 16,
        Family::V6 => 32,
    }
}
