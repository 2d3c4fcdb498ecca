//! Bad networks: packets lost, swallowed, reordered, duplicated.

use std::net::SocketAddr;
use std::time::Duration;

use adit_lab::ns::{Family, Side, World};
use adit_lab::relay::{Mischief, Relay};
use adit_lab::traffic;
use adit_lab::tunnel::{PORT, Pairing, Tunnel};

use crate::pairings::for_each_pairing_and_family;

for_each_pairing_and_family!(two_percent_loss, reordering_and_duplication, a_black_hole_for_a_while);

fn two_percent_loss(pairing: &Pairing, outside: Family) {
    let world = World::routed();
    world.router().lose(2);
    let tunnel = Tunnel::outside(world, pairing, outside);
    tunnel.connect_from(Side::Alice);
    both_ways(&tunnel, 4 << 20);
    assert!(tunnel.world.router().dropped() > 0, "the router did lose packets");
}

fn reordering_and_duplication(pairing: &Pairing, outside: Family) {
    let world = World::routed();
    let bob = SocketAddr::new(world.address(Side::Bob, outside), PORT);
    let mischief = Mischief { reorder: 10, duplicate: 10, lose: 1, delay: Duration::ZERO };
    let relay = Relay::start(world.router().namespace(), Side::Alice.gateway(outside), bob, mischief, 7);
    let tunnel = Tunnel::over(world, pairing, relay.address(), 1420);
    tunnel.connect_from(Side::Alice);
    let target = (&tunnel.bob.inside, tunnel.bob.address(Family::V4));
    let datagrams = traffic::udp(&tunnel.alice.inside, target, 2_000, 900);
    assert_eq!((datagrams.corrupt, datagrams.duplicates), (0, 0), "a copy must not come through: {datagrams:?}");
    assert!(datagrams.late > 0, "reordered datagrams are accepted: {datagrams:?}");
    assert!(datagrams.arrived > 1_900, "{datagrams:?}");
    both_ways(&tunnel, 1 << 20);
    let (reordered, duplicated, lost) = relay.done();
    assert!(reordered > 100 && duplicated > 100 && lost > 10, "{:?}", relay.done());
}

fn a_black_hole_for_a_while(pairing: &Pairing, outside: Family) {
    let tunnel = Tunnel::outside(World::routed(), pairing, outside);
    tunnel.connect_from(Side::Alice);
    tunnel.world.router().swallow();
    assert!(!tunnel.is_through());
    std::thread::sleep(Duration::from_secs(12));
    tunnel.world.router().heal();
    tunnel.connect_from(Side::Bob);
    both_ways(&tunnel, 1 << 20);
}

fn both_ways(tunnel: &Tunnel, length: usize) {
    for side in [Side::Alice, Side::Bob] {
        let (from, to) = (tunnel.end(side), tunnel.end(side.other()));
        traffic::tcp(&from.inside, (&to.inside, to.address(Family::V4)), length).finish();
    }
}
