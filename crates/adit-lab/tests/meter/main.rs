//! Rate limits on real devices and sockets: a server with two devices, one of them limited, and iperf3 between them.
//!
//! What is asserted are ratios of bytes that arrived to bytes that the limit allows in the same time. That no more passes is
//! asserted of every run. That no less passes is asserted of the best of a few runs, for a machine that does other things
//! may carry less than the limit for a while, and then less is right. Needs root and iperf3; fails without them.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use adit::engine::{Offload, RunOn, TunDevice, UdpLink, UdpOptions};
use adit::meter::Limit;
use adit::wireguard::{AllowedIpChange, DeviceChange, PeerChange, PrivateKey};
use adit::{Options, Outside, Tunnel};
use adit_lab::ns::{Namespace, join};
use adit_lab::poll::{PATIENCE, until};
use adit_lab::traffic::{IperfServer, iperf, ping_once};

/// Runs of which the best counts.
const RUNS: usize = 6;
/// How long one run is.
const SECONDS: u64 = 4;
/// How far from the limit TCP may be: the requirement is a tenth, of which headers take a third (20 bytes of IP and 32 of
/// TCP in each packet of 1420).
const WITHIN: f64 = 0.1;

#[test]
fn tcp_through_a_limited_device_is_within_a_tenth_of_the_limit_both_ways() {
    let world = World::new();
    for megabits in [20, 200] {
        world.limit(megabits * 1_000_000);
        for down in [true, false] {
            let mut seen = Vec::new();
            while seen.iter().all(|rate| *rate < 1.0 - WITHIN) {
                assert!(seen.len() < RUNS, "{megabits} Mbit/s, down: {down}: of it {seen:?}");
                seen.push(world.laptop_moves(down) / (megabits * 1_000_000) as f64);
                assert!(
                    seen.iter().all(|rate| *rate < 1.0 + WITHIN),
                    "{megabits} Mbit/s, down: {down}: of it {seen:?}"
                );
            }
        }
    }
    let dropped = world.status().drops.iter().any(|(reason, n)| reason == "over-limit" && *n > 0);
    assert!(dropped, "TCP is told by losses");
}

#[test]
fn a_device_without_a_limit_is_as_fast_as_before_and_sessions_go_on_when_limits_change() {
    let world = World::new();
    let handshakes =
        |world: &World| world.status().peers.iter().map(|peer| peer.last_handshake_unix).collect::<Vec<_>>();
    let before = handshakes(&world);
    assert!(before.iter().all(Option::is_some));
    world.limit(1_000_000);
    assert_eq!(handshakes(&world), before);
    // Nor do limits go when peers change.
    world.admit_another();
    // Both at once: many times as much passes to the one as may to the other.
    let faster = (0..RUNS).any(|_| {
        let laptop = world.laptop.clone();
        let slow = std::thread::spawn(move || iperf(&laptop, SERVER.into(), 1, Duration::from_secs(SECONDS), true));
        let second = IperfServer::start(&world.outside);
        let fast = iperf(&world.phone, OUTSIDE.into(), 1, Duration::from_secs(SECONDS), true).bits_per_second;
        drop(second);
        let slow = slow.join().unwrap().bits_per_second;
        assert!(slow < 1_100_000.0, "{slow}");
        fast > 20_000_000.0
    });
    assert!(faster);
    world.unlimit();
    until("the limit to be gone", PATIENCE, || (world.laptop_moves(true) > 20_000_000.0).then_some(()));
    assert!(ping_once(&world.laptop, SERVER.into()));
}

/// The server's address inside, and one beyond it.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const LAPTOP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PHONE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const PORT: u16 = 51_820;

