//! An interface that is set down, set up, and removed: the daemon follows, wherever the interface is.

use std::time::{SystemTime, UNIX_EPOCH};

use adit_lab::ns::{Family, Namespace, Side, World};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::subjects::{Daemon, Subject};
use adit_lab::traffic;
use adit_lab::tunnel::{Pairing, Tunnel};

use crate::pairings::{adit_calls_adit, for_each_pairing};

for_each_pairing!(down_ends_sessions_and_up_begins_anew);

fn down_ends_sessions_and_up_begins_anew(pairing: &Pairing) {
    let tunnel = Tunnel::new(World::direct(), pairing);
    tunnel.connect_from(Side::Alice);
    // wireguard-go does not begin by itself after so short a time down.
    for side in [Side::Alice, Side::Bob].into_iter().filter(|side| tunnel.end(*side).daemon.subject().is_adit()) {
        goes_down_and_up(&tunnel, side);
    }
}

/// The kernel tells of links only within one namespace: whoever follows must go along.
#[test]
fn an_interface_that_moved_is_followed_down_and_up() {
    let mut tunnel = Tunnel::new(World::direct(), &adit_calls_adit());
    tunnel.connect_from(Side::Alice);
    for side in [Side::Alice, Side::Bob] {
        for _ in 0..2 {
            let end = tunnel.end_mut(side);
            let cell = Namespace::new();
            end.inside.run(&format!("ip link set {} netns {}", end.interface(), cell.name()));
            end.inside = cell;
            end.bring_up();
            tunnel.connect_from(side);
            goes_down_and_up(&tunnel, side);
        }
    }
}

/// Another interface of the old name, in the old place, is not to be taken for ours.
#[test]
fn a_stranger_of_the_same_name_is_not_followed() {
    let mut tunnel = Tunnel::new(World::direct(), &adit_calls_adit());
    let end = tunnel.end_mut(Side::Alice);
    let cell = Namespace::new();
    end.inside.run(&format!("ip link set {} netns {}", end.interface(), cell.name()));
    end.inside = cell;
    end.bring_up();
    tunnel.connect_from(Side::Alice);
    let session = tunnel.seen_by(Side::Alice).latest_handshake;
    let (host, name) = (tunnel.world.host(Side::Alice), tunnel.alice.interface());
    for line in ["add NAME type veth peer name stranger", "set NAME up", "set NAME down", "delete NAME"] {
        host.run(&format!("ip link {}", line.replace("NAME", name)));
    }
    assert!(tunnel.is_through());
    assert_eq!(tunnel.seen_by(Side::Alice).latest_handshake, session, "the session was kept");
    assert!(tunnel.alice.daemon.is_alive());
}

#[test]
fn an_idle_interface_that_is_removed_ends_its_daemon() {
    for moves in [false, true] {
        let mut place = Namespace::new();
        let mut daemon = Daemon::start(&Subject::adit(), &place);
        let name = daemon.interface().to_owned();
        if moves {
            let cell = Namespace::new();
            place.run(&format!("ip link set {name} netns {}", cell.name()));
            place = cell;
        }
        assert!(daemon.is_alive());
        place.run(&format!("ip link delete {name}"));
        poll::until("the daemon to end", PATIENCE, || (!daemon.is_alive()).then_some(()));
        assert!(!std::path::Path::new(&format!("/var/run/wireguard/{name}.sock")).exists());
    }
}

fn goes_down_and_up(tunnel: &Tunnel, side: Side) {
    let (end, other) = (tunnel.end(side), tunnel.end(side.other()));
    let link = |state: &str| end.inside.run(&format!("ip link set {} {state}", end.interface()));
    let answers = || traffic::ping_once(&other.inside, end.address(Family::V4));
    end.set(&format!("peer {} persistent-keepalive 3600", other.keys.public));
    tunnel.connect_from(side);
    let session = tunnel.seen_by(side).latest_handshake;
    poll::until("the next second", PATIENCE, || (now() > session).then_some(()));

    // Nobody has anything to send: only the keepalive asks for a session, and only if there is none left from before.
    link("down");
    link("up");
    let newer = || Some(tunnel.seen_by(side).latest_handshake).filter(|last| *last > session);
    let session = poll::until("a new handshake", PATIENCE, newer);
    poll::until("an answer through the tunnel", PATIENCE, || answers().then_some(()));

    link("down");
    poll::until("the daemon to notice", PATIENCE, || {
        let heard = tunnel.seen_by(side).rx;
        assert!(!answers(), "an interface that is down answers");
        (tunnel.seen_by(side).rx == heard).then_some(())
    });
    let deaf = tunnel.seen_by(side).rx;
    assert!(!answers());
    assert_eq!(tunnel.seen_by(side).rx, deaf, "what arrives while the interface is down is not for us");
    link("up");
    poll::until("another handshake", PATIENCE, || (tunnel.seen_by(side).latest_handshake > session).then_some(()));
    poll::until("an answer through the tunnel", PATIENCE, || answers().then_some(()));
}

/// Seconds since 1970, as `wg` counts handshakes.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
