//! Strangers at the door: no answer, no growth, no harm to the tunnel.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use adit_lab::caller::{initiation, random};
use adit_lab::hostile;
use adit_lab::ns::{Family, Namespace, Side, World};
use adit_lab::poll::{self, PATIENCE};
use adit_lab::relay::{Mischief, Relay};
use adit_lab::subjects::Subject;
use adit_lab::traffic;
use adit_lab::tunnel::{PORT, Pairing, Tunnel};
use adit_wireguard::PublicKey;

#[test]
fn hostile_datagrams_bring_no_answer_and_no_growth() {
    no_answer_and_no_growth(Family::V4);
}

#[test]
fn hostile_datagrams_over_ipv6_bring_no_answer_and_no_growth() {
    no_answer_and_no_growth(Family::V6);
}

/// Bob is ours; Alice is his only friend, and speaks through a relay that records her.
fn no_answer_and_no_growth(outside: Family) {
    let pairing = Pairing { caller: Subject::wireguard_go(), answerer: Subject::adit() };
    let world = World::routed();
    let bob = SocketAddr::new(world.address(Side::Bob, outside), PORT);
    let alice_side = Side::Alice.gateway(outside);
    let relay = Relay::start(world.router().namespace(), alice_side, bob, Mischief::default(), 1);
    let mut tunnel = Tunnel::over(world, &pairing, relay.address(), 1420);
    tunnel.connect_from(Side::Alice);
    traffic::tcp(&tunnel.alice.inside, (&tunnel.bob.inside, tunnel.bob.address(Family::V4)), 8 << 20).finish();
    let recorded = relay.recorded();
    assert!(recorded.len() > 100);

    // Answers to the stranger, and only to him, are counted: he lives at an address of his own.
    let stranger = Side::Bob.address(outside, 0x66);
    let door = tunnel.world.router().namespace();
    let (network, whole) = if outside == Family::V4 { ("ip", 32) } else { ("ip6", 128) };
    door.add_address("to-bob", stranger, whole);
    let count = format!(
        "table inet door {{
            chain out {{
                type filter hook output priority filter
                udp sport {PORT} {network} daddr {stranger} counter
            }}
        }}"
    );
    tunnel.world.bob.command("nft -f -").input(count).ok();

    let before = tunnel.bob.daemon.usage();
    // Who knows Bob's public key can make an initiation that passes its first check; it is not a friend's all the same.
    let public = PublicKey::from_base64(&tunnel.bob.keys.public).expect("`wg` makes keys");
    let unknown: Vec<_> = (0..40).filter_map(|_| initiation(random(), public, bob)).collect();
    assert_eq!(unknown.len(), 40);
    throw(door, stranger, bob, &unknown);
    settle(&tunnel);
    for round in 0..6 {
        throw(door, stranger, bob, &hostile::datagrams(&recorded, round));
    }
    settle(&tunnel);
    let after = tunnel.bob.daemon.usage();
    let ruleset = tunnel.world.bob.run("nft list table inet door");
    assert!(ruleset.contains("counter packets 0 "), "a stranger was answered:\n{ruleset}");
    if pairing.answerer.is_adit() {
        assert!(after.resident <= before.resident + 2_048, "memory grew: {before:?} {after:?}");
    }
    assert!(tunnel.bob.daemon.is_alive());
    assert_eq!(tunnel.seen_by(Side::Bob).endpoint.map(|from| from.ip() == stranger), Some(false));
    tunnel.connect_from(Side::Alice);
    traffic::tcp(&tunnel.alice.inside, (&tunnel.bob.inside, tunnel.bob.address(Family::V4)), 1 << 20).finish();
}

fn throw(from: &Namespace, stranger: IpAddr, at: SocketAddr, datagrams: &[Vec<u8>]) {
    let socket = from.within(|| UdpSocket::bind((stranger, 0))).expect("the stranger has an address");
    for (number, datagram) in datagrams.iter().enumerate() {
        // An error here would be an ICMP message about an earlier one; the count below sees every real answer.
        let _unheard = socket.send_to(datagram, at);
        if number % 8 == 7 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Waits until the queue of Bob's socket is empty.
fn settle(tunnel: &Tunnel) {
    poll::until("Bob's queue to be empty", PATIENCE, || {
        let sockets = tunnel.world.bob.run(&format!("ss -Hlun sport = :{PORT}"));
        sockets.lines().all(|line| line.split_whitespace().nth(1) == Some("0")).then_some(())
    });
}
