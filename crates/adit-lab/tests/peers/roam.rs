//! Hosts that move: a new address, a new port, IPv6 after IPv4; the session goes with them.

use std::net::SocketAddr;

use adit_lab::ns::{Family, Side, World};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::traffic;
use adit_lab::tunnel::{PORT, Pairing, Tunnel};

use crate::pairings::for_each_pairing;

for_each_pairing!(the_caller_roams, the_answerer_roams);

fn the_caller_roams(pairing: &Pairing) {
    roams(pairing, Side::Alice);
}

fn the_answerer_roams(pairing: &Pairing) {
    roams(pairing, Side::Bob);
}

fn roams(pairing: &Pairing, mover: Side) {
    let tunnel = Tunnel::new(World::direct(), pairing);
    tunnel.connect_from(Side::Alice);
    let stayer = mover.other();
    let host = tunnel.world.host(mover);
    let session = tunnel.seen_by(stayer).latest_handshake;

    let new = mover.address(Family::V4, 0x77);
    host.remove_address("eth0", tunnel.world.address(mover, Family::V4), 16);
    host.add_address("eth0", new, 16);
    followed(&tunnel, mover, SocketAddr::new(new, PORT));

    tunnel.end(mover).set("listen-port 40404");
    followed(&tunnel, mover, SocketAddr::new(new, 40404));

    let other = SocketAddr::new(tunnel.world.address(stayer, Family::V6), PORT);
    tunnel.end(mover).set(&format!("peer {} endpoint {other}", tunnel.end(stayer).keys.public));
    followed(&tunnel, mover, SocketAddr::new(tunnel.world.address(mover, Family::V6), 40404));

    // wireguard-go holds on to a source address that is gone, until a handshake's retry lets go of it.
    if tunnel.end(mover).daemon.subject().is_adit() {
        assert_eq!(tunnel.seen_by(stayer).latest_handshake, session, "the session was kept");
    }
    let target = (&tunnel.end(mover).inside, tunnel.end(mover).address(Family::V6));
    traffic::tcp(&tunnel.end(stayer).inside, target, 1 << 20).finish();
}

/// The mover speaks from its new place; the other must answer there.
fn followed(tunnel: &Tunnel, mover: Side, to: SocketAddr) {
    poll::until(&format!("{mover:?} to be heard at {to}"), PATIENCE, || {
        let (from, other) = (tunnel.end(mover), tunnel.end(mover.other()));
        let answered = traffic::ping_once(&from.inside, other.address(Family::V4));
        (answered && tunnel.seen_by(mover.other()).endpoint == Some(to)).then_some(())
    });
}
