//! New keys while traffic flows, with the real times of the protocol (120 seconds). Costs no CPU, only patience.

use std::time::Duration;

use adit_lab::ns::{Family, Side, World};
use adit_lab::traffic;
use adit_lab::tunnel::{Pairing, Tunnel};

use crate::pairings::{adit_calls_wireguard_go, for_each_pairing};

for_each_pairing!(a_rekey_under_traffic_loses_nothing);

/// The others would tell nothing more, and take as long.
#[test]
fn a_rekey_under_traffic_over_ipv6_loses_nothing() {
    loses_nothing(&adit_calls_wireguard_go(), Family::V6);
}

fn a_rekey_under_traffic_loses_nothing(pairing: &Pairing) {
    loses_nothing(pairing, Family::V4);
}

fn loses_nothing(pairing: &Pairing, outside: Family) {
    let tunnel = Tunnel::outside(World::direct(), pairing, outside);
    tunnel.connect_from(Side::Alice);
    let before = [Side::Alice, Side::Bob].map(|side| tunnel.seen_by(side).latest_handshake);

    let bob = tunnel.bob.address(Family::V4);
    let echoes = traffic::ping(&tunnel.alice.inside, bob, 1_280, Duration::from_millis(100), "-s 1000");
    assert_eq!((echoes.received, echoes.duplicates), (1_280, 0), "of {}", echoes.sent);

    for (side, before) in [Side::Alice, Side::Bob].into_iter().zip(before) {
        let after = tunnel.seen_by(side).latest_handshake;
        assert!(after >= before + 115, "{side:?}: no new handshake: {before} then {after}");
    }
    traffic::tcp(&tunnel.bob.inside, (&tunnel.alice.inside, tunnel.alice.address(Family::V4)), 1 << 20).finish();
}