struct World {
    runtime: tokio::runtime::Runtime,
    laptop: Namespace,
    phone: Namespace,
    outside: Namespace,
    server: Tunnel,
    devices: Vec<Tunnel>,
    _iperf: IperfServer,
    _at: Namespace,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let [at, laptop, phone, outside] = std::array::from_fn(|_| Namespace::new());
        let key = |n: u8| PrivateKey::new([n; 32]);
        let mut peers = Vec::new();
        let mut devices = Vec::new();
        let _inside_the_runtime = runtime.enter();
        for (n, namespace, address) in [(2, &laptop, LAPTOP), (3, &phone, PHONE)] {
            let (near, far) = (Ipv4Addr::new(192, 0, n, 1), Ipv4Addr::new(192, 0, n, 2));
            let near_name = format!("d{n}");
            join((&at, &near_name), (namespace, "eth0"), 1500);
            at.add_address(&near_name, near.into(), 24);
            namespace.add_address("eth0", far.into(), 24);
            peers.push(PeerChange { allowed_ips: owns(address, 32), ..PeerChange::new(key(n).public_key()) });
            let endpoint = Some(SocketAddr::from((near, PORT)));
            let peer = PeerChange {
                endpoint,
                allowed_ips: owns(Ipv4Addr::UNSPECIFIED, 0),
                ..PeerChange::new(key(1).public_key())
            };
            devices.push(tunnel(namespace, 0, key(n), vec![peer], address));
            namespace.run(&format!("ip route add {OUTSIDE} dev adt0"));
        }
        let running = tunnel(&at, PORT, key(1), peers, SERVER);
        join((&at, "out"), (&outside, "eth0"), 1500);
        at.add_address("out", Ipv4Addr::new(198, 51, 100, 2).into(), 24);
        outside.add_address("eth0", OUTSIDE.into(), 24);
        outside.run("ip route add 10.77.0.0/24 via 198.51.100.2");
        at.sysctl("ipv4.ip_forward", 1);
        for device in [&laptop, &phone] {
            for to in [SERVER, OUTSIDE] {
                until("a ping", PATIENCE, || ping_once(device, to.into()).then_some(()));
            }
        }
        drop(_inside_the_runtime);
        let iperf = IperfServer::start(&at);
        Self { runtime, laptop, phone, outside, server: running, devices, _iperf: iperf, _at: at }
    }

    fn limit(&self, rate: u64) {
        let limit = Limit { addresses: vec![IpAddr::from(LAPTOP).into()], down: Some(rate), up: Some(rate) };
        self.runtime.block_on(self.server.set_limits(vec![limit])).unwrap();
    }

    /// One more device, which never calls.
    fn admit_another(&self) {
        let peers = vec![PeerChange::new(PrivateKey::new([9; 32]).public_key())];
        self.runtime.block_on(self.server.configure(DeviceChange { peers, ..DeviceChange::default() })).unwrap();
    }

    fn unlimit(&self) {
        self.runtime.block_on(self.server.set_limits(vec![])).unwrap();
    }

    /// Bits per second of a TCP transfer by the laptop.
    fn laptop_moves(&self, down: bool) -> f64 {
        iperf(&self.laptop, SERVER.into(), 1, Duration::from_secs(SECONDS), down).bits_per_second
    }

    fn status(&self) -> adit::status::TunnelStatus {
        self.runtime.block_on(self.server.status()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for tunnel in self.devices.iter().chain([&self.server]) {
            self.runtime.block_on(tunnel.stop());
        }
    }
}

fn owns(address: Ipv4Addr, prefix: u8) -> Vec<AllowedIpChange> {
    vec![AllowedIpChange::Add(ipnet::Ipv4Net::new(address, prefix).unwrap().into())]
}

/// A tunnel in a namespace, with this address inside.
fn tunnel(at: &Namespace, port: u16, key: PrivateKey, peers: Vec<PeerChange>, address: Ipv4Addr) -> Tunnel {
    let (device, (link, control)) = at.within(|| {
        let options = UdpOptions { port, ..UdpOptions::default() };
        (TunDevice::open("adt0", Offload::AUTO).unwrap(), UdpLink::bind(options).unwrap())
    });
    let config = DeviceChange { private_key: Some(key), peers, ..DeviceChange::default() };
    let options =
        Options { run: RunOn::Thread(at.name().to_owned()), outside: Outside::Udp(control), ..Options::default() };
    let tunnel = Tunnel::start(config, device, link, options).unwrap();
    at.run("ip link set adt0 mtu 1420 up");
    at.add_address("adt0", address.into(), 24);
    tunnel
}
