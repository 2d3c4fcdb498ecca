//! Two subjects, configured for each other across a world: the thing every story starts with.
//!
//! Not here: the world's network (`ns`), the traffic (`traffic`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::ns::{Family, Namespace, Side, World};
use crate::poll::{self, PATIENCE};
use crate::subjects::{Daemon, Subject};
use crate::traffic;
use crate::wg::{Config, Dump, KeyPair, Peer, PeerDump};

/// The UDP port both ends listen on at first.
pub const PORT: u16 = 51820;

/// Who calls whom.
#[derive(Debug, Clone)]
pub struct Pairing {
    /// Runs at Alice's.
    pub caller: Subject,
    /// Runs at Bob's.
    pub answerer: Subject,
}

/// One end of a tunnel.
#[derive(Debug)]
pub struct End {
    /// Who.
    pub side: Side,
    /// What runs.
    pub daemon: Daemon,
    /// Where its interface is: its host, unless the story moved it.
    pub inside: Namespace,
    /// Its keys.
    pub keys: KeyPair,
    /// What it was last told by [`End::configure`].
    pub config: Config,
    /// The MTU of its interface.
    pub mtu: u32,
}

/// A tunnel between Alice and Bob.
#[derive(Debug)]
pub struct Tunnel {
    /// Calls: knows Bob's endpoint.
    pub alice: End,
    /// Answers: learns Alice's endpoint from her.
    pub bob: End,
    /// What it crosses. Last, so that it is removed last.
    pub world: World,
}

impl Tunnel {
    /// Builds it over IPv4 with MTU 1420. Nothing has been sent yet.
    #[track_caller]
    pub fn new(world: World, pairing: &Pairing) -> Self {
        Self::outside(world, pairing, Family::V4)
    }

    /// Builds it over this family with MTU 1420. Nothing has been sent yet.
    #[track_caller]
    pub fn outside(world: World, pairing: &Pairing, family: Family) -> Self {
        let bob = SocketAddr::new(world.address(Side::Bob, family), PORT);
        Self::over(world, pairing, bob, 1420)
    }

    /// Builds it with what Alice takes for Bob's endpoint.
    #[track_caller]
    pub fn over(world: World, pairing: &Pairing, endpoint: SocketAddr, mtu: u32) -> Self {
        let mut alice = End::start(Side::Alice, &pairing.caller, &world.alice, mtu);
        let mut bob = End::start(Side::Bob, &pairing.answerer, &world.bob, mtu);
        alice.config.peers = vec![Peer { endpoint: Some(endpoint), ..bob.as_peer() }];
        bob.config.peers = vec![alice.as_peer()];
        alice.configure();
        bob.configure();
        Self { alice, bob, world }
    }

    /// One end.
    pub const fn end(&self, side: Side) -> &End {
        match side {
            Side::Alice => &self.alice,
            Side::Bob => &self.bob,
        }
    }

    /// One end, to change it.
    pub const fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Alice => &mut self.alice,
            Side::Bob => &mut self.bob,
        }
    }

    /// What an end says of the other.
    #[track_caller]
    pub fn seen_by(&self, side: Side) -> PeerDump {
        self.end(side).dump().peer(&self.end(side.other()).keys.public).clone()
    }

    /// Pings from one side until the other answers.
    #[track_caller]
    pub fn connect_from(&self, side: Side) {
        let (from, to) = (self.end(side), self.end(side.other()).address(Family::V4));
        poll::until("an answer through the tunnel", PATIENCE, || traffic::ping_once(&from.inside, to).then_some(()));
    }

    /// Whether an echo gets through from Alice within a few seconds.
    pub fn is_through(&self) -> bool {
        traffic::ping_once(&self.alice.inside, self.bob.address(Family::V4))
    }
}

impl End {
    #[track_caller]
    fn start(side: Side, subject: &Subject, host: &Namespace, mtu: u32) -> Self {
        let keys = KeyPair::new();
        let config = Config { private_key: keys.private.clone(), listen_port: Some(PORT), peers: vec![] };
        let daemon = Daemon::start(subject, host);
        Self { side, daemon, inside: host.clone(), keys, config, mtu }
    }

    /// Its interface.
    pub fn interface(&self) -> &str {
        self.daemon.interface()
    }

    /// Its address inside the tunnel.
    pub const fn address(&self, family: Family) -> IpAddr {
        let host = match self.side {
            Side::Alice => 1,
            Side::Bob => 2,
        };
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 7, 0, host)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, host as u16)),
        }
    }

    /// How the other end writes it down.
    pub fn as_peer(&self) -> Peer {
        let networks = [Family::V4, Family::V6].map(|family| IpNet::from(self.address(family)));
        Peer { public_key: self.keys.public.clone(), allowed_ips: networks.to_vec(), ..Peer::default() }
    }

    /// Loads the configuration with `wg setconf`, and brings the interface up with its addresses and routes.
    #[track_caller]
    pub fn configure(&self) {
        self.setconf();
        self.bring_up();
    }

    /// `wg setconf`.
    #[track_caller]
    pub fn setconf(&self) {
        let line = format!("wg setconf {} /dev/stdin", self.interface());
        self.daemon.namespace().command(&line).input(self.config.text()).ok();
    }

    /// Gives the interface its addresses and sets it up.
    #[track_caller]
    pub fn bring_up(&self) {
        for (family, prefix) in [(Family::V4, 24), (Family::V6, 64)] {
            self.inside.add_address(self.interface(), self.address(family), prefix);
        }
        self.inside.run(&format!("ip link set {} mtu {} up", self.interface(), self.mtu));
    }

    /// `wg set INTERFACE …`.
    #[track_caller]
    pub fn set(&self, words: &str) {
        self.daemon.namespace().run(&format!("wg set {} {words}", self.interface()));
    }

    /// `wg show INTERFACE dump`.
    #[track_caller]
    pub fn dump(&self) -> Dump {
        Dump::of(self.interface())
    }
}
