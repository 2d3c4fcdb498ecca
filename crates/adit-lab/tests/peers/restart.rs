//! Daemons that end and come back, politely and by `kill -9`.

use adit_lab::ns::{Family, Side, World};
use adit_lab::traffic;
use adit_lab::tunnel::{Pairing, Tunnel};

use crate::pairings::for_each_pairing_and_family;

for_each_pairing_and_family!(the_tunnel_recovers_from_restarts, the_tunnel_recovers_from_kill_9);

fn the_tunnel_recovers_from_restarts(pairing: &Pairing, outside: Family) {
    recovers(pairing, outside, |tunnel, side| tunnel.end_mut(side).daemon.restart());
}

fn the_tunnel_recovers_from_kill_9(pairing: &Pairing, outside: Family) {
    recovers(pairing, outside, |tunnel, side| tunnel.end_mut(side).daemon.crash());
}

fn recovers(pairing: &Pairing, outside: Family, again: impl Fn(&mut Tunnel, Side)) {
    let mut tunnel = Tunnel::outside(World::direct(), pairing, outside);
    tunnel.connect_from(Side::Alice);
    for side in [Side::Alice, Side::Bob] {
        again(&mut tunnel, side);
        tunnel.end(side).configure();
        assert_eq!(tunnel.seen_by(side).latest_handshake, 0, "a new daemon remembers nothing");
        // Alice alone knows an endpoint by configuration; of Bob's restart she learns by his silence.
        tunnel.connect_from(Side::Alice);
        let bob = (&tunnel.bob.inside, tunnel.bob.address(Family::V6));
        traffic::tcp(&tunnel.alice.inside, bob, 1 << 20).finish();
    }
}
