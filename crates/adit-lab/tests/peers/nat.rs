//! A caller behind network address translation that forgets silent flows.

use std::time::Duration;

use adit_lab::ns::{Family, Side, World};
use adit_lab::traffic;
use adit_lab::tunnel::{Pairing, Tunnel};

use crate::pairings::for_each_pairing;

for_each_pairing!(persistent_keepalive_keeps_the_way_back_open);

fn persistent_keepalive_keeps_the_way_back_open(pairing: &Pairing) {
    let world = World::routed();
    world.router().masquerade(3);
    let tunnel = Tunnel::new(world, pairing);
    tunnel.connect_from(Side::Alice);
    let seen = tunnel.seen_by(Side::Bob).endpoint.expect("Bob has heard Alice");
    assert_eq!(seen.ip(), Side::Bob.gateway(Family::V4), "Bob sees the router");

    // Without a keepalive the router forgets, and what Bob sends ends there.
    std::thread::sleep(Duration::from_secs(6));
    assert!(!bob_reaches_alice(&tunnel), "the router should have forgotten the flow");

    tunnel.alice.set(&format!("peer {} persistent-keepalive 1", tunnel.bob.keys.public));
    tunnel.connect_from(Side::Alice);
    std::thread::sleep(Duration::from_secs(6));
    assert!(bob_reaches_alice(&tunnel), "keepalives should have kept the flow open");
    let alice = (&tunnel.alice.inside, tunnel.alice.address(Family::V4));
    traffic::tcp(&tunnel.bob.inside, alice, 1 << 20).finish();
}

fn bob_reaches_alice(tunnel: &Tunnel) -> bool {
    traffic::ping_once(&tunnel.bob.inside, tunnel.alice.address(Family::V4))
}
