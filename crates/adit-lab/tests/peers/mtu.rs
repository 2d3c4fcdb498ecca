//! Small and large packets: MTU 1280 to 9000, and an MTU too large for the wire.

use std::net::SocketAddr;
use std::time::Duration;

use adit_lab::ns::{Family, Side, World};
use adit_lab::traffic;
use adit_lab::tunnel::{PORT, Pairing, Tunnel};

use crate::pairings::for_each_pairing;

for_each_pairing!(every_mtu_carries_full_packets);

fn every_mtu_carries_full_packets(pairing: &Pairing) {
    // The last pair is an inside larger than the wire: the outer datagram travels in fragments.
    for (inside, wire) in [(1280, 1500), (1420, 1500), (1500, 1580), (8920, 9000), (9000, 9080), (9000, 1500)] {
        let world = World::cabled(wire);
        let bob = SocketAddr::new(world.address(Side::Bob, Family::V4), PORT);
        let tunnel = Tunnel::over(world, pairing, bob, inside);
        tunnel.connect_from(Side::Alice);
        let (from, to) = (&tunnel.alice.inside, &tunnel.bob);
        let target = (&to.inside, to.address(Family::V4));
        for length in [inside - 28, inside - 29, inside - 43, 1, 0] {
            let options = format!("-M do -s {length}");
            let echoes = traffic::ping(from, target.1, 3, Duration::from_millis(20), &options);
            assert_eq!(echoes.received, 3, "{length} bytes of echo, MTU {inside} on {wire}");
        }
        traffic::tcp(from, target, 2 << 20).finish();
        let datagrams = traffic::udp(from, (&to.inside, to.address(Family::V6)), 50, inside as usize - 48);
        assert_eq!((datagrams.arrived, datagrams.corrupt), (50, 0), "MTU {inside} on {wire}");
    }
}
