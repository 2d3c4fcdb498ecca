//! Inner packets: what a peer may say, and which peer is meant.

use std::net::{IpAddr, SocketAddr};

use adit_protocol::DropReason;
use adit_wireguard::{AllowedIpChange, DeviceChange, PeerChange};

use super::{bob_and_stranger, confirmed};
use crate::world::{ALICE, BOB, CAROL, Kind, Sent, World, packet, secs};

/// W-90.
#[test]
fn an_inner_packet_that_lies_about_itself_is_dropped_and_the_session_lives() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let v4 = packet::v4(1, 2, 40);
    let v6 = packet::v6(1, 2, 60);
    let with = |packet: &[u8], at: usize, value: u8| {
        let mut bytes = packet.to_vec();
        bytes[at] = value;
        bytes
    };
    let wrong = [
        vec![0x45],
        v4[..19].to_vec(),
        v6[..39].to_vec(),
        vec![0; 16],
        with(&v4, 0, 0x55),
        with(&v4, 0, 0x05),
        with(&v4, 3, 19),
        with(&v4, 3, 41),
        with(&v4, 2, 0xff),
        with(&v6, 0, 0x70),
        with(&v6, 5, 21),
    ];
    for (n, plain) in wrong.iter().enumerate() {
        let datagram = session.seal(plain);
        world.inject(BOB, from, &datagram);
        assert_eq!(world.drops(BOB, DropReason::BadInner), n as u64 + 1, "{plain:?}");
    }
    assert!(world.delivered(BOB).is_empty());
    for plain in [v4, v6] {
        let datagram = session.seal(&plain);
        world.inject(BOB, from, &datagram);
        assert_eq!(world.delivered(BOB), [plain]);
    }
}

/// W-90, W-80.
#[test]
fn a_bad_inner_packet_still_says_where_the_peer_is_and_uses_its_counter_up() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let elsewhere: SocketAddr = "203.0.113.4:4".parse().unwrap();
    let bad = session.seal(&[0; 32]);
    world.inject(BOB, elsewhere, &bad);
    assert_eq!(world.peer(BOB, ALICE).endpoint, Some(elsewhere));
    world.inject(BOB, elsewhere, &bad);
    assert_eq!(world.drops(BOB, DropReason::Replayed), 1);
}

/// W-91.
#[test]
fn an_inner_source_that_does_not_belong_to_the_peer_is_dropped() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let elsewhere: SocketAddr = "203.0.113.4:4".parse().unwrap();
    for plain in [packet::v4(7, 2, 40), packet::v6(7, 2, 60), packet::v4(2, 2, 40)] {
        let datagram = session.seal(&plain);
        world.inject(BOB, elsewhere, &datagram);
    }
    assert!(world.delivered(BOB).is_empty());
    assert_eq!(world.drops(BOB, DropReason::WrongSource), 3);
    assert_eq!(world.peer(BOB, ALICE).endpoint, Some(elsewhere), "but it is from there");
}

/// W-91.
#[test]
fn a_peer_with_a_wide_network_cannot_speak_for_one_with_a_narrow_one() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    give(&mut world, BOB, ALICE, &["0.0.0.0/0", "::/0"]);
    world.add_host(3);
    world.introduce(BOB, CAROL, false);
    let mut session = confirmed(&mut world, &mut stranger, from);
    for (plain, expected) in [(packet::v4(9, 2, 40), 1), (packet::v4(3, 2, 40), 0), (packet::v6(3, 2, 60), 0)] {
        let datagram = session.seal(&plain);
        world.inject(BOB, from, &datagram);
        assert_eq!(world.delivered(BOB).len(), expected);
    }
}

/// W-92.
#[test]
fn a_destination_that_no_peer_owns_is_refused() {
    let mut world = World::pair();
    assert_eq!(world.send_packet(ALICE, &packet::v4(1, 77, 40)), Sent::Dropped(DropReason::NoRoute));
    assert_eq!(world.send_packet(ALICE, &packet::v6(1, 77, 60)), Sent::Dropped(DropReason::NoRoute));
    world.advance(secs(10));
    assert_eq!(world.seen(ALICE), []);
}

