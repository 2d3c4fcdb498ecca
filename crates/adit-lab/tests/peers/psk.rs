//! A pre-shared key that both have, and one that only one has.

use adit_lab::ns::{Family, Side, World};
use adit_lab::shell::Run;
use adit_lab::traffic;
use adit_lab::tunnel::{Pairing, Tunnel};
use adit_lab::wg::random_key;

use crate::pairings::for_each_pairing_and_family;

for_each_pairing_and_family!(only_the_right_preshared_key_connects);

fn only_the_right_preshared_key_connects(pairing: &Pairing, outside: Family) {
    let tunnel = Tunnel::outside(World::direct(), pairing, outside);
    let (right, wrong) = (random_key(), random_key());
    set_secret(&tunnel, Side::Alice, &wrong);
    set_secret(&tunnel, Side::Bob, &right);
    let bob = tunnel.bob.address(Family::V4);
    let echoes = traffic::ping(&tunnel.alice.inside, bob, 7, std::time::Duration::from_secs(1), "");
    assert_eq!(echoes.received, 0, "the wrong secret must not connect");
    assert_eq!(tunnel.seen_by(Side::Alice).latest_handshake, 0);
    assert_eq!(tunnel.seen_by(Side::Bob).latest_handshake, 0);

    set_secret(&tunnel, Side::Alice, &right);
    tunnel.connect_from(Side::Alice);
    assert_ne!(tunnel.seen_by(Side::Alice).latest_handshake, 0);
    traffic::tcp(&tunnel.alice.inside, (&tunnel.bob.inside, bob), 1 << 20).finish();
}

fn set_secret(tunnel: &Tunnel, side: Side, secret: &str) {
    let (end, other) = (tunnel.end(side), tunnel.end(side.other()));
    Run::line(&format!("wg set {} peer {} preshared-key /dev/stdin", end.interface(), other.keys.public))
        .input(secret)
        .ok();
    assert_eq!(tunnel.seen_by(side).preshared_key.as_deref(), Some(secret));
}
