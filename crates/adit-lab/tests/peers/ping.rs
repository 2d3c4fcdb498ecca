//! Echoes and transfers with checksums, IPv4 and IPv6, inside and outside.

use std::net::SocketAddr;
use std::time::Duration;

use adit_lab::ns::{Family, Side, World};
use adit_lab::traffic;
use adit_lab::tunnel::{PORT, Pairing, Tunnel};

use crate::pairings::for_each_pairing;

for_each_pairing!(over_ipv4, over_ipv6);

fn over_ipv4(pairing: &Pairing) {
    everything_arrives(pairing, Family::V4);
}

fn over_ipv6(pairing: &Pairing) {
    everything_arrives(pairing, Family::V6);
}

fn everything_arrives(pairing: &Pairing, outside: Family) {
    let world = World::direct();
    let bob = SocketAddr::new(world.address(Side::Bob, outside), PORT);
    let tunnel = Tunnel::over(world, pairing, bob, 1420);
    tunnel.connect_from(Side::Alice);
    for inside in [Family::V4, Family::V6] {
        for side in [Side::Alice, Side::Bob] {
            let (from, to) = (tunnel.end(side), tunnel.end(side.other()));
            let target = (&to.inside, to.address(inside));
            let echoes = traffic::ping(&from.inside, target.1, 20, Duration::from_millis(20), "");
            assert_eq!((echoes.sent, echoes.received, echoes.duplicates), (20, 20, 0));
            traffic::tcp(&from.inside, target, 8 << 20).finish();
            for length in [40, 700, 1372] {
                let datagrams = traffic::udp(&from.inside, target, 300, length);
                assert_eq!((datagrams.arrived, datagrams.corrupt, datagrams.duplicates), (300, 0, 0), "{datagrams:?}");
            }
        }
    }
    assert_eq!(tunnel.seen_by(Side::Bob).endpoint.map(|endpoint| endpoint.is_ipv4()), Some(outside == Family::V4));
}