/// W-92, W-93.
#[test]
fn the_narrowest_network_that_holds_the_destination_says_whose_it_is() {
    let mut world = three();
    give(&mut world, ALICE, BOB, &["10.0.0.0/8", "0.0.0.0/0", "10.1.2.0/24", "::/0"]);
    give(&mut world, ALICE, CAROL, &["10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32"]);
    let cases = [
        ("10.9.9.9", BOB),
        ("10.1.9.9", CAROL),
        ("10.1.2.9", BOB),
        ("10.1.2.3", CAROL),
        ("192.168.1.1", BOB),
        ("2001:db9::1", BOB),
        ("2001:db8:5::1", CAROL),
    ];
    for (destination, owner) in cases {
        assert_eq!(owner_of(&mut world, destination), Some(owner), "{destination}");
    }
}

/// W-93.
#[test]
fn a_network_given_to_another_peer_moves() {
    let mut world = three();
    give(&mut world, ALICE, BOB, &["10.5.0.0/16"]);
    assert_eq!(owner_of(&mut world, "10.5.1.1"), Some(BOB));
    give(&mut world, ALICE, CAROL, &["10.5.0.0/16"]);
    assert_eq!(owner_of(&mut world, "10.5.1.1"), Some(CAROL));
    let net = "10.5.0.0/16".parse().unwrap();
    assert!(!world.peer(ALICE, BOB).allowed_ips.contains(&net));
    assert!(world.peer(ALICE, CAROL).allowed_ips.contains(&net));
}

/// W-93.
#[test]
fn host_bits_are_masked_off() {
    let mut world = three();
    give(&mut world, ALICE, BOB, &["10.5.77.99/16", "2001:db8::77/32"]);
    assert_eq!(owner_of(&mut world, "10.5.1.1"), Some(BOB));
    let shown = world.peer(ALICE, BOB).allowed_ips;
    assert!(shown.contains(&"10.5.0.0/16".parse().unwrap()) && shown.contains(&"2001:db8::/32".parse().unwrap()));
}

/// W-93, W-118.
#[test]
fn a_peer_can_have_very_many_networks() {
    let mut world = three();
    let mut peer = PeerChange::new(world.key(BOB));
    let nets = (0..130_560_u32).map(|n| format!("{}/32", std::net::Ipv4Addr::from(0x2000_0000 + 2 * n)));
    peer.allowed_ips = nets.map(|net| AllowedIpChange::Add(net.parse().unwrap())).collect();
    world.apply(ALICE, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    assert_eq!(world.peer(ALICE, BOB).allowed_ips.len(), 130_560 + 2);
    assert_eq!(owner_of(&mut world, "32.3.251.254"), Some(BOB));
    assert_eq!(owner_of(&mut world, "32.3.251.255"), None);
}

/// W-94.
#[test]
fn initiations_and_responses_ask_for_af41_and_cookies_for_nothing() {
    let world = World::connected();
    assert_eq!(world.last(ALICE, Kind::Initiation).tos, 0x88);
    assert_eq!(world.last(BOB, Kind::Response).tos, 0x88);
    let mut world = World::pair();
    world.hosts[BOB].device_mut().set_under_load(Some(true));
    world.send(ALICE, BOB);
    assert_eq!(world.last(BOB, Kind::Cookie).tos, 0);
}

/// Alice with two peers.
fn three() -> World {
    let mut world = World::pair();
    world.add_host(3);
    world.introduce(ALICE, CAROL, true);
    world
}

fn give(world: &mut World, host: usize, other: usize, nets: &[&str]) {
    let mut peer = PeerChange::new(world.key(other));
    peer.allowed_ips = nets.iter().map(|net| AllowedIpChange::Add(net.parse().unwrap())).collect();
    world.apply(host, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
}

/// Who Alice stages a packet to this address for.
fn owner_of(world: &mut World, destination: &str) -> Option<usize> {
    world.cut();
    let destination: IpAddr = destination.parse().unwrap();
    let source = if destination.is_ipv4() { "10.0.0.1" } else { "fd00::1" };
    let before = [BOB, CAROL].map(|other| world.peer(ALICE, other).staged);
    world.send_packet(ALICE, &packet::ip(source.parse().unwrap(), destination, 60));
    [BOB, CAROL]
        .into_iter()
        .zip(before)
        .find(|(other, n)| world.peer(ALICE, *other).staged > *n)
        .map(|(other, _)| other)
}
