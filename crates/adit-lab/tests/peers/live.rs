//! `wg set` on a tunnel that carries traffic: nothing breaks, sessions and counters stay.

use adit_lab::ns::{Family, Side, World};
use adit_lab::traffic;
use adit_lab::tunnel::{Pairing, Tunnel};
use adit_lab::wg::random_key;

use crate::pairings::for_each_pairing;

for_each_pairing!(live_changes_keep_the_session);

fn live_changes_keep_the_session(pairing: &Pairing) {
    let tunnel = Tunnel::new(World::direct(), pairing);
    tunnel.connect_from(Side::Alice);
    let sides = [Side::Alice, Side::Bob];
    let before = sides.map(|side| tunnel.seen_by(side));
    let bob = (&tunnel.bob.inside, tunnel.bob.address(Family::V4));

    let transfer = traffic::tcp(&tunnel.alice.inside, bob, 96 << 20);
    let mut rounds = 0;
    while rounds == 0 || (transfer.is_under_way() && rounds < 20) {
        for side in sides {
            change_everything_that_may_change(&tunnel, side);
        }
        rounds += 1;
    }
    transfer.finish();

    for (side, before) in sides.into_iter().zip(before) {
        let after = tunnel.seen_by(side);
        assert_eq!(after.latest_handshake, before.latest_handshake, "{side:?} lost its session");
        assert_eq!(after.allowed_ips, before.allowed_ips);
        assert!(after.rx > before.rx && after.tx > before.tx, "{side:?}: counters went back");
        assert_eq!(tunnel.end(side).dump().peers.len(), 1, "the visitor is gone");
    }
}

fn change_everything_that_may_change(tunnel: &Tunnel, side: Side) {
    let (end, other) = (tunnel.end(side), &tunnel.end(side.other()).keys.public);
    let visitor = random_key();
    end.set(&format!("peer {visitor} endpoint 198.18.9.9:9 allowed-ips 10.9.0.0/16,fd09::/64"));
    end.set(&format!("peer {other} persistent-keepalive 7"));
    assert_eq!(tunnel.seen_by(side).persistent_keepalive, Some(7));
    let mine = tunnel.end(side.other()).as_peer().allowed_ips;
    let (v4, v6) = (mine[0], mine[1]);
    end.set(&format!("peer {other} allowed-ips {v4},{v6},10.8.0.0/16"));
    assert_eq!(tunnel.seen_by(side).allowed_ips.len(), 3);
    end.set(&format!("peer {visitor} allowed-ips 10.8.0.0/16"));
    assert_eq!(tunnel.seen_by(side).allowed_ips.len(), 2, "a network moves to the peer that was given it last");
    end.set(&format!("peer {other} allowed-ips {v4},{v6} persistent-keepalive off"));
    end.set("fwmark 0x77");
    assert_eq!(end.dump().fwmark, 0x77);
    end.set(&format!("fwmark 0 peer {visitor} remove"));
    assert_eq!(end.dump().fwmark, 0);
}
