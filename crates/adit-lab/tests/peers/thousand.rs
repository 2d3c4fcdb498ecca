//! A thousand peers in one `wg setconf`, and what `showconf` and `syncconf` make of them.

use adit_lab::ns::{Side, World};
use adit_lab::shell::Run;
use adit_lab::tunnel::{End, Pairing, Tunnel};
use adit_lab::wg::{Config, Peer, random_key};

use crate::pairings::for_each_pairing;

for_each_pairing!(a_thousand_peers_at_once);

fn a_thousand_peers_at_once(pairing: &Pairing) {
    let tunnel = Tunnel::new(World::direct(), pairing);
    for side in [Side::Alice, Side::Bob] {
        let end = tunnel.end(side);
        let mut many = Config { private_key: end.keys.private.clone(), ..end.config.clone() };
        many.peers.extend((0..1_000).map(stranger));
        load(end, "setconf", &many.text());
        assert_eq!(end.dump().peers.len(), 1_001);
    }
    tunnel.connect_from(Side::Alice);

    for side in [Side::Alice, Side::Bob] {
        let end = tunnel.end(side);
        let session = tunnel.seen_by(side);
        let shown = shown(end);
        load(end, "syncconf", &shown);
        assert_eq!(sorted(&self::shown(end)), sorted(&shown), "what is shown can be loaded, and changes nothing");
        assert_eq!(tunnel.seen_by(side).latest_handshake, session.latest_handshake);

        load(end, "syncconf", &end.config.text());
        let dump = end.dump();
        assert_eq!(dump.peers.len(), 1, "peers that are not in the file go");
        assert_eq!(dump.peers[0].latest_handshake, session.latest_handshake, "the one that stays keeps its session");
        assert!(dump.peers[0].rx >= session.rx);
    }
    assert!(tunnel.is_through());
}

fn stranger(number: u16) -> Peer {
    let [high, low] = number.to_be_bytes();
    let networks = [format!("10.{}.{low}.0/24", 64 + high), format!("fd64:{number:x}::/32")];
    Peer {
        public_key: random_key(),
        preshared_key: number.is_multiple_of(3).then(random_key),
        allowed_ips: networks.iter().filter_map(|network| network.parse().ok()).collect(),
        ..Peer::default()
    }
}

fn load(end: &End, verb: &str, text: &str) {
    Run::line(&format!("wg {verb} {} /dev/stdin", end.interface())).input(text).ok();
}

fn shown(end: &End) -> String {
    Run::line(&format!("wg showconf {}", end.interface())).ok()
}

/// Sections in some order of their own, lines in theirs: implementations differ in the order of peers.
fn sorted(text: &str) -> Vec<&str> {
    let mut sections: Vec<_> = text.split("\n\n").map(str::trim).collect();
    sections.sort_unstable();
    sections
}
